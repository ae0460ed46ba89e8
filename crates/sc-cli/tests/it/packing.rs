//! A packed copy of the counts changes how fast a run is, and nothing else.

use crate::common::{SMALL_CELLPLM, SMALL_SCGPT, fail, simulated, succeed, text, tiny};
use std::fs;
use std::path::Path;

fn pretrain(files: &[&Path], folder: &Path, name: &str, store: &str, small: &[&str]) -> Vec<u8> {
    let config = tiny(if small == SMALL_SCGPT {
        "scgpt"
    } else {
        "cellplm"
    });
    let out = folder.join(name);
    let mut args = vec!["pretrain"];
    args.extend(files.iter().map(|f| text(f)));
    args.extend(["-c", text(&config), "-o", text(&out), "--store", store]);
    args.extend_from_slice(small);
    succeed(&args);
    fs::read(out.join("model.safetensors")).unwrap()
}

#[test]
fn the_weights_do_not_depend_on_the_store() {
    for small in [SMALL_CELLPLM, SMALL_SCGPT] {
        let folder = tempfile::tempdir().unwrap();
        let file = simulated(folder.path(), 150);
        let rows = folder.path().join("rows");
        let run = |name: &str, store: &str| pretrain(&[&file], folder.path(), name, store, small);
        let plain = run("plain", "never");
        assert_eq!(plain, run("memory", "auto"));
        assert_eq!(plain, run("packed", text(&rows)));
        let stores: Vec<_> = fs::read_dir(&rows)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        assert_eq!(
            stores.len(),
            1,
            "one file of its own and nothing else: {stores:?}"
        );
        // A damaged copy is noticed and made again.
        fs::write(&stores[0], b"scfmrows, but not really").unwrap();
        assert_eq!(plain, run("again", text(&rows)));
        assert!(fs::metadata(&stores[0]).unwrap().len() > 1000);
    }
}

#[test]
fn several_files_are_one_experiment() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 150);
    let other = folder.path().join("other.h5ad");
    fs::copy(&file, &other).unwrap();
    let both = pretrain(
        &[&file, &other],
        folder.path(),
        "both",
        "never",
        SMALL_CELLPLM,
    );
    let rows = folder.path().join("rows");
    assert_eq!(
        both,
        pretrain(
            &[&file, &other],
            folder.path(),
            "packed",
            text(&rows),
            SMALL_CELLPLM
        )
    );
    let config = fs::read_to_string(folder.path().join("both/config.json")).unwrap();
    assert!(
        config.contains("cells") && config.contains("other"),
        "each file is a batch: {config}"
    );
}

#[test]
fn a_store_is_written_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 150);
    let rows = folder.path().join("cells.rows");
    let told = succeed(&["convert", text(&file), "--to", "store", "-o", text(&rows)]);
    assert!(told.starts_with("150 cells, "), "{told}");
    let store = sc_data::rowstore::RowStore::open(&rows).unwrap();
    store.verify().unwrap();
    assert_eq!((store.rows(), store.cols()), (150, 120));
    let absent = folder.path().join("absent/cells.rows");
    fail(
        &["convert", text(&file), "--to", "store", "-o", text(&absent)],
        &["absent"],
    );
}
