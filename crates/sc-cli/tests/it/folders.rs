//! Folders of models that are not whole, or whose parts do not belong together, are refused.

use crate::common::{dense, fail, pretraining, run, simulated, succeed, text, tiny};
use sc_data::io::h5ad::{Column, NewFrame, write_h5ad};
use sc_models::weights::{read_safetensors, to_safetensors};
use std::fs;
use std::path::{Path, PathBuf};

const SMALL: &[&str] = &[
    "--set",
    "network.hidden=8",
    "--set",
    "network.latent=4",
    "--set",
    "train.steps=6",
    "--set",
    "train.checkpoint_every=2",
];

/// A file and a model that was trained on it.
fn trained(folder: &Path) -> (PathBuf, PathBuf) {
    let (file, config) = (simulated(folder, 60), tiny("vae"));
    let model = folder.join("model");
    let mut args = pretraining(&file, &config, &model);
    args.extend_from_slice(SMALL);
    succeed(&args);
    (file, model)
}

/// Embedding fails with these words, and writes nothing.
fn refused(file: &Path, model: &Path, parts: &[&str]) {
    let out = model.join("out.h5ad");
    let args = ["embed", text(file), "-m", text(model), "-o", text(&out)];
    fail(&args, parts);
    assert!(!out.exists());
}

#[test]
fn every_file_of_the_folder_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = trained(folder.path());
    for (name, told) in [
        ("training.json", "training has not finished"),
        ("tokenizer.json", "is missing"),
        ("genes.tsv", "is missing"),
        ("model.safetensors", "is missing"),
        ("training_cells.npy", "training_cells.npy"),
        ("config.json", "is missing"),
    ] {
        let kept = fs::read(model.join(name)).unwrap();
        fs::remove_file(model.join(name)).unwrap();
        refused(&file, &model, &[name, told]);
        fs::write(model.join(name), kept).unwrap();
    }
}

#[test]
fn tokens_that_the_configuration_does_not_make_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = trained(folder.path());
    let path = model.join("tokenizer.json");
    let mut tokenizer: serde_json::Value = crate::common::json_file(&path);
    assert_eq!(tokenizer["kind"], "log1p", "{tokenizer}");
    tokenizer["target"] = serde_json::json!(7.0);
    fs::write(&path, tokenizer.to_string()).unwrap();
    refused(
        &file,
        &model,
        &[
            "tokenizer.json",
            "does not match the tokeniser in config.json",
        ],
    );
}

#[test]
fn genes_in_another_order_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = trained(folder.path());
    let path = model.join("genes.tsv");
    let table = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = table.lines().collect();
    lines.swap(3, 9);
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    refused(&file, &model, &["genes.tsv", "in another order"]);
    lines.remove(4);
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    refused(&file, &model, &["genes.tsv", "119 genes"]);
}

#[test]
fn values_and_settings_that_were_changed_by_hand_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = trained(folder.path());
    let change = |name: &str, from: &str, to: &str| {
        let path = model.join(name);
        let before = fs::read_to_string(&path).unwrap();
        assert!(before.contains(from), "{before}");
        fs::write(&path, before.replacen(from, to, 1)).unwrap();
        before
    };
    let table = fs::read_to_string(model.join("genes.tsv")).unwrap();
    let value = table.lines().nth(1).unwrap().split('\t').nth(1).unwrap();
    let before = change("genes.tsv", value, "77.5");
    refused(&file, &model, &["genes.tsv", "the values of its genes"]);
    // Another system's line ends change nothing.
    fs::write(model.join("genes.tsv"), before.replace('\n', "\r\n")).unwrap();
    let vectors = folder.path().join("cells.npy");
    succeed(&[
        "embed",
        text(&file),
        "-m",
        text(&model),
        "-o",
        text(&vectors),
    ]);
    let before = change("config.json", "\"seed\": 0", "\"seed\": 7");
    refused(
        &file,
        &model,
        &["config.json", "seed is 7, but the model was made with 0"],
    );
    fs::write(model.join("config.json"), before).unwrap();
    fs::remove_file(model.join("config.json")).unwrap();
    fs::remove_file(model.join("training.json")).unwrap();
    refused(
        &file,
        &model,
        &["config.json", "run the same training again to resume"],
    );
}

