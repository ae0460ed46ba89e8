//! Bad input: one clear line, exit code 2, nothing written half.

use crate::common::{SMALL_CELLPLM, dense, fail, pretraining, run, simulated, succeed, text, tiny};
use std::fs;
use std::path::Path;

fn eval(file: &Path, folder: &Path, more: &[&str], parts: &[&str]) {
    let out = folder.join("out");
    let mut args = vec!["eval", text(file), "-o", text(&out)];
    args.extend_from_slice(more);
    fail(&args, parts);
    assert!(!out.join("report.html").exists());
}

fn pretrain(file: &Path, folder: &Path, parts: &[&str]) {
    let (out, config) = (folder.join("model"), tiny("cellplm"));
    let mut args = pretraining(file, &config, &out);
    args.extend_from_slice(SMALL_CELLPLM);
    fail(&args, parts);
    assert!(!out.join("model.safetensors").exists());
}

#[test]
fn a_truncated_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 60);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    pretrain(&file, folder.path(), &["cells.h5ad"]);
    eval(&file, folder.path(), &[], &["cells.h5ad"]);
}

#[test]
fn a_file_of_another_kind() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cells.h5ad");
    fs::write(&file, "gene,count\n").unwrap();
    pretrain(&file, folder.path(), &["cells.h5ad", "HDF5"]);
    fail(&["doctor", text(&file)], &["cells.h5ad", "HDF5"]);
}

#[test]
fn negative_counts() {
    let folder = tempfile::tempdir().unwrap();
    let file = dense(
        folder.path(),
        "negative.h5ad",
        3,
        &[1.0, 0.0, -3.0, 2.0, 1.0, 0.0],
    );
    pretrain(&file, folder.path(), &["negative.h5ad", "X", "negative"]);
}

#[test]
fn normalised_values_without_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let file = dense(
        folder.path(),
        "normal.h5ad",
        3,
        &[0.7, 0.0, 1.3, 2.1, 1.1, 0.0],
    );
    pretrain(
        &file,
        folder.path(),
        &["normal.h5ad", "--assume-normalized"],
    );
}

#[test]
fn a_missing_column() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 60);
    eval(
        &file,
        folder.path(),
        &["--label", "celltype"],
        &["celltype", "cell_type"],
    );
}

#[test]
fn every_verb_says_which_columns_there_are_and_how_to_name_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 60);
    let there = "it has 'cell_type', 'batch', 'donor_id'";
    for (more, flag) in [
        (["--label", "nope"], "--label COLUMN"),
        (["--batch", "nope"], "--batch COLUMN or --batch none"),
        (["--donor", "nope"], "--donor COLUMN or --donor none"),
    ] {
        eval(&file, folder.path(), &more, &["'nope'", there, flag]);
    }
    let (out, config) = (folder.path().join("model"), tiny("cellplm"));
    let args = pretraining(&file, &config, &out);
    for (more, flag) in [
        (
            &["--hold-out", "--donor", "nope"][..],
            "--donor COLUMN or --donor none",
        ),
        (
            &["--hold-out", "--label", "nope"],
            "--label COLUMN or --label none",
        ),
        (
            &["--hold-out", "--batch", "nope"],
            "--batch COLUMN or --batch none",
        ),
        (&["--batch", "nope"], "--batch COLUMN or --batch none"),
        (&["--set", "obs.label=nope"], "--set obs.label=COLUMN"),
        (
            &[
                "--set",
                "train.sampling={ kind = \"balanced\", column = \"nope\", scaler = 1 }",
            ],
            "--set train.sampling.column=COLUMN",
        ),
    ] {
        fail(
            &[&args[..], more].concat(),
            &["cells.h5ad", "'nope'", there, flag],
        );
    }
}

#[test]
fn donors_that_are_the_labels() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 60);
    let parts = [
        "obs['cell_type']",
        "the label and the donor at once",
        "--donor COLUMN",
    ];
    eval(&file, folder.path(), &["--donor", "cell_type"], &parts);
    let (out, config) = (folder.path().join("model"), tiny("cellplm"));
    let args = pretraining(&file, &config, &out);
    fail(
        &[&args[..], &["--hold-out", "--donor", "cell_type"]].concat(),
        &parts,
    );
}

