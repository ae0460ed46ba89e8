//! Training on a part of the donors: nothing of the others comes into the model, and what was trained on
//! is recorded by the folder and by every embedding.

use crate::common::{SMALL_SCGPT, fail, pretraining, simulated, succeed, text, tiny};
use ndarray::Array2;
use sc_data::CsrMatrix;
use sc_data::identity::{CellKeys, Known, Provenance};
use sc_data::io::h5ad::{Column, H5ad, NewFrame, write_h5ad};
use sc_data::io::store::{CellStore, CountsReader};
use sc_data::sampling::split::SavedSplit;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The weights of a small model, whichever it is.
const MLP: &[&str] = &[
    "--set",
    "obs.label=cell_type",
    "--set",
    "vocabulary.genes=20",
    "--set",
    "network.hidden=[8]",
    "--set",
    "network.latent=4",
    "--set",
    "train.steps=6",
];

const GENES: usize = 30;
const CELLS: usize = 120;
const HELD: &str = "d1";

/// A file of four donors; cells of [`HELD`] have other counts and types for every `variant`.
fn file(folder: &Path, name: &str, variant: usize) -> PathBuf {
    let path = folder.join(name);
    let donor = |cell: usize| format!("d{}", cell % 4);
    let own = |cell: usize| if donor(cell) == HELD { variant } else { 0 };
    let count = |k: usize| {
        let (cell, gene) = (k / GENES, k % GENES);
        // No two cells have the same counts.
        let mixed = (cell * GENES + gene + 7919 * own(cell)) * 2_654_435_761 % 4_294_967_296;
        (mixed >> 20) as f32 % 5.0
    };
    let dense: Vec<f32> = (0..CELLS * GENES).map(count).collect();
    let text = |f: &dyn Fn(usize) -> String| {
        Column::from_strings((0..CELLS).map(f).collect::<Vec<String>>())
    };
    let kind = |cell: usize| format!("t{}", (cell / 4 + own(cell)) % (3 + own(cell)));
    let obs = NewFrame {
        index: (0..CELLS).map(|c| format!("cell{c}")).collect(),
        columns: vec![
            ("cell_type".into(), text(&kind)),
            ("batch".into(), text(&|c| format!("b{}", c % 2))),
            ("donor_id".into(), text(&donor)),
        ],
    };
    let var = NewFrame {
        index: (0..GENES).map(|g| format!("GENE{g}")).collect(),
        columns: Vec::new(),
    };
    let places = Array2::from_shape_fn((CELLS, 2), |(c, d)| ((c * (d + 2)) % 11) as f32);
    let rows = [Ok(CsrMatrix::from_dense(GENES, &dense))];
    let spatial = [("spatial".to_string(), places)];
    write_h5ad(&path, &obs, &var, rows, &spatial).unwrap();
    path
}

/// A split that holds out the cells of [`HELD`].
fn split(folder: &Path) -> PathBuf {
    let path = folder.join("held.json");
    let text = r#"{"schema": 1, "donor": "donor_id", "test_donors": ["d1"], "drawn": {"method":
        "test-donors", "test_fraction": 0.25, "seed": 0, "label": null, "batch": null}}"#;
    fs::write(&path, text).unwrap();
    path
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn nothing_of_held_out_donors_comes_into_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let split = split(folder.path());
    let niche: &[&str] = &[
        "--set",
        "objective=niche-composition",
        "--set",
        "niche={label='cell_type', within={nearest=4}}",
        "--set",
        "train.steps=4",
        "--set",
        "train.minibatch=16",
    ];
    for (architecture, small) in [("mlp", MLP), ("nicheformer", niche)] {
        let trained = |variant: usize| {
            let file = file(folder.path(), &format!("{variant}.h5ad"), variant);
            let model = folder.path().join(format!("{architecture}{variant}"));
            let config = tiny(architecture);
            let mut args = pretraining(&file, &config, &model);
            args.extend_from_slice(small);
            args.extend_from_slice(&["--split", text(&split)]);
            succeed(&args);
            let training = json(&model.join("training.json"));
            assert_eq!(training["training"]["cells"], 90);
            ["model.safetensors", "genes.tsv", "training_cells.npy"]
                .map(|name| fs::read(model.join(name)).unwrap())
        };
        assert!(trained(0) == trained(1), "{architecture}");
    }
}

