//! Tests of tasks saturn.

use super::*;
use crate::inputs::corpus::Order;
use crate::inputs::data_spec::Obs;
use crate::tasks::tests::train;
use sc_data::genes::{Across, Vocabulary, match_genes};
use sc_data::{CsrMatrix, RawCounts};

/// Genes of each of two species.
const GENES: usize = 24;
const TYPES: usize = 3;

fn names() -> Vec<String> {
    let of = |species: &'static str| (0..GENES).map(move |g| format!("{species}_GENE{g}"));
    of("frog").chain(of("fish")).collect()
}

fn data() -> DataSpec {
    let labels = ["frog a", "frog b", "frog c", "fish a", "fish b", "fish c"];
    let levels = [
        (Role::Species, vec!["frog".to_string(), "fish".into()]),
        (Role::Label, labels.map(String::from).to_vec()),
    ];
    DataSpec {
        genes: Arc::new(names()),
        levels: levels.into(),
        seed: 3,
        ..DataSpec::default()
    }
}

/// Cells of two species by turns; gene `g` of both marks type `g % 3`.
fn corpus(cells: usize) -> Corpus {
    let value = |i: usize, g: usize| {
        let (species, own) = (i % 2, g / GENES == i % 2);
        let marks = g % TYPES == (i / 2) % TYPES;
        match (own, marks) {
            (true, true) => (3 + (i * 7 + g * 5 + species) % 5) as f32,
            (true, false) => ((i + g) % 7 / 6) as f32,
            (false, _) => 0.0,
        }
    };
    let width = 2 * GENES;
    let dense: Vec<f32> = (0..cells * width)
        .map(|k| value(k / width, k % width))
        .collect();
    let vocabulary = Vocabulary::new(names()).unwrap();
    let mut obs = Obs::default();
    obs.set(Role::Species, (0..cells as u32).map(|i| i % 2).collect());
    let label = |i: u32| i % 2 * 3 + (i / 2) % 3;
    obs.set(Role::Label, (0..cells as u32).map(label).collect());
    Corpus {
        counts: Arc::new(RawCounts::new(CsrMatrix::from_dense(width, &dense)).unwrap()),
        genes: Arc::new(match_genes(&names(), &vocabulary, Across::Same).unwrap()),
        batches: Arc::new(vec![0; cells]),
        rows: Arc::new((0..cells).collect()),
        obs: Arc::new(obs),
        keys: Arc::default(),
        order: Order::Shuffled,
    }
}

fn spec(objective: &str, network: serde_json::Value) -> ModelSpec {
    serde_json::from_value(serde_json::json!({
        "architecture": "saturn",
        "objective": objective,
        "network": network,
        "input": {
            "genes": { "kind": "prefix", "separator": "_" },
            "proteins": { "kind": "random", "dim": 8 },
            "reconstruct_share": 0.5,
        },
        "train": {
            "steps": 200, "minibatch": 64, "learning_rate": 5e-3, "warmup": 10,
            "weight_decay": 0.0, "clip": 0.0, "checkpoint_every": 100,
        },
    }))
    .unwrap()
}

fn network() -> serde_json::Value {
    serde_json::json!({
        "macrogenes": 16, "hidden": 32, "embedding": 16, "dropout": 0.0, "scale_dropout": 0.0,
    })
}

/// Embeddings of all cells, by row.
fn embed(task: &dyn Trainable, weights: &weights::Tensors, corpus: &Corpus) -> Vec<Vec<f32>> {
    let mut found = vec![Vec::new(); corpus.rows.len()];
    let mut sink = |rows: &[usize], vectors: &[f32]| {
        let width = vectors.len() / rows.len();
        for (row, v) in rows.iter().zip(vectors.chunks(width)) {
            found[*row] = v.to_vec();
        }
        Ok(())
    };
    let device = Device::flex();
    task.embed(weights.clone(), corpus, &device, &mut sink)
        .unwrap();
    found
}

