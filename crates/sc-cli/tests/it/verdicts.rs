//! What `eval` says of planted leaks, honest improvements, and the kinds of data people have.

use crate::common::{SMALL_CELLPLM, fail, json_file, pretraining, succeed, text, tiny};
use ndarray::Array2;
use sc_data::io::h5ad::{H5ad, ObsmWriter, WriteTarget};
use sc_data::simulate::{SimConfig, simulate_to_file};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of `config`, whose types are hard to tell apart.
fn simulated(folder: &Path, config: SimConfig) -> PathBuf {
    let path = folder.join("cells.h5ad");
    simulate_to_file(&config, &path, |_| ()).unwrap();
    path
}

fn cells(donors: usize, cells: usize) -> SimConfig {
    SimConfig {
        cells,
        donors,
        genes: 100,
        cell_types: 4,
        batches: donors.min(2),
        depth: 150.0,
        marker_fold: 3.0,
        donor_effect: 0.3,
        ..SimConfig::default()
    }
}

/// Evaluates the file with a few baselines; what the program prints, and the verdict's first line.
fn evaluated(folder: &Path, file: &Path, more: &[&str]) -> (String, String) {
    let out = folder.join("evaluated");
    let words = ["eval", text(file), "-o", text(&out), "--force"];
    let methods = ["--methods", "pca,lr-counts,one-hot"];
    let printed = succeed(&[&words[..], &methods[..], more].concat());
    let line = printed.lines().find_map(|l| l.strip_prefix("verdict: "));
    let line = line
        .unwrap_or_else(|| panic!("no verdict in {printed}"))
        .to_owned();
    (printed, line)
}

/// Adds an embedding: types as one-hot, correct with this probability, and a little noise.
fn plant(file: &Path, key: &str, correct: f32) {
    let opened = H5ad::open(file).unwrap();
    let labels = opened.obs_column("cell_type").unwrap();
    let labels = labels
        .to_categories(&sc_data::io::h5ad::Missing::Error)
        .unwrap();
    let (n, k) = (labels.len(), labels.names().len());
    let noise = sc_eval::controls::random_embedding(n, k, 5);
    let x = Array2::from_shape_fn((n, k), |(i, j)| {
        let draw = (i * 7919 % 1000) as f32 / 1000.0;
        let own = if draw < correct {
            labels.codes()[i] as usize
        } else {
            (i * 31) % k
        };
        f32::from(u8::from(own == j)) + 0.2 * noise[[i, j]]
    });
    drop(opened);
    let mut writer = ObsmWriter::create(file, &WriteTarget::InPlace, key, k, &Value::Null).unwrap();
    use sc_data::io::export::VectorWriter as _;
    writer.push(x.as_slice().unwrap()).unwrap();
    Box::new(writer).finish().unwrap();
}

/// Trains a small supervised perceptron.
fn train(folder: &Path, file: &Path, more: &[&str]) -> PathBuf {
    let model = folder.join("model");
    let words = ["pretrain", text(file), "-c", "mlp-tiny", "-o", text(&model)];
    let sets = ["--set", "obs.label=cell_type", "--set", "train.steps=40"];
    let size = ["--set", "network.hidden=[32]", "--set", "network.latent=8"];
    succeed(&[&words[..], &sets[..], &size[..], more].concat());
    model
}

#[test]
fn a_leak_is_told_first_and_an_honest_model_is_not_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), cells(14, 560));
    let embed = |model: &Path, key: &str| {
        let words = [
            "embed",
            text(&file),
            "-m",
            text(model),
            "--in-place",
            "--key",
            key,
        ];
        succeed(&words);
    };
    let leaky = train(folder.path(), &file, &[]);
    embed(&leaky, "X_leaky");
    let result = |key: &str| {
        let path = folder
            .path()
            .join("evaluated")
            .join(key)
            .join("result.json");
        json_file(&path)
    };
    let (printed, line) = evaluated(folder.path(), &file, &[]);
    assert!(
        line.starts_with("Leak: X_leaky saw labels of the scored cells"),
        "{line}"
    );
    assert!(printed.contains("Train X_leaky again without the scored donors"));
    assert_eq!(result("X_leaky")["exposure"]["seen"], "labels");
    // A perceptron is a neural baseline; the leak is reported all the same.
    assert_eq!(result("X_leaky")["family"], "neural");
    assert!(printed.contains("X_leaky: leak, it was trained on labels of scored cells"));
    fs::remove_dir_all(&leaky).unwrap();
    let honest = train(folder.path(), &file, &["--hold-out"]);
    embed(&honest, "X_honest");
    let (printed, _) = evaluated(folder.path(), &file, &["--obsm", "X_honest"]);
    assert_eq!(result("X_honest")["exposure"]["seen"], "nothing");
    assert!(!printed.contains("leak"), "{printed}");
    // The split of the model gives way to another column of donors.
    let honest = ["--obsm", "X_honest"];
    let without = [&honest[..], &["--donor", "none"]].concat();
    let (printed, _) = evaluated(folder.path(), &file, &without);
    assert!(
        printed.contains("interval over cells, donors unknown"),
        "{printed}"
    );
    let evaluated = folder.path().join("nothing");
    let words = [
        "eval",
        text(&file),
        "-o",
        text(&evaluated),
        "--donor",
        "nope",
    ];
    fail(&words, &["nope"]);
    assert!(!evaluated.exists());
}

