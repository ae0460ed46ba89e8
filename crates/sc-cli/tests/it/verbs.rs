//! What every verb does when all is well.

use crate::common::{
    SMALL_CELLPLM, SMALL_SCGPT, json, pretraining, run, simulated, succeed, text, tiny,
};
use sc_data::io::h5ad::H5ad;
use std::fs;

#[test]
fn doctor_tells_what_is_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 60);
    let table = succeed(&["doctor", text(&file)]);
    assert!(
        table.contains("60 × 120") && table.contains("donor_id"),
        "{table}"
    );
    let report = json(&["doctor", text(&file), "--format", "json"]);
    assert_eq!(report["cells"], 60);
}

#[test]
fn doctor_tells_what_every_architecture_would_take_or_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 60);
    let report = json(&["doctor", text(&file), "--format", "json"]);
    let listed = json(&["models", "list", "--format", "json"]);
    let presets = report["presets"].as_array().unwrap();
    assert_eq!(presets.len(), listed.as_array().unwrap().len());
    let of = |name: &str| presets.iter().find(|p| p["name"] == name).unwrap();
    assert_eq!(of("scgpt-tiny")["features"], 120);
    // Three cell types, which the file names.
    assert_eq!(of("mlp-tiny")["levels"]["label"], 3);
    let needs = of("scclip-tiny")["needs"].as_str().unwrap();
    assert!(needs.contains("0 peaks"), "{needs}");
}

#[test]
fn doctor_fails_a_file_without_counts() {
    let folder = tempfile::tempdir().unwrap();
    let file = crate::common::dense(folder.path(), "n.h5ad", 2, &[0.5, 0.0, 1.5, -2.0]);
    assert_eq!(run(&["doctor", text(&file)]).status.code(), Some(1));
}

#[test]
fn pretrain_embed_eval_and_report() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 240);
    for (architecture, small) in [
        ("cellplm", SMALL_CELLPLM),
        ("scgpt", SMALL_SCGPT),
        ("scformer", SMALL_SCGPT),
    ] {
        let (config, model) = (tiny(architecture), folder.path().join(architecture));
        let mut args = pretraining(&file, &config, &model);
        args.extend_from_slice(&["--batch", "batch"]);
        args.extend_from_slice(small);
        succeed(&args);
        for name in [
            "config.json",
            "genes.tsv",
            "tokenizer.json",
            "training.json",
            "train.jsonl",
        ] {
            assert!(model.join(name).exists(), "{architecture}: {name}");
        }
        succeed(&[
            "embed",
            text(&file),
            "-m",
            text(&model),
            "--in-place",
            "--batch",
            "batch",
        ]);
    }
    let opened = H5ad::open(&file).unwrap();
    let embedding = opened.obsm("X_cellplm").unwrap();
    assert_eq!(embedding.dim(), (240, 4));
    assert!(embedding.iter().all(|v| v.is_finite()));
    assert_eq!(opened.obsm("X_scformer").unwrap().dim(), (240, 16));

    let out = folder.path().join("evaluated");
    succeed(&[
        "eval",
        text(&file),
        "-o",
        text(&out),
        "--methods",
        "pca,one-hot",
    ]);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("X_cellplm") && page.contains("one-hot"));
    let again = folder.path().join("again.html");
    succeed(&["report", text(&out), "-o", text(&again)]);
    assert!(fs::read_to_string(again).unwrap().contains("X_scgpt"));
}

#[test]
fn cells_without_donors_are_judged_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (
        simulated(folder.path(), 120),
        folder.path().join("evaluated"),
    );
    let eval = ["eval", text(&file), "-o", text(&out)];
    let choice = ["--donor", "none", "--batch", "none", "--methods", "pca"];
    succeed(&[&eval[..], &choice[..]].concat());
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    for part in ["donors are unknown", "at random within every label"] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn embedding_does_not_depend_on_threads() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 100), tiny("cellplm"));
    let model = folder.path().join("model");
    let mut args = pretraining(&file, &config, &model);
    args.extend_from_slice(SMALL_CELLPLM);
    succeed(&args);
    let mut found = Vec::new();
    for threads in ["1", "3"] {
        let out = folder.path().join(format!("{threads}.h5ad"));
        succeed(&[
            "embed",
            text(&file),
            "-m",
            text(&model),
            "-o",
            text(&out),
            "--threads",
            threads,
        ]);
        found.push(H5ad::open(&out).unwrap().obsm("X_cellplm").unwrap());
    }
    assert_eq!(found[0], found[1]);
}

