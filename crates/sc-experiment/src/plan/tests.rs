//! Which runs a matrix has, what stands in them, and when their hash changes.

use super::*;
use crate::matrix::load;

const MATRIX: &str = r#"
name = "small"
seeds = [3, 4]
devices = ["flex", "wgpu"]
[data]
path = "a.h5ad"
[train]
steps = 10
lr = 0.1
[[methods]]
name = "m"
kind = "model"
model = "tiny.toml"
objective = ["denoise", "masked"]
config = { layers = { depth = 2 } }
train = { steps = 20 }
[[methods]]
name = "m-random"
kind = "random-init"
model = "tiny.toml"
[[methods]]
name = "pca"
kind = "baseline"
options = { components = 30 }
[[methods]]
name = "shuffled-labels"
kind = "control"
"#;

/// A baseline of the size of other models: one is a file, the other a preset of `scfm`.
const SIZES: &str = r#"
name = "sizes"
[data]
path = "a.h5ad"
[[methods]]
name = "a"
kind = "random-init"
model = "tiny.toml"
config = { same_size_as = "tiny.toml" }
[[methods]]
name = "b"
kind = "random-init"
model = "tiny.toml"
config = { same_size_as = "scgpt-tiny" }
"#;

#[test]
fn a_model_whose_size_is_taken_is_inlined_where_it_is_a_file() {
    let runs = planned(SIZES, "p", &[]).expect("runs");
    let size = |planned: &PlannedRun| {
        let model = planned.run.method.model.as_ref();
        model.expect("a model")["same_size_as"].clone()
    };
    assert_eq!(size(&runs[0])["layers"]["width"], Value::Integer(8));
    assert_eq!(size(&runs[1]), Value::String("scgpt-tiny".to_owned()));
}

fn planned(matrix: &str, program: &str, set: &[String]) -> Result<Vec<PlannedRun>, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("a file");
    };
    write("a.h5ad", "not read here");
    write(
        "tiny.toml",
        "architecture = \"m\"\n[layers]\ndepth = 1\nwidth = 8\n[train]\nsteps = 5\nclip = 1.0\n",
    );
    write("x.toml", matrix);
    let loaded = load(&folder.path().join("x.toml"), set).map_err(|e| e.to_string())?;
    runs(&loaded, program, Path::new("out")).map_err(|e| e.to_string())
}

#[test]
fn what_draws_no_numbers_runs_once() {
    let runs = planned(MATRIX, "p", &[]).expect("runs");
    let count = |name: &str| runs.iter().filter(|r| r.run.method.name == name).count();
    assert_eq!(count("m-denoise"), 4, "two seeds on two devices");
    assert_eq!(count("m-masked"), 4);
    assert_eq!(count("m-random"), 4);
    assert_eq!(count("pca"), 1);
    assert_eq!(count("shuffled-labels"), 2, "two seeds, no device");
    assert_eq!(runs.len(), 15);
    let folders: std::collections::BTreeSet<_> = runs.iter().map(|r| &r.folder).collect();
    assert_eq!(folders.len(), 15);
}

#[test]
fn a_run_is_fully_resolved_and_read_again() {
    let runs = planned(MATRIX, "p", &[]).expect("runs");
    let table = table_of(&runs[0].run).expect("a table");
    assert_eq!(table["seed"].as_integer(), Some(3));
    assert_eq!(table["device"].as_str(), Some("flex"));
    assert_eq!(table["eval"]["probe_neighbors"].as_integer(), Some(15));
    assert!(Path::new(table["data"]["path"].as_str().unwrap_or("")).is_absolute());
    assert!(table["split"].get("test_donors").is_none());
    let method = &table["method"];
    assert_eq!(method["kind"].as_str(), Some("model"));
    assert_eq!(method["objective"].as_str(), Some("denoise"));
    assert_eq!(method["preset"].as_str(), Some("tiny"));
    assert_eq!(method["model"]["layers"]["depth"].as_integer(), Some(2));
    assert_eq!(method["model"]["layers"]["width"].as_integer(), Some(8));
    assert!(method["model"].get("train").is_none());
    let train = &method["train"];
    assert_eq!(
        train["steps"].as_integer(),
        Some(20),
        "method over experiment over preset"
    );
    assert_eq!(train["lr"].as_float(), Some(0.1));
    assert_eq!(train["clip"].as_float(), Some(1.0));
    let pca = runs.iter().find(|r| r.run.method.name == "pca");
    let pca = &pca.expect("pca").run;
    assert_eq!(pca.method.options.components, Some(30));
    for run in [&runs[0].run, pca] {
        let text = text(&table_of(run).expect("a table")).expect("text");
        let again: Run = settings::parse(text.parse().expect("TOML"), "run.toml").expect("a run");
        assert_eq!(again, *run);
    }
}

