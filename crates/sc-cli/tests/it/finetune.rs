//! `scfm finetune`, and what is done with the model: `annotate`, `map`, `denoise`.

use crate::common::{
    SMALL_CELLPLM, SMALL_SCGPT, fail, json_file, pretraining, run, simulated, succeed, text, tiny,
};
use sc_data::CsrMatrix;
use sc_data::io::h5ad::{Column, H5ad, NewFrame, write_h5ad};
use std::fs;
use std::path::{Path, PathBuf};

/// A file and a model that was pretrained on it.
fn pretrained(folder: &Path, architecture: &str, small: &[&str]) -> (PathBuf, PathBuf) {
    let (file, model) = (simulated(folder, 160), folder.join(architecture));
    let config = tiny(architecture);
    let mut args = pretraining(&file, &config, &model);
    args.extend_from_slice(small);
    succeed(&args);
    (file, model)
}

const SHORT: &[&str] = &[
    "--set",
    "train.steps=200",
    "--set",
    "train.learning_rate=5e-3",
    "--set",
    "train.validation.every=20",
    "-q",
];

fn finetuned(file: &Path, model: &str, out: &Path, more: &[&str]) -> String {
    let args = ["finetune", model, text(file), "-o", text(out)];
    succeed(&[&args[..], SHORT, more].concat())
}

#[test]
fn a_fine_tuned_model_labels_cells_and_is_compared_with_simple_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = pretrained(folder.path(), "cellplm", SMALL_CELLPLM);
    let out = folder.path().join("annotator");
    let said = finetuned(&file, text(&model), &out, &["--hold-out"]);
    for part in [
        "tensors taken",
        "labels      3: ",
        "cells of donor",
        "before fine-tuning, logistic regression",
        "counts, logistic regression",
    ] {
        assert!(said.contains(part), "'{part}' is not in: {said}");
    }
    let scores = json_file(&out.join("scores.json"));
    let rows = scores["scores"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        for key in ["validation_macro_f1", "test_macro_f1"] {
            let f1 = row[key].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&f1), "{row}");
        }
    }
    assert!(scores["validation_loss"].as_array().unwrap().len() > 2);
    let start = &json_file(&out.join("config.json"))["start"];
    assert!(start["taken"].as_u64() > Some(5) && !start["drawn"].as_array().unwrap().is_empty());
    // Those of the model it started from are among them, each once.
    let trained = json_file(&out.join("training.json"))["training"]["cells"].as_u64();
    assert_eq!(trained, Some(160));

    let labelled = folder.path().join("labelled.h5ad");
    let args = [
        "annotate",
        text(&file),
        "-m",
        text(&out),
        "-o",
        text(&labelled),
    ];
    let said = succeed(&args);
    assert!(said.starts_with("labelled 160 cells, "), "{said}");
    let read = H5ad::open(&labelled).unwrap();
    let label = read.obs_column("cellplm_label").unwrap();
    let known = read.obs_column("cell_type").unwrap();
    let right = (0..160).filter(|&r| label.text(r) == known.text(r)).count();
    assert!(right > 80, "{right} of 160");
    let names = ["type0", "type1", "type2", "unknown"];
    let Column::Categorical { categories, .. } = &label else {
        panic!("{label:?}");
    };
    assert!(
        categories
            .iter()
            .all(|c| names.contains(&c.as_str()) || c.starts_with("type"))
    );
    let probability = read
        .obs_column("cellplm_probability")
        .unwrap()
        .to_f64()
        .unwrap();
    assert!(probability.iter().all(|p| (0.3..=1.0).contains(p)));
    // Nothing is replaced unasked.
    fail(&args, &["already exists"]);
    let other = folder.path().join("b.h5ad");
    let again = [
        "annotate",
        text(&labelled),
        "-m",
        text(&out),
        "-o",
        text(&other),
    ];
    fail(&again, &["obs['cellplm_label'] already exists", "--key"]);
    // A threshold of 1 leaves nothing but certain labels; 0 labels every cell.
    let table = folder.path().join("labels.tsv");
    let args = [
        "annotate",
        text(&file),
        "-m",
        text(&out),
        "-o",
        text(&table),
    ];
    succeed(&[&args[..], &["--threshold", "0"]].concat());
    let lines = fs::read_to_string(&table).unwrap();
    assert_eq!(lines.lines().count(), 161);
    assert!(!lines.contains("unknown"), "{lines}");
    assert!(folder.path().join("labels.tsv.json").exists());
}