#[test]
fn the_split_is_drawn_saved_and_applied_again() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 160), tiny("mlp"));
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let mut args = pretraining(&file, &config, &first);
    args.extend_from_slice(MLP);
    args.push("--hold-out");
    let plan = succeed(&[&args[..], &["--dry-run"]].concat());
    assert!(
        plan.contains("held out") && plan.contains("of donor_id"),
        "{plan}"
    );
    succeed(&args);
    let saved = SavedSplit::load(&first.join("split.json")).unwrap();
    assert!(saved.donor == "donor_id" && !saved.test_donors.is_empty());
    let mut args = pretraining(&file, &config, &second);
    args.extend_from_slice(MLP);
    let path = first.join("split.json");
    args.extend_from_slice(&["--split", text(&path)]);
    succeed(&args);
    assert_eq!(SavedSplit::load(&second.join("split.json")).unwrap(), saved);
    for name in ["model.safetensors", "training_cells.npy"] {
        let [a, b] = [&first, &second].map(|f| fs::read(f.join(name)).unwrap());
        assert!(a == b, "{name}");
    }
    // Another file's donors are reported.
    let other = crate::common::dense(folder.path(), "o.h5ad", 2, &[1., 2., 3., 4., 5., 6.]);
    let third = folder.path().join("third");
    let mut args = pretraining(&other, &config, &third);
    args.extend_from_slice(&["--split", text(&path)]);
    fail(&args, &["split.json", "donor '", "donor_id", "there are d"]);
}

#[test]
fn cells_can_be_held_out_where_no_donor_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 160), tiny("mlp"));
    let model = folder.path().join("model");
    let mut args = pretraining(&file, &config, &model);
    args.extend_from_slice(MLP);
    args.extend_from_slice(&["--hold-out", "--donor", "none", "--test-fraction", "0.25"]);
    succeed(&args);
    let saved = SavedSplit::load(&model.join("split.json")).unwrap();
    let held = saved.test_cells.len();
    assert!(saved.is_by_cell() && (35..=45).contains(&held), "{held}");
    let training = json(&model.join("training.json"));
    assert_eq!(training["training"]["cells"], 160 - held);
}

#[test]
fn a_column_that_is_missing_is_told_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 60), tiny("vae"));
    let model = folder.path().join("model");
    for (option, column) in [("--donor", "patient"), ("--label", "kind")] {
        let mut args = pretraining(&file, &config, &model);
        args.extend_from_slice(&["--hold-out", option, column]);
        fail(&args, &["cells.h5ad", column, option]);
    }
    assert!(!model.exists());
}

/// What the embedding `key` of a file says of its model, and the keys of the file's cells.
fn provenance(file: &Path, key: &str) -> (Known, CellKeys) {
    let opened = H5ad::open(file).unwrap();
    let said = Provenance::of(&opened, key).unwrap();
    let slot = sc_data::find_counts(&opened, &sc_data::CountsPolicy::RequireCounts).unwrap();
    let genes = opened.gene_names(&slot.slot).unwrap();
    let reader = CountsReader::new(CellStore::of(&opened, slot.slot).unwrap());
    let keys = CellKeys::new(&reader, &genes, &opened.obs_names().unwrap()).unwrap();
    (said.trained_on, keys)
}

#[test]
fn an_embedding_says_which_cells_its_model_was_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let split = split(folder.path());
    let cells = file(folder.path(), "cells.h5ad", 0);
    let (config, model) = (tiny("mlp"), folder.path().join("model"));
    let mut args = pretraining(&cells, &config, &model);
    args.extend_from_slice(MLP);
    args.extend_from_slice(&["--split", text(&split)]);
    succeed(&args);
    let out = folder.path().join("out.h5ad");
    succeed(&["embed", text(&cells), "-m", text(&model), "-o", text(&out)]);
    let (known, keys) = provenance(&out, "X_mlp");
    let known = known.get().unwrap();
    assert_eq!((known.cells, known.steps), (90, 6));
    assert_eq!(known.labels, ["cell_type"]);
    assert_eq!(known.split.as_ref().unwrap().test_donors, [HELD]);
    let held: Vec<usize> = (0..CELLS).filter(|c| c % 4 == 1).collect();
    assert_eq!(known.seen(&keys, &held).either, 0);
    let all: Vec<usize> = (0..CELLS).collect();
    let seen = known.seen(&keys, &all);
    assert_eq!(
        (seen.by_content, seen.by_barcode, seen.either),
        (90, 90, 90)
    );
}

#[test]
fn a_model_of_several_files_is_trained_on_the_cells_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let files = [0, 1].map(|v| file(folder.path(), &format!("{v}.h5ad"), v));
    let (config, model) = (tiny("scgpt"), folder.path().join("model"));
    let mut args = pretraining(&files[0], &config, &model);
    args.push(text(&files[1]));
    args.extend_from_slice(SMALL_SCGPT);
    args.extend_from_slice(&["--hold-out", "--set", "train.steps=2"]);
    succeed(&args);
    let saved = SavedSplit::load(&model.join("split.json")).unwrap();
    assert!(saved.test_donors.iter().all(|d| d.len() == 2), "{saved:?}");
    let training = json(&model.join("training.json"));
    let held = saved.test_donors.len() * CELLS / 4 * 2;
    assert_eq!(training["training"]["cells"], 2 * CELLS - held);
    assert_eq!(training["training"]["labels"], serde_json::json!([]));
}
