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
    let other = folder.path().join("other.h5ad");
    fs::rename(simulated(folder.path(), 100), &other).unwrap();
    let file = simulated(folder.path(), 150);
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

/// Files of other formats go the same way, and embeddings where the name of the output says.
#[test]
fn embeddings_of_any_format_go_where_they_are_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 40);
    pretrain(&[&file], folder.path(), "model", "never", SMALL_CELLPLM);
    let model = folder.path().join("model");
    let triplets = folder.path().join("triplets");
    fs::create_dir(&triplets).unwrap();
    let genes = sc_data::H5ad::open(&file).unwrap().var_names().unwrap();
    fs::write(triplets.join("barcodes.tsv"), "c1\nc2\n").unwrap();
    fs::write(triplets.join("genes.tsv"), genes.join("\n")).unwrap();
    let matrix = format!(
        "%%MatrixMarket matrix coordinate integer general\n{} 2 3\n1 1 5\n2 1 3\n9 2 4\n",
        genes.len()
    );
    fs::write(triplets.join("matrix.mtx"), matrix).unwrap();
    for (input, cells) in [(&file, 40), (&triplets, 2)] {
        let mut array = Vec::new();
        for output in ["a.npy", "a.parquet", "a.h5ad"] {
            let output = folder.path().join(output);
            succeed(&[
                "embed",
                text(input),
                "--model",
                text(&model),
                "-o",
                text(&output),
                "--force",
            ]);
            let bytes = fs::read(&output).unwrap();
            match output.extension().and_then(|e| e.to_str()) {
                Some("npy") => {
                    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
                    array = bytes[10 + header..].to_vec();
                }
                Some("h5ad") => {
                    let written = sc_data::H5ad::open(&output).unwrap();
                    assert_eq!(written.n_vars(), genes.len());
                    let vectors = written.embedding("X_cellplm").unwrap();
                    assert_eq!(vectors.nrows(), cells);
                    let bytes: Vec<u8> = vectors.iter().flat_map(|v| v.to_le_bytes()).collect();
                    // The same vectors as in the array.
                    assert_eq!(bytes, array);
                }
                _ => assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1")),
            }
        }
    }
    fail(
        &[
            "embed",
            text(&triplets),
            "--model",
            text(&model),
            "--in-place",
        ],
        &["triplets", "is not an .h5ad"],
    );
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert!(
        left.iter()
            .all(|e| !e.file_name().to_string_lossy().starts_with('.')),
        "{left:?}"
    );
}

#[test]
fn a_store_is_written_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 150);
    let rows = folder.path().join("cells.rows");
    let told = succeed(&["convert", text(&file), "--to", "store", "-o", text(&rows)]);
    assert!(told.starts_with("150 cells, "), "{told}");
    let store = sc_data::io::rowstore::RowStore::open(&rows).unwrap();
    store.verify().unwrap();
    assert_eq!((store.rows(), store.cols()), (150, 120));
    let absent = folder.path().join("absent/cells.rows");
    fail(
        &["convert", text(&file), "--to", "store", "-o", text(&absent)],
        &["absent"],
    );
}