#[test]
fn cells_without_counts_are_counted_and_a_file_of_them_is_not_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = dense(folder.path(), "nothing.h5ad", 3, &[0.0; 12]);
    pretrain(
        &file,
        folder.path(),
        &["nothing.h5ad", "none of the 4 cells", "any counts"],
    );
    let mut values = [1.0; 36];
    values[..6].fill(0.0);
    let file = dense(folder.path(), "two.h5ad", 3, &values);
    let (config, model) = (tiny("cellplm"), folder.path().join("model"));
    let said = |args: &[&str]| {
        let output = run(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let training = [&pretraining(&file, &config, &model)[..], SMALL_CELLPLM].concat();
    let trained = said(&training);
    assert!(
        trained.contains("two.h5ad: 2 of the 12 cells to train on"),
        "{trained}"
    );
    let out = folder.path().join("out.h5ad");
    let embedded = said(&["embed", text(&file), "-m", text(&model), "-o", text(&out)]);
    assert!(
        embedded.contains("two.h5ad: 2 of 12 cells have no counts"),
        "{embedded}"
    );
    // The copy with the embedding has the same cells and other bytes.
    let both = folder.path().join("both");
    let training = [
        &pretraining(&file, &config, &both)[..],
        &[text(&out)],
        SMALL_CELLPLM,
    ]
    .concat();
    let trained = said(&training);
    assert!(
        trained.contains("two.h5ad: 10 of the 24 cells to train on"),
        "{trained}"
    );
}

#[test]
fn one_batch() {
    let folder = tempfile::tempdir().unwrap();
    let file = dense(
        folder.path(),
        "one.h5ad",
        2,
        &[1.0, 0.0, 3.0, 2.0, 1.0, 4.0],
    );
    eval(
        &file,
        folder.path(),
        &[],
        &["one.h5ad", "single batch", "none"],
    );
}

#[test]
fn one_cell() {
    let folder = tempfile::tempdir().unwrap();
    let file = dense(folder.path(), "one.h5ad", 2, &[1.0, 2.0]);
    pretrain(&file, folder.path(), &["one.h5ad", "1 training cell"]);
    eval(&file, folder.path(), &["--batch", "none"], &["one label"]);
}

#[test]
fn no_gene_the_model_knows() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 60), tiny("cellplm"));
    let model = folder.path().join("model");
    let mut args = pretraining(&file, &config, &model);
    args.extend_from_slice(SMALL_CELLPLM);
    succeed(&args);
    let other = dense(folder.path(), "other.h5ad", 2, &[1.0, 0.0, 3.0, 2.0]);
    let out = folder.path().join("out.h5ad");
    fail(
        &["embed", text(&other), "-m", text(&model), "-o", text(&out)],
        &["other.h5ad", "GENE0"],
    );
    assert!(!out.exists());
}

#[test]
fn a_folder_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 60), tiny("cellplm"));
    // Permissions do not stop root; a file in the place of the folder stops everyone.
    let blocked = folder.path().join("blocked");
    fs::write(&blocked, "").unwrap();
    let out = blocked.join("model");
    fail(
        &[
            "pretrain",
            text(&file),
            "-c",
            text(&config),
            "-o",
            text(&out),
        ],
        &["blocked"],
    );
    fail(
        &[
            "simulate",
            "-o",
            text(&out),
            "--cells",
            "10",
            "--genes",
            "10",
        ],
        &["blocked"],
    );
}

#[test]
fn an_unknown_setting() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 60), tiny("cellplm"));
    let out = folder.path().join("model");
    let args = [
        "pretrain",
        text(&file),
        "-c",
        text(&config),
        "-o",
        text(&out),
    ];
    let with = |more: &'static str| [&args[..], &["--set", more]].concat();
    fail(&with("train.stepz=4"), &["stepz", "steps"]);
    fail(&with("network.hiden=4"), &["hiden", "hidden"]);
    fail(&with("architecture=bert"), &["bert", "cellplm"]);
    fail(
        &[&args[..], &["--device", "tpu"]].concat(),
        &["tpu", "flex"],
    );
}