#[test]
fn hashes_follow_content_and_program_but_not_places() {
    let hashes = |program: &str, set: &[&str]| -> Vec<String> {
        let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
        let runs = planned(MATRIX, program, &set).expect("runs");
        runs.into_iter().map(|r| r.hash).collect()
    };
    // Every call makes its own folder, so the path of the data differs.
    let first = hashes("p", &[]);
    assert_eq!(first, hashes("p", &[]));
    assert!(first.iter().zip(hashes("q", &[])).all(|(a, b)| *a != b));
    let changed = hashes("p", &["methods.pca.options.components=31"]);
    let differ: Vec<usize> = (0..15).filter(|i| first[*i] != changed[*i]).collect();
    assert_eq!(differ, [12], "only pca runs again");
}

#[test]
fn missing_files_say_how_to_name_them() {
    let said = planned(&MATRIX.replace("path = \"a.h5ad\"", ""), "p", &[]);
    assert!(
        said.expect_err("no data")
            .contains("set data.path=FILE.h5ad")
    );
    let said = planned(&MATRIX.replace("a.h5ad", "b.h5ad"), "p", &[]);
    assert!(
        said.expect_err("no such file")
            .contains("b.h5ad is not there")
    );
}

#[test]
fn a_table_of_another_kind_replaces_and_one_of_the_same_is_changed() {
    let table = |text: &str| text.parse::<Table>().expect("a table");
    let merged = |over: &str| {
        let mut base = table("encoder = { kind = \"attention\", heads = 4, depth = 2 }");
        merge(&mut base, &table(over));
        base
    };
    let hyena = "encoder = { kind = \"hyena\", order = 2 }";
    assert_eq!(merged(hyena), table(hyena));
    for over in [
        "encoder = { kind = \"attention\", heads = 8 }",
        "encoder = { heads = 8 }",
    ] {
        let expected = "encoder = { kind = \"attention\", heads = 8, depth = 2 }";
        assert_eq!(merged(over), table(expected));
    }
}

#[test]
fn data_are_simulated_and_methods_run_on_those_they_name() {
    let matrix = r#"
name = "two"
[[data]]
name = "cells"
simulate = { cells = 20, genes = 10, donors = 2 }
[[data]]
name = "both"
simulate = { cells = 20, genes = 10, peaks = 5, donors = 2 }
[[methods]]
name = "pca"
kind = "baseline"
[[methods]]
name = "hvg"
kind = "baseline"
data = "both"
"#;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("out");
    let write = |text: &str| {
        let path = folder.path().join("x.toml");
        std::fs::write(&path, text).expect("a file");
        load(&path, &[]).map_err(|e| e.to_string())
    };
    let loaded = write(matrix).expect("a matrix");
    let found = runs(&loaded, "p", &out).expect("runs");
    let methods: Vec<&str> = found.iter().map(|r| r.run.method.name.as_str()).collect();
    assert_eq!(methods, ["pca", "pca", "hvg"]);
    assert_eq!(found[1].data, found[2].data);
    assert_ne!(found[0].data, found[1].data);
    assert!(out.join(&found[0].data).is_file());
    let other = matrix.replace(
        "donors = 2 }\n[[data]]",
        "donors = 2 }\nlabel = \"type\"\n[[data]]",
    );
    let error = runs(&write(&other).expect("a matrix"), "p", &out).expect_err("no such column");
    let error = error.to_string();
    assert!(
        error.contains("obs has no column 'type'; it has 'cell_type', 'batch', 'donor_id'")
            && error.contains("set data.label=COLUMN"),
        "{error}"
    );
    let error = write(&matrix.replace("data = \"both\"", "data = \"b\"")).err();
    let error = error.expect("a refusal");
    assert!(error.contains("named are: cells, both"), "{error}");
}
