//! Running the program, and files to run it on.

use sc_data::CsrMatrix;
use sc_data::io::h5ad::{Column, NewFrame, write_h5ad};
use sc_data::simulate::{SimConfig, simulate_to_file};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A command for the program under test.
pub(crate) fn scfm(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scfm"));
    command.args(args);
    // Nothing of a test stays in the user's cache folder.
    command.env("SCFM_CACHE", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    scfm(args).output().expect("the program starts")
}

/// Runs the program and wants success.
pub(crate) fn succeed(args: &[&str]) -> String {
    let output = run(args);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?} failed: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs the program and reads what it prints.
pub(crate) fn json(args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&succeed(args)).expect("the program prints JSON")
}

/// A JSON file.
pub(crate) fn json_file(path: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("the file is JSON")
}

/// Runs the program and wants exit code 2 and one line that holds every part of `parts`.
pub(crate) fn fail(args: &[&str], parts: &[&str]) {
    let output = run(args);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
    // Steps of training may have been printed before.
    let mut lines = errors.trim_end().lines();
    let told = lines.by_ref().filter(|l| l.starts_with("scfm: ")).count();
    assert_eq!(told, 1, "{args:?}: more than one line: {errors}");
    assert!(
        errors
            .trim_end()
            .lines()
            .last()
            .is_some_and(|l| l.starts_with("scfm: ")),
        "{args:?}: {errors}"
    );
    for part in parts {
        assert!(
            errors.contains(part),
            "{args:?}: '{part}' is not in: {errors}"
        );
    }
}

/// A small simulated file with 4 donors in 2 batches.
pub(crate) fn simulated(folder: &Path, cells: usize) -> PathBuf {
    let path = folder.join("cells.h5ad");
    let config = SimConfig {
        cells,
        genes: 120,
        cell_types: 3,
        donors: 4,
        batches: 2,
        depth: 400.0,
        ..SimConfig::default()
    };
    simulate_to_file(&config, &path, |_| ()).expect("the simulation is written");
    path
}

/// A file of `values` `[cells, genes]` of two types, whose cells all have the same batch and donor.
pub(crate) fn dense(folder: &Path, name: &str, genes: usize, values: &[f32]) -> PathBuf {
    dense_of(folder, name, (genes, values), &["t", "u"])
}

/// The same of these types, in turn.
pub(crate) fn dense_of(
    folder: &Path,
    name: &str,
    (genes, values): (usize, &[f32]),
    types: &[&str],
) -> PathBuf {
    let path = folder.join(name);
    let cells = values.len() / genes;
    let text = |v: &str| Column::from_strings(vec![v.to_string(); cells]);
    let obs = NewFrame {
        index: (0..cells).map(|i| format!("cell{i}")).collect(),
        columns: vec![
            (
                "cell_type".into(),
                Column::from_strings(
                    (0..cells)
                        .map(|i| types[i % types.len()])
                        .collect::<Vec<&str>>(),
                ),
            ),
            ("batch".into(), text("b")),
            ("donor_id".into(), text("d")),
        ],
    };
    let var = NewFrame {
        index: (0..genes).map(|j| format!("GENE{j}")).collect(),
        columns: Vec::new(),
    };
    let rows = [Ok(CsrMatrix::from_dense(genes, values))];
    write_h5ad(&path, &obs, &var, rows, &[]).expect("the file is written");
    path
}

/// A model small enough to train in a test.
pub(crate) fn tiny(architecture: &str) -> PathBuf {
    let name = format!("../../configs/models/{architecture}-tiny.toml");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Settings that make [`tiny`] smaller still.
pub(crate) const SMALL_CELLPLM: &[&str] = &[
    "--set",
    "network.hidden=16",
    "--set",
    "network.layers=1",
    "--set",
    "network.latent_dim=4",
    "--set",
    "network.head.hidden=16",
    "--set",
    "train.steps=24",
    "--set",
    "train.minibatch=32",
    "--set",
    "train.checkpoint_every=4",
    "--set",
    "train.warmup=4",
];

/// The same for scGPT.
pub(crate) const SMALL_SCGPT: &[&str] = &[
    "--set",
    "network.width=16",
    "--set",
    "network.feed_forward=16",
    "--set",
    "network.layers=1",
    "--set",
    "input.length=24",
    "--set",
    "train.steps=24",
    "--set",
    "train.minibatch=16",
    "--set",
    "train.checkpoint_every=4",
    "--set",
    "train.warmup=4",
];

/// The words that train the model of `config` on `file` into `model`.
pub(crate) fn pretraining<'a>(file: &'a Path, config: &'a Path, model: &'a Path) -> Vec<&'a str> {
    let paths = [file, config, model].map(text);
    vec!["pretrain", paths[0], "-c", paths[1], "-o", paths[2]]
}

/// Paths as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}