#[test]
fn weights_that_are_no_numbers_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = trained(folder.path());
    let path = model.join("model.safetensors");
    let mut weights = read_safetensors(&path).unwrap();
    let (name, tensor) = weights.iter_mut().next().unwrap();
    tensor.data[1] = f32::NAN;
    let name = name.clone();
    fs::write(&path, to_safetensors(&weights).unwrap()).unwrap();
    refused(
        &file,
        &model,
        &["model.safetensors", &name, "NaN at position 1"],
    );
}

#[test]
fn another_layout_is_refused_with_who_wrote_it() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = trained(folder.path());
    let change = |name: &str, from: &str, to: &str| {
        let path = model.join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
    };
    change("config.json", "\"schema\": 1", "\"schema\": 99");
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    change("training.json", &version, "\"version\": \"9.8.7\"");
    refused(&file, &model, &["config.json", "schema 99", "scfm 9.8.7"]);
}

#[test]
fn whole_folders_of_before_are_read_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = trained(folder.path());
    for (name, key) in [
        ("config.json", "genes_blake3"),
        ("config.json", "table_blake3"),
        ("training.json", "training"),
    ] {
        let path = model.join(name);
        let mut value: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        value.as_object_mut().unwrap().remove(key).unwrap();
        fs::write(&path, value.to_string()).unwrap();
    }
    fs::remove_file(model.join("training_cells.npy")).unwrap();
    let out = folder.path().join("out.h5ad");
    let output = run(&["embed", text(&file), "-m", text(&model), "-o", text(&out)]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    assert!(
        errors.contains("warning") && errors.contains("order"),
        "{errors}"
    );
    let opened = sc_data::H5ad::open(&out).unwrap();
    let said = sc_data::identity::Provenance::of(&opened, "X_vae").unwrap();
    assert_eq!(said.trained_on, sc_data::identity::Known::Unknown);
}

#[test]
fn gene_names_that_no_table_holds_are_refused_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let plain = dense(folder.path(), "a.h5ad", 2, &[1., 2., 3., 4.]);
    let file = folder.path().join("tabbed.h5ad");
    let counts = sc_data::CsrMatrix::from_dense(2, &[1., 2., 3., 4.]);
    let frame = |names: [&str; 2]| NewFrame {
        index: names.map(String::from).to_vec(),
        columns: Vec::<(String, Column)>::new(),
    };
    let (obs, var) = (frame(["x", "y"]), frame(["GENE0", "GE\tNE1"]));
    write_h5ad(&file, &obs, &var, [Ok(counts)], &[]).unwrap();
    let (config, model) = (tiny("vae"), folder.path().join("model"));
    let mut args = pretraining(&file, &config, &model);
    args.extend_from_slice(SMALL);
    fail(&args, &["tabbed.h5ad", "GE\\tNE1", "rename"]);
    assert!(!model.exists() && plain.exists());
}

#[test]
fn a_damaged_newest_checkpoint_is_passed_over_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 60), tiny("vae"));
    let model = folder.path().join("model");
    let mut args = pretraining(&file, &config, &model);
    args.extend_from_slice(SMALL);
    succeed(&args);
    let whole = fs::read(model.join("model.safetensors")).unwrap();
    let newest = model.join("checkpoints/step-00000006/model.safetensors");
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let output = run(&args);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    assert!(
        errors.contains("step-00000006") && errors.contains("skipped"),
        "{errors}"
    );
    assert!(fs::read(model.join("model.safetensors")).unwrap() == whole);
}