#[test]
fn starts_from_a_preset_or_from_scratch() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 120);
    let out = folder.path().join("mlp");
    let said = finetuned(&file, "mlp-tiny", &out, &["--donor", "none"]);
    assert!(said.contains("drawn at random"), "{said}");
    let scratch = folder.path().join("scratch");
    let said = finetuned(&file, text(&out), &scratch, &["--from", "scratch"]);
    assert!(said.contains("weights     drawn from the seed"), "{said}");
    assert!(
        json_file(&scratch.join("scores.json"))["scores"]
            .as_array()
            .unwrap()
            .len()
            == 2
    );
}

#[test]
fn refuses_what_cannot_be_fine_tuned_or_annotated() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = pretrained(folder.path(), "cellplm", SMALL_CELLPLM);
    let out = folder.path().join("out");
    let args = |model: &'static str| vec!["finetune", model, "FILE", "-o", "OUT"];
    let with = |words: Vec<&'static str>| -> Vec<String> {
        let place = |w: &str| w.replace("FILE", text(&file)).replace("OUT", text(&out));
        words.into_iter().map(place).collect()
    };
    let refused = |words: Vec<&'static str>, parts: &[&str]| {
        let words = with(words);
        fail(&words.iter().map(String::as_str).collect::<Vec<_>>(), parts);
    };
    refused(
        args("nothing"),
        &["is neither a folder nor the name of a preset"],
    );
    refused(
        [args("autoencoder-tiny"), vec![]].concat(),
        &["autoencoder has no objective for annotation", "cellplm"],
    );
    refused(
        [args("mlp-tiny"), vec!["--label", "nothing"]].concat(),
        &["obs has no column 'nothing'", "--label COLUMN"],
    );
    assert!(!out.exists());
    let annotate = ["annotate", text(&file), "-m", text(&model), "-o", "x.h5ad"];
    fail(&annotate, &["was not trained on labels", "scfm finetune"]);
}

#[test]
fn labels_are_mapped_from_a_reference() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = pretrained(folder.path(), "cellplm", SMALL_CELLPLM);
    let out = folder.path().join("mapped.h5ad");
    let args = [
        "map",
        text(&file),
        "--reference",
        text(&file),
        "-m",
        text(&model),
        "-o",
        text(&out),
        "-k",
        "5",
    ];
    let said = succeed(&args);
    assert!(
        said.contains("by principal components of the same genes"),
        "{said}"
    );
    let read = H5ad::open(&out).unwrap();
    for column in ["label", "share", "distance"] {
        assert!(read.obs().has(&format!("cellplm_map_{column}")), "{column}");
    }
    let share = read
        .obs_column("cellplm_map_share")
        .unwrap()
        .to_f64()
        .unwrap();
    assert!(share.iter().all(|s| (0.2..=1.0).contains(s)));
}

#[test]
fn expected_counts_are_a_layer_and_are_scored() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = pretrained(folder.path(), "cellplm", SMALL_CELLPLM);
    let out = folder.path().join("denoised.h5ad");
    let args = ["denoise", text(&file), "-m", text(&model), "-o", text(&out)];
    let said = succeed(&args);
    assert!(said.contains("wrote denoised_cellplm in"), "{said}");
    let read = H5ad::open(&out).unwrap();
    assert!(read.layers().contains(&"denoised_cellplm".to_owned()));
    // The counts of a cell are as many as before.
    let old = H5ad::open(&file).unwrap();
    let [before, after] = [(&old, "X"), (&read, "layers/denoised_cellplm")].map(|(file, node)| {
        let info = file.source().info(node).ok().filter(|i| i.shape.len() == 2);
        info.map(|i| {
            let ranges: Vec<_> = i.shape.iter().map(|&n| 0..n).collect();
            let values = file.source().numbers(node, &ranges).unwrap().into_f32();
            values.iter().map(|v| f64::from(*v)).sum::<f64>()
        })
    });
    assert!(before.is_none(), "counts are sparse");
    assert!(after.is_some_and(|sum| sum > 1000.0));
    fail(&args, &["already exists"]);
    let scored = succeed(&["denoise", text(&file), "-m", text(&model), "--score"]);
    for part in [
        "cellplm",
        "mean of each gene",
        "mean of 15 neighbours",
        "the counts themselves",
    ] {
        assert!(scored.contains(part), "'{part}' is not in: {scored}");
    }
    let scgpt = folder.path().join("scgpt");
    let config = tiny("scgpt");
    succeed(&[&pretraining(&file, &config, &scgpt)[..], SMALL_SCGPT].concat());
    let args = ["denoise", text(&file), "-m", text(&scgpt), "--score"];
    fail(&args, &["does not decode expression", "vae"]);
}