#[test]
fn labels_that_are_given_as_batches_are_a_leak() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), cells(14, 280));
    let (config, model) = (tiny("cellplm"), folder.path().join("model"));
    let by_label = ["--batch", "cell_type"];
    let train = pretraining(&file, &config, &model);
    succeed(&[&train[..], SMALL_CELLPLM, &by_label, &["--hold-out"]].concat());
    let embed = ["embed", text(&file), "-m", text(&model), "--in-place"];
    succeed(&[&embed[..], &by_label].concat());
    let (printed, line) = evaluated(folder.path(), &file, &[]);
    assert!(
        line.starts_with("Leak: X_cellplm saw labels of the scored cells"),
        "{line}"
    );
    assert!(printed.contains("its batches reveal the labels of the scored cells"));
    let evaluated = folder.path().join("by-label");
    let words = ["eval", text(&file), "-o", text(&evaluated)];
    fail(
        &[&words[..], &by_label].concat(),
        &[
            "holds batches with one label of obs['cell_type'] each",
            "--batch",
        ],
    );
}

#[test]
fn a_planted_improvement_is_better_and_its_origin_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), cells(20, 800));
    plant(&file, "X_good", 0.99);
    let (printed, line) = evaluated(folder.path(), &file, &[]);
    let start =
        "Training cells unknown: X_good may have seen the scored cells. The foundation model beat";
    assert!(line.starts_with(start), "{printed}");
    plant(&file, "X_bad", 0.2);
    let (printed, line) = evaluated(folder.path(), &file, &["--obsm", "X_bad"]);
    assert!(line.contains("it was detectably worse"), "{printed}");
    // Every interval holds its own value.
    for key in ["X_bad", "pca", "lr-counts"] {
        let path = folder
            .path()
            .join("evaluated")
            .join(key)
            .join("result.json");
        let result = json_file(&path);
        for m in result["metrics"].as_array().unwrap() {
            let number = |k: &str| m[k].as_f64();
            if let (Some(low), Some(v), Some(high)) =
                (number("low"), number("value"), number("high"))
            {
                assert!(low <= v && v <= high, "{key}: {m}");
            }
        }
    }
}

#[test]
fn one_or_two_held_out_donors_are_not_testable() {
    let folder = tempfile::tempdir().unwrap();
    for (donors, said) in [(2, "1 donor is held out"), (6, "2 donors are held out")] {
        let file = simulated(folder.path(), cells(donors, 160));
        plant(&file, "X_good", 0.99);
        let (printed, line) = evaluated(folder.path(), &file, &["--batch", "none"]);
        assert!(line.contains(&format!("Not testable: {said}")), "{printed}");
        assert!(line.contains("--test-fraction"), "{printed}");
        assert!(!printed.contains("[1.000, 1.000]"), "{printed}");
    }
}

#[test]
fn one_donor_is_refused_with_ways_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), cells(1, 60));
    let out = folder.path().join("evaluated");
    let words = ["eval", text(&file), "-o", text(&out), "--batch", "none"];
    fail(
        &words,
        &["donor_id", "single donor", "another column", "none"],
    );
    let model = folder.path().join("model");
    let words = [
        "pretrain",
        text(&file),
        "-c",
        "mlp-tiny",
        "-o",
        text(&model),
        "--hold-out",
    ];
    fail(
        &words,
        &["single donor", "--donor none", "train on all cells"],
    );
    assert!(!out.exists());
}