#[test]
fn log_normalised_values_are_taken_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let counts: Vec<f32> = (0..40 * 6).map(|i| ((i * 7) % 5) as f32).collect();
    let logged: Vec<f32> = counts.iter().map(|v| (v * 1.7).ln_1p()).collect();
    let file = crate::common::dense(folder.path(), "logged.h5ad", 6, &logged);
    let (config, model) = (tiny("cellplm"), folder.path().join("model"));
    let mut args = pretraining(&file, &config, &model);
    args.extend_from_slice(SMALL_CELLPLM);
    args.push("--assume-normalized");
    succeed(&args);
    let manifest = std::fs::read_to_string(model.join("training.json")).unwrap();
    assert!(manifest.contains("\"assumed\": \""), "{manifest}");
    succeed(&[
        "embed",
        text(&file),
        "-m",
        text(&model),
        "--in-place",
        "--assume-normalized",
    ]);
    let embedding = H5ad::open(&file).unwrap().obsm("X_cellplm").unwrap();
    assert!(embedding.dim() == (40, 4) && embedding.iter().all(|v| v.is_finite()));
}

#[test]
fn simulation_is_seeded() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, seed: &str| {
        let path = folder.path().join(name);
        succeed(&[
            "simulate",
            "-o",
            text(&path),
            "--cells",
            "50",
            "--genes",
            "30",
            "--seed",
            seed,
            "--force",
        ]);
        fs::read(path).unwrap()
    };
    assert_eq!(write("a.h5ad", "1"), write("b.h5ad", "1"));
    assert_ne!(write("a.h5ad", "1"), write("c.h5ad", "2"));
}

#[test]
fn every_architecture_is_listed_with_its_sizes() {
    let table = succeed(&["models", "list"]);
    let listed = json(&["models", "list", "--format", "json"]);
    for model in listed.as_array().unwrap() {
        let name = model["name"].as_str().unwrap();
        let row = table.lines().find(|l| l.starts_with(&format!("{name} ")));
        let row = row.unwrap();
        for key in ["paper", "tokens", "weights", "licence"] {
            assert!(row.contains(model[key].as_str().unwrap()), "{name}: {key}");
        }
        assert!(row.contains(model["objectives"][0].as_str().unwrap()));
        assert!(model["presets"]["tiny"]["parameters"].as_u64().unwrap() > 10_000);
    }
    // The released scGPT has 12 layers of width 512: 18.9 million numbers, and 512 a gene.
    let scgpt = &listed[1]["presets"]["paper"];
    let layers = scgpt["parameters"].as_u64().unwrap() - 512 * (20_000 + 3);
    assert_eq!(scgpt["features"], 20_000);
    assert!((18_900_000..21_000_000).contains(&layers), "{layers}");
}

#[test]
fn a_preset_is_named_without_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 60);
    let out = folder.path().join("model");
    let plan = |config: &str| {
        let args = ["pretrain", text(&file), "-c", config, "-o", text(&out)];
        succeed(&[&args[..], &["--dry-run"]].concat())
    };
    assert_eq!(plan("scgpt-tiny"), plan(text(&tiny("scgpt"))));
}

#[test]
fn a_baseline_takes_the_size_of_another_model() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = (simulated(folder.path(), 60), folder.path().join("model"));
    let mut args = vec![
        "pretrain",
        text(&file),
        "-c",
        "vae-tiny",
        "-o",
        text(&model),
    ];
    args.extend(["--set", "same_size_as=scgpt-tiny", "--set", "train.steps=2"]);
    succeed(&args);
    let config = fs::read_to_string(model.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let same = &config["same_size"];
    assert_eq!(same["model"], "scgpt-tiny");
    assert_eq!(config["spec"]["network"]["hidden"], same["width"]);
    let [ours, theirs] = ["parameters", "its_parameters"].map(|k| same[k].as_f64().unwrap());
    assert!((ours / theirs - 1.0).abs() < 0.01, "{ours} and {theirs}");
    // The folder is a model like any other.
    succeed(&["embed", text(&file), "-m", text(&model), "--in-place"]);
    let weights = fs::metadata(model.join("model.safetensors")).unwrap().len() as f64;
    assert!(
        (weights / (4.0 * ours) - 1.0).abs() < 0.02,
        "{weights} bytes"
    );
}

#[test]
fn completions_know_every_verb_and_flag() {
    let help = succeed(&["--help"]);
    let verbs = help.split_once("Commands:\n").unwrap().1;
    let verbs = verbs.lines().map_while(|l| l.strip_prefix("  "));
    let verbs: Vec<&str> = verbs.filter_map(|l| l.split(' ').next()).collect();
    assert!(verbs.len() > 10 && verbs.contains(&"pretrain"), "{verbs:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = succeed(&["completions", shell]);
        for word in verbs.iter().chain(&["min-overlap", "assume-normalized"]) {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
}