/// A file of 40 cells of two types that express the `genes` differently.
fn cells_of(folder: &Path, genes: &[&str]) -> PathBuf {
    let path = folder.join("published.h5ad");
    let kinds = |cell: usize| {
        if cell.is_multiple_of(2) {
            "even"
        } else {
            "odd"
        }
    };
    let obs = NewFrame {
        index: (0..40).map(|c| format!("cell{c}")).collect(),
        columns: vec![
            ("cell_type".into(), Column::from_strings((0..40).map(kinds))),
            (
                "donor_id".into(),
                Column::from_strings((0..40).map(|c| format!("d{}", c % 5))),
            ),
        ],
    };
    let var = NewFrame {
        index: genes.iter().map(|g| g.to_string()).collect(),
        columns: Vec::new(),
    };
    let count = |cell: usize, gene: usize| match (cell + gene).is_multiple_of(2) {
        true => 20.0 + ((cell * 7 + gene * 3) % 5) as f32,
        false => ((cell + gene) % 3) as f32,
    };
    let values: Vec<f32> = (0..40 * genes.len())
        .map(|k| count(k / genes.len(), k % genes.len()))
        .collect();
    let rows = [Ok(CsrMatrix::from_dense(genes.len(), &values))];
    write_h5ad(&path, &obs, &var, rows, &[]).unwrap();
    path
}

#[test]
fn published_folders_are_fine_tuned_and_annotate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/published");
    for (from, weights) in [
        ("scgpt", "scgpt-human"),
        ("cellplm", "cellplm-vae"),
        ("geneformer", "geneformer"),
        ("nicheformer", "nicheformer/huggingface"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let published = root.join(weights);
        let (converted, out, labelled) = (at("converted"), at("out"), at("labelled.h5ad"));
        let convert = [
            "convert",
            text(&published),
            "--from",
            from,
            "-o",
            text(&converted),
        ];
        succeed(&convert);
        let genes = fs::read_to_string(converted.join("genes.tsv")).unwrap();
        let genes = genes.lines().skip(1).filter_map(|l| l.split('\t').next());
        let file = cells_of(folder.path(), &genes.collect::<Vec<_>>());
        let said = succeed(&[
            "finetune",
            text(&published),
            text(&file),
            "-o",
            text(&out),
            "--set",
            "train.steps=6",
            "-q",
        ]);
        assert!(said.contains("tensors taken"), "{from}: {said}");
        assert!(said.contains("before fine-tuning"), "{from}: {said}");
        succeed(&[
            "annotate",
            text(&file),
            "-m",
            text(&out),
            "-o",
            text(&labelled),
        ]);
        let labels = H5ad::open(&labelled).unwrap();
        let labels = labels.obs_column(&format!("{from}_label")).unwrap();
        for row in 0..40 {
            let label = labels.text(row).unwrap();
            assert!(
                ["even", "odd", "unknown"].contains(&label.as_str()),
                "{from}: {label}"
            );
        }
        // A fine-tuning of weights that are not touched knows where they came from.
        let start = &json_file(&out.join("config.json"))["start"];
        assert!(start["weights_blake3"].is_string(), "{from}: {start}");
    }
}

/// A screen of 6 genes: knocking one out removes its counts.
fn screen(folder: &Path) -> PathBuf {
    let path = folder.join("screen.h5ad");
    let names = ["ctrl", "GENE0", "GENE1", "GENE0+GENE1"];
    let obs = NewFrame {
        index: (0..80).map(|c| format!("cell{c}")).collect(),
        columns: vec![(
            "perturbation".into(),
            Column::from_strings((0..80).map(|c| names[c % 4])),
        )],
    };
    let var = NewFrame {
        index: (0..6).map(|g| format!("GENE{g}")).collect(),
        columns: Vec::new(),
    };
    let count = |cell: usize, gene: usize| match names[cell % 4].contains(&format!("GENE{gene}")) {
        true => 0.0,
        false => 10.0 + ((cell * 5 + gene * 3) % 7) as f32,
    };
    let values: Vec<f32> = (0..480).map(|k| count(k / 6, k % 6)).collect();
    write_h5ad(
        &path,
        &obs,
        &var,
        [Ok(CsrMatrix::from_dense(6, &values))],
        &[],
    )
    .unwrap();
    path
}