#[test]
fn one_label_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let config = SimConfig {
        cell_types: 1,
        ..cells(8, 120)
    };
    let file = simulated(folder.path(), config);
    let out = folder.path().join("evaluated");
    let words = ["eval", text(&file), "-o", text(&out)];
    fail(&words, &["cell_type", "one label", "--label"]);
    assert!(!out.exists());
}

#[test]
fn without_batches_no_total_is_invented() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), cells(16, 480));
    plant(&file, "X_good", 0.99);
    evaluated(folder.path(), &file, &["--batch", "none"]);
    let result = json_file(&folder.path().join("evaluated/X_good/result.json"));
    let metrics = result["metrics"].as_array().unwrap();
    for name in ["batch_correction", "total"] {
        let found = metrics.iter().find(|m| m["name"] == name).unwrap();
        assert!(found["value"].is_null(), "{found}");
        assert!(
            found["note"]
                .as_str()
                .unwrap()
                .contains("too few to be compared")
        );
    }
}

#[test]
fn many_labels_and_small_batches_are_judged() {
    let folder = tempfile::tempdir().unwrap();
    let config = SimConfig {
        cell_types: 37,
        batches: 8,
        ..cells(16, 900)
    };
    let file = simulated(folder.path(), config);
    let (printed, _) = evaluated(folder.path(), &file, &[]);
    assert!(printed.contains("lr-counts"), "{printed}");
    let page = fs::read_to_string(folder.path().join("evaluated/report.html")).unwrap();
    assert!(page.contains("Results per class") && page.contains("Most often predicted as"));
}

#[test]
fn unknown_donors_are_never_called_donors() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), cells(1, 240));
    plant(&file, "X_good", 0.99);
    let (printed, line) = evaluated(
        folder.path(),
        &file,
        &["--donor", "none", "--batch", "none"],
    );
    assert!(
        line.contains("of held-out cells, donors unknown"),
        "{printed}"
    );
    let page = fs::read_to_string(folder.path().join("evaluated/report.html")).unwrap();
    for wrong in ["held-out donors", "84 donors"] {
        assert!(!page.contains(wrong), "{wrong}");
    }
}

#[test]
fn wrong_methods_and_odd_embeddings_are_told_before_work() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), cells(14, 280));
    let out = folder.path().join("evaluated");
    let words = [
        "eval",
        text(&file),
        "-o",
        text(&out),
        "--methods",
        "pca,pac",
    ];
    fail(&words, &["--methods", "'pac'", "lr-counts"]);
    assert!(!out.exists());
    // An embedding called like a baseline does not hide it.
    plant(&file, "pca", 0.9);
    evaluated(folder.path(), &file, &["--obsm", "pca"]);
    for name in ["obsm-pca", "pca"] {
        assert!(out.join(name).join("result.json").exists(), "{name}");
    }
    assert!(out.join("results.csv").exists());
}

/// Everything the quickstart's cells give: an interval holds its value, and aggregates say of what.
#[test]
fn every_printed_interval_holds_its_value() {
    let folder = tempfile::tempdir().unwrap();
    let cells = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../configs/experiments/data/pancreas_mini.h5ad");
    let out = folder.path().join("evaluated");
    succeed(&["eval", text(&cells), "-o", text(&out)]);
    let mut checked = 0;
    for entry in fs::read_dir(&out).unwrap() {
        let path = entry.unwrap().path().join("result.json");
        if !path.exists() {
            continue;
        }
        let result = json_file(&path);
        for m in result["metrics"].as_array().unwrap() {
            let number = |k: &str| m[k].as_f64();
            assert_eq!(number("low").is_some(), number("high").is_some(), "{m}");
            if let (Some(low), Some(v), Some(high)) =
                (number("low"), number("value"), number("high"))
            {
                assert!(
                    low <= v && v <= high && low < high,
                    "{}: {m}",
                    path.display()
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 150, "{checked}");
}

#[test]
fn numbers_do_not_depend_on_threads() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), cells(14, 420));
    plant(&file, "X_good", 0.8);
    let strict = |name: &str| {
        let result = json_file(
            &folder
                .path()
                .join("evaluated")
                .join(name)
                .join("result.json"),
        );
        let metrics = result["metrics"].as_array().unwrap().clone();
        let kept = metrics.into_iter().filter(|m| m["mode"] == "strict");
        kept.collect::<Vec<Value>>()
    };
    evaluated(folder.path(), &file, &["--obsm", "X_good"]);
    let before = strict("X_good");
    evaluated(
        folder.path(),
        &file,
        &["--obsm", "X_good", "--threads", "1"],
    );
    assert_eq!(before, strict("X_good"));
}
