//! Which values are taken as counts, and what is said of those that are assumed.

use crate::common::{SMALL_CELLPLM, dense, fail, pretraining, run, simulated, succeed, text, tiny};
use std::fs;
use std::path::Path;

const GENES: usize = 6;

fn counts() -> Vec<f32> {
    (0..60 * GENES).map(|i| ((i * 7) % 5) as f32).collect()
}

/// Trains on `values` with the flag; the words of the refusal, if any.
fn assumed(folder: &Path, values: &[f32]) -> Option<String> {
    let file = dense(folder, "v.h5ad", GENES, values);
    let (config, model) = (tiny("cellplm"), folder.join("model"));
    let mut args = pretraining(&file, &config, &model);
    args.extend_from_slice(SMALL_CELLPLM);
    args.push("--assume-normalized");
    let output = run(&args);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        model.join("model.safetensors").exists(),
        output.status.success()
    );
    (output.status.code() == Some(2)).then_some(errors)
}

#[test]
fn only_logarithms_are_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let of = |f: &dyn Fn(f32) -> f32| -> Vec<f32> { counts().iter().map(|c| f(*c)).collect() };
    for (values, words) in [
        (of(&|c| c * 0.93), "never log-transformed"),
        (of(&|c| c * 31_000.5), "never log-transformed"),
        (of(&|c| c - 0.4), "negative"),
        (of(&|c| c + 1e-4), "round them"),
        (of(&|c| (c * 1.7 + 1.0).log2()), "base 2 or 10"),
    ] {
        let error = assumed(folder.path(), &values).expect(words);
        assert!(error.contains(words) && error.contains("v.h5ad"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    assert_eq!(assumed(folder.path(), &of(&|c| (c * 1.7).ln_1p())), None);
}

#[test]
fn the_way_in_is_named_with_its_flag() {
    let folder = tempfile::tempdir().unwrap();
    let (config, model) = (tiny("cellplm"), folder.path().join("model"));
    let logged: Vec<f32> = counts().iter().map(|c| (c * 1.7).ln_1p()).collect();
    let file = dense(folder.path(), "logged.h5ad", GENES, &logged);
    let args = pretraining(&file, &config, &model);
    fail(
        &args,
        &["pass --assume-normalized if X is ln(1 + scaled counts)"],
    );
    // The assumption reaches a matrix that is named, too.
    let named = [&args[..], &["--counts", "X", "--dry-run"]].concat();
    fail(&named, &["--assume-normalized"]);
    succeed(&[&named[..], &["--assume-normalized"]].concat());
}

#[test]
fn a_report_says_that_values_were_assumed() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 120);
    let opened = sc_data::H5ad::open(&file).unwrap();
    let store = sc_data::CellStore::of(&opened, sc_data::MatrixSlot::X).unwrap();
    let cells = store.read_range(0..120).unwrap();
    let logged = sc_data::counts::log_normalize(cells, 1e4);
    let frame = |index: Vec<String>, columns: &[&str]| sc_data::io::h5ad::NewFrame {
        index,
        columns: columns
            .iter()
            .map(|c| ((*c).to_owned(), opened.obs_column(c).unwrap()))
            .collect(),
    };
    let columns = ["cell_type", "batch", "donor_id"];
    let obs = frame(opened.obs_names().unwrap(), &columns);
    let var = frame(opened.var_names().unwrap(), &[]);
    let path = folder.path().join("logged.h5ad");
    sc_data::io::h5ad::write_h5ad(&path, &obs, &var, [Ok(logged)], &[]).unwrap();
    let out = folder.path().join("evaluated");
    let eval = ["eval", text(&path), "-o", text(&out)];
    let eval = [&eval[..], &["--methods", "pca", "--assume-normalized"]].concat();
    succeed(&eval);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("was assumed to be ln(1 + scaled counts)"));
}
