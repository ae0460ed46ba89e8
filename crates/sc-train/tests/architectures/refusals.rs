//! What cannot be done is refused with a way out, and nothing that can makes a loss that is no number.

use crate::common::{GENES, RATE, data, refusal, spec, tiny, train, with_objective};
use burn::tensor::Device;
use sc_data::{CsrMatrix, RawCounts};
use sc_train::registry::ARCHITECTURES;
use sc_train::training::timing::{Timing, Work};
use sc_train::{DataSpec, Role, TrainConfig};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

#[test]
fn an_unknown_architecture_is_told_those_that_exist() {
    let error = refusal(json!({ "architecture": "scbert" }), &data().1);
    for known in ARCHITECTURES {
        assert!(error.contains(known.name), "{error}");
    }
}

#[test]
fn a_wrong_objective_is_told_those_that_fit() {
    let (_, data) = data();
    for known in ARCHITECTURES {
        let error = refusal(with_objective(tiny(known.name), "dream"), &data);
        assert!(error.contains("objective = 'dream'"), "{error}");
        assert!(error.contains(known.name), "{error}");
        assert!(error.contains(&known.objectives.join(", ")), "{error}");
    }
}

#[test]
fn an_unknown_setting_is_told_those_that_exist() {
    let (_, data) = data();
    for known in ARCHITECTURES {
        for part in ["network", "input"] {
            let mut value = tiny(known.name);
            value[part]["dream"] = json!(1);
            let error = refusal(value, &data);
            let begins = format!("{}: {part}: unknown field `dream`", known.name);
            assert!(error.starts_with(&begins), "{error}");
            assert!(error.contains("expected"), "{error}");
        }
    }
}

/// What an objective cannot do without, as its refusal puts it.
fn needed(architecture: &str, objective: &str) -> Option<&'static str> {
    match (architecture, objective) {
        ("mlp" | "islander", _)
        | ("composed", "classify")
        | (_, "annotation")
        | ("saturn", "cross-species")
        | ("scprint", "denoise-classes")
        | ("nicheformer", "niche-label") => Some("[obs] label = \"COLUMN\""),
        ("scgpt", "perturbation") => Some("[obs] perturbation = \"COLUMN\""),
        ("nicheformer", "niche-composition" | "niche-density") => Some("within = { nearest = 20 }"),
        _ => None,
    }
}

#[test]
fn a_column_that_is_not_read_is_refused() {
    let (_, data) = data();
    for known in ARCHITECTURES {
        for objective in known.objectives {
            let value = with_objective(tiny(known.name), objective);
            let read = spec(value.clone()).task(&data).unwrap().reads();
            let learns = needed(known.name, objective).is_some_and(|n| n.contains("label"));
            let told = read.contains(&Role::Label);
            assert_eq!(told, learns, "{} {objective}", known.name);
            for role in [Role::Label, Role::Species, Role::Assay, Role::Perturbation] {
                let mut named = value.clone();
                named["obs"][role.word()] = json!("column");
                if read.contains(&role) {
                    assert!(spec(named).task(&data).is_ok(), "{role:?}");
                } else {
                    let error = refusal(named, &data);
                    let what = format!(
                        "{}: obs.{} = \"column\" is not used",
                        known.name,
                        role.word()
                    );
                    assert!(error.starts_with(&what), "{error}");
                }
            }
        }
    }
}

#[test]
fn a_missing_column_is_refused_with_the_way_out() {
    let (_, full) = data();
    let bare = DataSpec {
        levels: BTreeMap::new(),
        ..full.clone()
    };
    for known in ARCHITECTURES {
        for objective in known.objectives {
            let value = with_objective(tiny(known.name), objective);
            let built = spec(value.clone()).task(&full);
            assert!(built.is_ok(), "{} {objective}", known.name);
            let error = refusal(value, &bare);
            let expected = needed(known.name, objective).unwrap_or("it was built");
            assert!(
                error.contains(expected),
                "{} {objective}: {error}",
                known.name
            );
        }
    }
}

