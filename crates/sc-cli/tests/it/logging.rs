//! Log lines: `-q`, `-v`, `-vv` and `SCFM_LOG`.

use crate::common::{SMALL_CELLPLM, pretraining, scfm, simulated, tiny};
use std::path::Path;

/// Exit code and standard error of a training with these flags and this `SCFM_LOG`.
fn logged(folder: &Path, words: &[&str], variable: &str) -> (Option<i32>, String) {
    let (file, config) = (simulated(folder, 60), tiny("cellplm"));
    let model = tempfile::tempdir_in(folder).unwrap();
    let training = pretraining(&file, &config, model.path());
    let args = [words, &training, SMALL_CELLPLM, &["--set", "train.steps=2"]].concat();
    let output = scfm(&args).env("SCFM_LOG", variable).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

#[test]
fn more_is_logged_on_request_and_nothing_when_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let of = |words: &[&str], variable: &str| {
        let (code, text) = logged(folder.path(), words, variable);
        assert_eq!(code, Some(0), "{text}");
        text
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
fn an_unknown_level_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = logged(folder.path(), &[], "loud");
    assert_eq!(code, Some(2), "{text}");
    let wanted = "scfm: SCFM_LOG=loud: 'loud' is not a level; use off, error, warn, info";
    assert!(text.starts_with(wanted), "{text}");
}

#[test]
fn every_layer_has_a_span_at_trace() {
    let folder = tempfile::tempdir().unwrap();
    let text = logged(folder.path(), &[], "sc_models=trace").1;
    assert!(text.contains("layer index=0: close time.busy="), "{text}");
}