#[test]
fn perturbations_are_predicted_and_compared_with_measured_ones() {
    let folder = tempfile::tempdir().unwrap();
    let file = screen(folder.path());
    let (model, out) = (
        folder.path().join("model"),
        folder.path().join("effects.tsv"),
    );
    let config = tiny("scgpt-perturbation");
    let mut args = pretraining(&file, &config, &model);
    args.extend(["--set", "network.width=16", "--set", "network.layers=1"]);
    args.extend([
        "--set",
        "train.steps=200",
        "--set",
        "train.learning_rate=5e-3",
        "-q",
    ]);
    succeed(&args);
    let perturb = ["perturb", text(&file), "-m", text(&model), "-o", text(&out)];
    let said = succeed(&[&perturb[..], &["--screen"]].concat());
    for part in [
        "GENE0+GENE1",
        "mean of others",
        "predicted 3 perturbations of 20 control cells",
    ] {
        assert!(said.contains(part), "'{part}' is not in: {said}");
    }
    let table = fs::read_to_string(&out).unwrap();
    let mut lines = table.lines();
    assert_eq!(
        lines.next(),
        Some("condition\tgene\tcontrol\tpredicted\tchange")
    );
    let first: Vec<&str> = lines.next().unwrap().split('\t').collect();
    assert_eq!(first[..2], ["GENE0", "GENE0"], "{table}");
    assert!(first[4].parse::<f64>().unwrap() < -1.0, "{table}");
    assert_eq!(table.lines().count(), 1 + 3 * 6);
    let measured = &json_file(&folder.path().join("effects.tsv.json"))["measured"];
    let double = &measured[1];
    assert_eq!(double["name"], "GENE0+GENE1");
    assert!(double["additive"].as_f64().unwrap() > 0.9 && double["in_training"] == true);
    let unknown = [&perturb[..], &["--condition", "NOTHING", "--force"]].concat();
    fail(&unknown, &["does not have the gene 'NOTHING'"]);
}

#[test]
fn gene_vectors_are_written_searched_and_scored() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = pretrained(folder.path(), "cellplm", SMALL_CELLPLM);
    let out = folder.path().join("genes.tsv");
    let table = fs::read_to_string(model.join("genes.tsv")).unwrap();
    let genes: Vec<&str> = table
        .lines()
        .skip(1)
        .filter_map(|l| l.split('\t').next())
        .collect();
    let gmt = folder.path().join("sets.gmt");
    let line = |name: &str, genes: &[&str]| format!("{name}\tsets\t{}\n", genes.join("\t"));
    let sets = [
        line("first", &genes[..10]),
        line("next", &genes[10..20]),
        line("elsewhere", &["NOT", "HERE"]),
    ];
    fs::write(&gmt, sets.concat()).unwrap();
    let said = succeed(&[
        "genes",
        text(&model),
        "--sets",
        text(&gmt),
        "--cells",
        text(&file),
        "-o",
        text(&out),
        "--nearest",
        genes[3],
    ]);
    for part in [
        "2 of 3 sets have enough",
        "random vectors",
        "loadings of components",
        "mean expression alone",
        "nearest to",
        "wrote 120 vectors",
    ] {
        assert!(said.contains(part), "'{part}' is not in: {said}");
    }
    let vectors = fs::read_to_string(&out).unwrap();
    assert_eq!(vectors.lines().count(), 121);
    assert!(vectors.lines().nth(4).unwrap().starts_with(genes[3]));
    fail(
        &["genes", text(&model), "--nearest", "NOTHING"],
        &["NOTHING: the model does not have this gene"],
    );
    fs::write(&gmt, "empty\tset\n").unwrap();
    fail(
        &["genes", text(&model), "--sets", text(&gmt)],
        &["line 1 has no genes"],
    );
}

#[test]
fn a_model_is_fine_tuned_for_other_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = pretrained(folder.path(), "scgpt", SMALL_SCGPT);
    let out = |name: &str| folder.path().join(name);
    let short = [
        "--set",
        "train.steps=20",
        "--set",
        "train.validation.every=10",
        "-q",
    ];
    let tuned = |model: &Path, file: &Path, name: &str, more: &[&str]| {
        let args = ["finetune", text(model), text(file), "-o"];
        let place = out(name);
        succeed(&[&args[..], &[text(&place)], &short, more].concat())
    };
    let said = tuned(
        &model,
        &file,
        "integrated",
        &["--task", "integration", "--batch", "batch"],
    );
    assert!(said.contains("loss on the validation cells"), "{said}");
    let screen = screen(folder.path());
    let (base, config) = (out("base"), tiny("scgpt"));
    succeed(&[&pretraining(&screen, &config, &base)[..], SMALL_SCGPT].concat());
    let more = ["--task", "perturbation", "--set", "input.length=6"];
    let said = tuned(&base, &screen, "perturbed", &more);
    assert!(said.contains("tensors taken"), "{said}");
    let (perturbed, effects, no) = (out("perturbed"), out("effects.tsv"), out("no"));
    let paths = [text(&screen), text(&perturbed), text(&effects)];
    let [cells, from, to] = paths;
    succeed(&[
        "perturb",
        cells,
        "-m",
        from,
        "-o",
        to,
        "--condition",
        "GENE0",
    ]);
    let args = [
        "finetune",
        text(&model),
        text(&file),
        "-o",
        text(&no),
        "--task",
    ];
    let refused = |more: &[&str], parts: &[&str]| fail(&[&args[..], more].concat(), parts);
    refused(
        &["niche"],
        &["scgpt has no objective for niche", "nicheformer"],
    );
    refused(
        &["integration", "--label", "cell_type"],
        &["--label cell_type is not read"],
    );
}