#[test]
fn one_species_or_one_label_is_refused_with_the_way_out() {
    let (_, full) = data();
    let with_one = |role: Role, name: &str| {
        let mut data = full.clone();
        data.levels.insert(role, vec![name.to_string()]);
        data
    };
    let saturn = with_objective(tiny("saturn"), "cross-species");
    let error = refusal(saturn.clone(), &with_one(Role::Species, "human"));
    assert!(error.contains("use objective = 'reconstruct'"), "{error}");
    let mut bare = full.clone();
    bare.levels.remove(&Role::Species);
    let error = refusal(saturn, &bare);
    assert!(error.contains("[obs] species = \"COLUMN\""), "{error}");
    let error = refusal(tiny("mlp"), &with_one(Role::Label, "T"));
    assert!(error.contains("a classifier needs at least two"), "{error}");
    let annotation = with_objective(tiny("scgpt"), "annotation");
    let error = refusal(annotation, &with_one(Role::Label, "T"));
    assert!(error.contains("at least two labels"), "{error}");
    let error = refusal(tiny("nicheformer"), &with_one(Role::Species, "frog"));
    assert!(error.contains("there are human and mouse"), "{error}");
}

#[test]
fn cells_without_what_the_model_was_built_for_stop_training_with_the_way_out() {
    let (mut corpus, data) = data();
    corpus.obs = Arc::default();
    for (value, way_out) in [
        (tiny("saturn"), "the species column of obs"),
        (
            with_objective(tiny("scgpt"), "perturbation"),
            "[obs] perturbation = \"COLUMN\"",
        ),
        (
            with_objective(tiny("nicheformer"), "niche-density"),
            "within = { nearest = 20 }",
        ),
    ] {
        let task = spec(value).task(&data).unwrap();
        let error = train(&*task, &corpus, 1, RATE).unwrap_err().to_string();
        assert!(error.contains(way_out), "{error}");
    }
}

#[test]
fn the_way_out_that_a_niche_objective_names_is_a_configuration() {
    for within in [json!({ "nearest": 20 }), json!({ "radius": 50.0 })] {
        let mut value = with_objective(tiny("nicheformer"), "niche-composition");
        value["niche"] = json!({ "coordinates": "spatial", "label": "TYPE", "within": within });
        assert!(spec(value).niche.is_some());
    }
}

#[test]
fn every_objective_of_a_cell_without_counts_is_finite() {
    let (mut corpus, data) = data();
    let mut dense = corpus.counts.read(&corpus.rows).unwrap().to_dense();
    dense[..GENES].fill(0.0);
    let counts = RawCounts::new(CsrMatrix::from_dense(GENES, &dense)).unwrap();
    corpus.counts = Arc::new(counts);
    for known in ARCHITECTURES {
        for objective in known.objectives {
            let value = with_objective(tiny(known.name), objective);
            let task = spec(value).task(&data).unwrap();
            // Two steps: the first must leave weights that give a number again.
            let trained = train(&*task, &corpus, 2, RATE);
            assert!(
                trained.is_ok(),
                "{} {objective}: {:?}",
                known.name,
                trained.err()
            );
        }
    }
}

#[test]
fn timing_takes_every_step_and_counts_what_is_trained() {
    let (corpus, data) = data();
    let task = spec(tiny("vae")).task(&data).unwrap();
    let timing = Timing {
        corpus: &corpus,
        config: &TrainConfig::default(),
        steps: 2,
        device: &Device::flex(),
    };
    let timed = task.time(Work::Train, &timing).unwrap();
    assert_eq!(timed.steps.len(), 2);
    assert!(
        timed
            .steps
            .iter()
            .all(|s| s.forward > 0.0 && s.update > 0.0)
    );
    // Encoder and decoder have a batch norm each: 32 running means, as many variances, a counter.
    let all = task.parameters(&Device::flex()).unwrap();
    assert_eq!(all - timed.trained, 2 * (2 * 32 + 1));
    let timed = task.time(Work::Embed, &timing).unwrap();
    assert!(
        timed
            .steps
            .iter()
            .all(|s| s.forward > 0.0 && s.backward == 0.0)
    );
}