#[test]
fn settings_of_a_simulation_by_file_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (
        folder.path().join("sim.toml"),
        folder.path().join("out.h5ad"),
    );
    for (settings, part) in [
        ("cells = -1", "sim.toml: cells: invalid value: integer `-1`"),
        ("donors = 0", "sim.toml: simulation: donors is 0"),
    ] {
        fs::write(&config, settings).unwrap();
        fail(
            &["simulate", "-c", text(&config), "-o", text(&out)],
            &[part],
        );
        assert!(!out.exists());
    }
}

#[test]
fn an_unknown_preset() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (simulated(folder.path(), 60), folder.path().join("model"));
    let args = ["pretrain", text(&file), "-o", text(&out), "-c"];
    let with = |config: &'static str| [&args[..], &[config]].concat();
    fail(
        &with("scgpt-huge"),
        &["scgpt-huge", "scgpt-tiny", "vae-paper"],
    );
    fail(&with("nowhere/scgpt.toml"), &["nowhere/scgpt.toml"]);
}

#[test]
fn a_size_that_cannot_be_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (simulated(folder.path(), 60), folder.path().join("model"));
    let refuse = |config: &str, size: &str, parts: &[&str]| {
        let set = format!("same_size_as={size}");
        let args = ["pretrain", text(&file), "-o", text(&out), "-c", config];
        fail(&[&args[..], &["--set", &set]].concat(), parts);
    };
    refuse(
        "vae-tiny",
        "scgpt-huge",
        &["same_size_as", "scgpt-huge", "scgpt-tiny"],
    );
    refuse(
        "vae-tiny",
        "scclip-tiny",
        &["same_size_as scclip-tiny", "0 peaks"],
    );
    refuse(
        "scgpt-tiny",
        "cellplm-tiny",
        &["scgpt has no adjustable width", "vae, autoencoder"],
    );
}

#[test]
fn a_split_of_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 60);
    let split = folder.path().join("held.json");
    let text_of = r#"{"schema": 1, "donor": "donor_id", "test_donors": ["nobody"], "drawn": {"method":
        "test-donors", "test_fraction": 0.25, "seed": 0, "label": null, "batch": null}}"#;
    fs::write(&split, text_of).unwrap();
    let more = ["--split", text(&split)];
    eval(&file, folder.path(), &more, &["held.json: ", "nobody"]);
}

#[test]
fn a_diverging_run_stops_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 60), tiny("cellplm"));
    let out = folder.path().join("model");
    let mut args = pretraining(&file, &config, &out);
    args.extend_from_slice(SMALL_CELLPLM);
    args.extend_from_slice(&["--set", "train.learning_rate=1e30"]);
    fail(
        &args,
        &[
            "diverged at step",
            // As it is set, not as warm-up made it.
            "learning_rate (now 1e30)",
            "no checkpoint has been written yet",
        ],
    );
    assert!(!out.join("model.safetensors").exists());
}

#[test]
fn a_model_is_not_replaced_by_the_training_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 60), tiny("cellplm"));
    let out = folder.path().join("model");
    let args = [&pretraining(&file, &config, &out)[..], SMALL_CELLPLM].concat();
    succeed(&args);
    let weights = std::fs::read(out.join("model.safetensors")).unwrap();
    std::fs::remove_dir_all(out.join("checkpoints")).unwrap();
    fail(
        &args,
        &["has a config.json, which training would replace", "-o"],
    );
    assert_eq!(
        std::fs::read(out.join("model.safetensors")).unwrap(),
        weights
    );
    fail(
        &[&pretraining(&file, &config, &file)[..], SMALL_CELLPLM].concat(),
        &["is a file; -o must be a folder"],
    );
}

#[test]
fn weights_that_are_not_finite_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 60), tiny("autoencoder"));
    let out = folder.path().join("model");
    let mut args = pretraining(&file, &config, &out);
    args.extend([
        "--set",
        "train.steps=1",
        "--set",
        "train.learning_rate=1e6",
        "--set",
        "train.weight_decay=1e38",
    ]);
    args.extend(["--set", "vocabulary.genes=20"]);
    fail(
        &args,
        &["so the model is not written", "train.weight_decay"],
    );
    assert!(!out.join("model.safetensors").exists());
}