#[test]
fn donors_that_the_model_did_not_see_are_held_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 160);
    let at = |name: &str| folder.path().join(name);
    let config = tiny("cellplm");
    let pretrain = |out: &Path, more: &[&str]| {
        succeed(&[&pretraining(&file, &config, out)[..], SMALL_CELLPLM, more].concat());
    };
    let (apart, all) = (at("apart"), at("all"));
    pretrain(&apart, &["--hold-out", "--batch", "batch"]);
    pretrain(&all, &[]);
    let tuned = |model: &Path, out: &Path| {
        let args = [
            "finetune",
            text(model),
            text(&file),
            "-o",
            text(out),
            "--hold-out",
        ];
        let output = run(&[&args[..], &["--set", "train.steps=4"]].concat());
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = tuned(&apart, &at("a"));
    assert!(
        told.contains("held out as in the training of the model"),
        "{told}"
    );
    assert!(!told.contains("too good"), "{told}");
    let split = |folder: &Path| json_file(&folder.join("split.json"))["test_donors"].clone();
    assert_eq!(split(&apart), split(&at("a")));
    let told = tuned(&all, &at("b"));
    assert!(
        told.contains("held-out cells were in the training of the model"),
        "{told}"
    );
    // The same cells twice are cells once.
    let cells = json_file(&at("a/training.json"))["training"]["cells"]
        .as_u64()
        .unwrap();
    assert_eq!(
        Some(cells),
        json_file(&apart.join("training.json"))["training"]["cells"].as_u64()
    );
    // Done again, nothing is lost of what was said of the way.
    let history = || json_file(&at("a/scores.json"))["validation_loss"].clone();
    let before = history();
    assert!(before.as_array().is_some_and(|steps| steps[0][0] == 0));
    tuned(&apart, &at("a"));
    assert_eq!(before, history());
}

#[test]
fn what_would_be_ignored_or_overwritten_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = pretrained(folder.path(), "cellplm", SMALL_CELLPLM);
    let out = folder.path().join("out");
    let finetune = [
        "finetune",
        text(&model),
        text(&file),
        "-o",
        text(&out),
        "--set",
    ];
    let refused = |set: &str, parts: &[&str]| fail(&[&finetune[..], &[set]].concat(), parts);
    refused(
        "obs.label=batch",
        &["obs.label", "the column is 'cell_type'"],
    );
    refused("objective=denoise", &["objective", "follows from what"]);
    refused("classifier.layers=3", &["cellplm: classifier is not used"]);
    refused("vocabulary.genes=7", &["the model keeps its vocabulary"]);
    let preset = [
        "finetune",
        "mlp-tiny",
        text(&file),
        "-o",
        text(&out),
        "--freeze",
        "encoder",
    ];
    fail(&preset, &["train.freeze = 'encoder'", "a preset has none"]);
    // Inputs are never overwritten, not even by force.
    let reference = folder.path().join("reference.h5ad");
    fs::copy(&file, &reference).unwrap();
    let inside = model.join("genes.tsv");
    let gmt = folder.path().join("sets.tsv");
    fs::write(&gmt, "A\tb\tC\n").unwrap();
    let (file, model, reference) = (text(&file), text(&model), text(&reference));
    for args in [
        &[
            "map",
            file,
            "--reference",
            reference,
            "-m",
            model,
            "-o",
            reference,
        ][..],
        &["genes", model, "--sets", text(&gmt), "-o", text(&gmt)],
        &["genes", model, "-o", text(&inside)],
        &[
            "embed",
            file,
            "-m",
            model,
            "-o",
            text(&model_file(model, "training_cells.npy")),
        ],
    ] {
        fail(&[args, &["--force"]].concat(), &["is the input"]);
    }
}

fn model_file(model: &str, name: &str) -> PathBuf {
    Path::new(model).join(name)
}