#[test]
fn overfits_64_cells_of_two_species() {
    for latent in ["point", "normal"] {
        let mut network = network();
        network["latent"] = latent.into();
        let spec = spec("reconstruct", network);
        let task = spec.task(&data()).unwrap();
        let (_, log) = train(&*task, &corpus(64), &spec.train, 3);
        let nll = |at: usize| log[at].1["nll"];
        // What is left is the entropy of the counts themselves.
        assert!(nll(199) < 0.7 * nll(0), "{latent}: {} {}", nll(0), nll(199));
        assert!(log[199].1["proteins"].is_finite());
    }
}

#[test]
fn triplets_bring_the_same_types_of_two_species_together() {
    let spec = spec("cross-species", network());
    let task = spec.task(&data()).unwrap();
    let corpus = corpus(96);
    let (weights, log) = train(&*task, &corpus, &spec.train, 3);
    assert!(log[99].1.contains_key("nll") && log[100].1.contains_key("triplets"));
    let vectors = embed(&*task, &weights, &corpus);
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(p, q)| p * q).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    let mut right = 0;
    for i in 0..96 {
        let others = (0..96).filter(|j| j % 2 != i % 2);
        let nearest = others
            .max_by(|&a, &b| {
                let to = |j: usize| cosine(&vectors[i], &vectors[j]);
                to(a).total_cmp(&to(b))
            })
            .unwrap();
        right += usize::from((nearest / 2) % TYPES == (i / 2) % TYPES);
    }
    // Genes of one symbol have one protein, and types are marked by the same symbols.
    assert!(right >= 90, "{right} of 96");
}

#[test]
fn an_embedding_does_not_depend_on_the_minibatch() {
    let spec = spec("reconstruct", network());
    let corpus = corpus(10);
    for dropout in ["training", "always"] {
        let mut spec = spec.clone();
        spec.network["macrogene_dropout"] = dropout.into();
        spec.network["dropout"] = 0.3.into();
        spec.input["embed_minibatch"] = 10.into();
        let together = spec.task(&data()).unwrap();
        spec.input["embed_minibatch"] = 3.into();
        let apart = spec.task(&data()).unwrap();
        let weights = together.initial(&Device::flex()).unwrap();
        let a = embed(&*together, &weights, &corpus);
        assert_eq!(a, embed(&*apart, &weights, &corpus));
        assert!(a.iter().flatten().any(|v| *v != 0.0));
    }
}

#[test]
fn what_cannot_be_trained_is_refused_with_a_way_out() {
    let refused = |spec: &ModelSpec, data: &DataSpec| spec.task(data).err().unwrap().to_string();
    let good = spec("cross-species", network());
    let without = |role: Role| {
        let mut data = data();
        data.levels.remove(&role);
        data
    };
    assert!(refused(&good, &without(Role::Label)).contains("[obs] label"));
    let mut shared = good.clone();
    shared.input["genes"] = serde_json::json!({ "kind": "shared" });
    assert!(refused(&shared, &without(Role::Species)).contains("[obs] species"));
    assert!(refused(&good, &without(Role::Species)).contains("does not begin with a species"));
    let mut many = good.clone();
    many.network["macrogenes"] = 1000.into();
    assert!(refused(&many, &data()).contains("use fewer macrogenes"));
    let mut other = good.clone();
    other.input["species_proteins"] = serde_json::json!({ "cat": { "kind": "random", "dim": 8 } });
    assert!(refused(&other, &data()).contains("has 'cat'"));
    let mut one = data();
    one.levels.insert(Role::Species, vec!["frog".into()]);
    assert!(refused(&shared, &one).contains("objective = 'reconstruct'"));
    let mut renamed = good.clone();
    renamed.input["genes"]["names"] = serde_json::json!({ "cat": "x" });
    assert!(refused(&renamed, &data()).contains("input.genes.names has 'cat'"));
    renamed.input["genes"]["names"] = serde_json::json!({ "frog": "xt" });
    assert!(refused(&renamed, &data()).contains("expected one of fish, xt"));
    // With genes that all species share, each has its own copy.
    let task = shared.task(&data()).unwrap();
    let weights = task.initial(&Device::flex()).unwrap();
    assert_eq!(weights["p_weights"].shape, [16, 4 * GENES]);
}
