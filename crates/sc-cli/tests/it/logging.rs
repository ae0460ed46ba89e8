//! How much is said: `-q`, `-v`, `-vv` and `SCFM_LOG`.

use crate::common::{SMALL_CELLPLM, pretraining, scfm, simulated, tiny};
use std::path::Path;

/// What a training says on standard error, with these words before it and this `SCFM_LOG`.
fn said(folder: &Path, words: &[&str], variable: &str) -> (Option<i32>, String) {
    let (file, config) = (simulated(folder, 60), tiny("cellplm"));
    let model = tempfile::tempdir_in(folder).unwrap();
    let training = pretraining(&file, &config, model.path());
    let args = [words, &training, SMALL_CELLPLM, &["--set", "train.steps=2"]].concat();
    let output = scfm(&args).env("SCFM_LOG", variable).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[test]
fn more_is_said_on_request_and_nothing_where_all_is_well_and_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let of = |words: &[&str], variable: &str| {
        let (code, said) = said(folder.path(), words, variable);
        assert_eq!(code, Some(0), "{said}");
        said
    };
    assert_eq!(of(&["-q"], "debug"), "");
    let usual = of(&[], "");
    assert!(usual.starts_with("step 1 of 2: "), "{usual}");
    let more = of(&["-v"], "");
    assert!(more.contains("info: opened file="), "{more}");
    for inner in ["sc_data", "::", "Some(", "debug"] {
        assert!(!more.contains(inner), "{inner} is in {more}");
    }
    let most = of(&["-vv"], "");
    assert!(
        most.contains("debug: ") && most.contains("epoch begins"),
        "{most}"
    );
    assert!(of(&[], "info").contains("info: opened file="));
}

#[test]
fn a_level_that_there_is_not_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = said(folder.path(), &[], "loud");
    assert_eq!(code, Some(2), "{said}");
    let wanted = "scfm: SCFM_LOG=loud: 'loud' is no level; write off, error, warn, info";
    assert!(said.starts_with(wanted), "{said}");
}
