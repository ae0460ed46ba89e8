//! Tests of tasks scprint.

use super::*;
use crate::attention::AverageAttention;
use crate::inputs::corpus::Order;
use crate::inputs::data_spec::Obs;
use crate::tasks::tests::train;
use sc_data::RawCounts;
use sc_data::genes::{Across, Vocabulary, match_genes};
use sc_models::weights::Tensors;
use std::io::Write as _;

const GENES: usize = 30;
const LABELS: [&str; 4] = ["lymphocyte", "T cell", "B cell", "neuron"];

fn names() -> Vec<String> {
    (0..GENES).map(|g| format!("GENE{g}")).collect()
}

fn data() -> DataSpec {
    DataSpec {
        genes: Arc::new(names()),
        levels: [(Role::Label, LABELS.map(String::from).to_vec())].into(),
        seed: 5,
        ..DataSpec::default()
    }
}

/// Gene `g` marks one of three programmes; a cell has one.
fn corpus(cells: usize) -> Corpus {
    let value = |i: usize, g: usize| match g % 3 == i % 3 {
        true => (4 + (i * 31 + g * 17) % 6) as f32,
        false => 0.0,
    };
    let dense: Vec<f32> = (0..cells * GENES)
        .map(|k| value(k / GENES, k % GENES))
        .collect();
    let vocabulary = Vocabulary::new(names()).unwrap();
    let mut obs = Obs::default();
    // Programmes 0 and 1 are T and B cells, now and then only known as lymphocytes.
    let label = |i: u32| match (i % 3, i % 5) {
        (0 | 1, 0) => 0,
        (programme, _) => programme + 1,
    };
    obs.set(Role::Label, (0..cells as u32).map(label).collect());
    Corpus {
        counts: Arc::new(RawCounts::new(CsrMatrix::from_dense(GENES, &dense)).unwrap()),
        genes: Arc::new(match_genes(&names(), &vocabulary, Across::Same).unwrap()),
        batches: Arc::new(vec![0; cells]),
        rows: Arc::new((0..cells).collect()),
        obs: Arc::new(obs),
        keys: Arc::default(),
        order: Order::Shuffled,
    }
}

fn spec(objective: &str, input: serde_json::Value) -> ModelSpec {
    let mut settings = serde_json::json!({ "length": 20, "embed_minibatch": 4 });
    for (key, value) in input.as_object().unwrap() {
        settings[key] = value.clone();
    }
    serde_json::from_value(serde_json::json!({
        "architecture": "scprint",
        "objective": objective,
        "network": {
            "width": 32, "layers": 2, "heads": 4, "dropout": 0.0, "class_layers": [16],
            "normalisation": "log", "cell_decoder": "inner-product",
        },
        "input": settings,
        "train": {
            "steps": 500, "minibatch": 64, "learning_rate": 3e-3, "warmup": 10,
            "checkpoint_every": 200,
        },
    }))
    .unwrap()
}

fn ontology() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let term = |id: &str, name: &str, above: &str| {
        format!("[Term]\nid: {id}\nname: {name}\nis_a: {above}\n\n")
    };
    let text = "[Term]\nid: CL:0\nname: cell\n\n".to_string()
        + &term("CL:1", "lymphocyte", "CL:0")
        + &term("CL:2", "T cell", "CL:1")
        + &term("CL:3", "B cell", "CL:1")
        + &term("CL:4", "neuron", "CL:0");
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn overfits_64_cells_with_classes_over_an_ontology() {
    let file = ontology();
    let spec = spec(
        "denoise-classes",
        serde_json::json!({
            "ontology": file.path(),
            "elastic": { "threshold": 0.3, "weight": 0.05 },
            "contrast": { "temperature": 0.5, "weight": 0.01 },
        }),
    );
    let task = spec.task(&data()).unwrap();
    let (_, log) = train(&*task, &corpus(64), &spec.train, 5);
    let (first, last) = (&log[0].1, &log[log.len() - 1].1);
    // What is left of counts is their entropy.
    for (term, share) in [("denoise", 0.6), ("generate", 0.6), ("classes", 0.1)] {
        assert!(
            last[term] < share * first[term],
            "{term}: {} {}",
            first[term],
            last[term]
        );
    }
    for term in ["similarity", "elastic", "contrast", "cell decoder"] {
        assert!(last[term].is_finite(), "{term}");
    }
}

#[test]
fn classes_come_leaves_first() {
    let file = ontology();
    let tokens = ClassTokens::new(&data(), &[Role::Label], Some(file.path())).unwrap();
    assert_eq!(tokens.classes()[0].leaves, 3);
    assert_eq!(tokens.hierarchies[0].inner, [vec![0, 1]]);
    let labels = tokens.of(&corpus(4).read(&[0, 1, 2, 3]).unwrap());
    assert_eq!(labels, [[Some(3), Some(1), Some(2), Some(0)]]);
}

#[test]
fn an_embedding_does_not_depend_on_the_minibatch() {
    let corpus = corpus(9);
    for objective in ["denoise", "denoise-classes"] {
        let all = spec(objective, serde_json::json!({ "embed_minibatch": 9 }));
        let one = spec(objective, serde_json::json!({ "embed_minibatch": 1 }));
        let [all, one] = [all, one].map(|s| s.task(&data()).unwrap());
        let weights = all.initial(&Device::flex()).unwrap();
        let embed = |task: &dyn Trainable, weights: &Tensors| {
            let mut found = Vec::new();
            let mut sink = |_: &[usize], v: &[f32]| {
                found.extend_from_slice(v);
                Ok(())
            };
            let device = Device::flex();
            task.embed(weights.clone(), &corpus, &device, &mut sink)
                .unwrap();
            found
        };
        let (a, b) = (embed(&*all, &weights), embed(&*one, &weights));
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() <= 2e-6 * b.abs().max(1.0), "{a} {b}");
        }
    }
}

#[test]
fn what_cannot_be_trained_is_refused_with_a_way_out() {
    let refused = |spec: &ModelSpec, data: &DataSpec| spec.task(data).err().unwrap().to_string();
    let mut without = data();
    without.levels.clear();
    let classes = spec("denoise-classes", serde_json::json!({}));
    assert!(refused(&classes, &without).contains("[obs] label"));
    let none = spec("denoise-classes", serde_json::json!({ "classes": [] }));
    assert!(refused(&none, &data()).contains("input.classes is empty"));
    let loud = spec("denoise", serde_json::json!({ "noise": [1.5] }));
    assert!(refused(&loud, &data()).contains("noise"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[Term]\nid: X:1\nname: x\n").unwrap();
    let other = spec(
        "denoise-classes",
        serde_json::json!({ "ontology": file.path() }),
    );
    assert!(refused(&other, &data()).contains("has none of the 4 labels"));
}

#[test]
fn networks_are_averages_over_cells() {
    let spec = spec("denoise", serde_json::json!({}));
    let task = ScPrintTask::new(&spec, &data()).unwrap();
    let device = Device::flex();
    let model = task.build(&device).unwrap();
    let found = task.average_attention(&model, &corpus(9), &device).unwrap();
    let averages = &found.averages;
    // A base and a depth token come before the genes, and every head is a row of shares.
    assert_eq!((averages.cell_tokens, averages.heads()), (2, 8));
    assert_eq!(found.genes.len(), averages.genes.len());
    let mean = averages.mean(None, sc_models::scprint::network::Scores::Softmax);
    for row in mean.weights.chunks(mean.size) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
    assert_eq!(mean.without_first(2).size, found.genes.len());
    // Queries and keys of a gene are the mean of those it has in the cells that show it.
    let of_cell = |cell: usize| {
        let one = Corpus {
            rows: Arc::new(vec![cell]),
            ..corpus(9)
        };
        task.average_attention(&model, &one, &device).unwrap()
    };
    let cells: Vec<AverageAttention> = (0..9).map(of_cell).collect();
    let first_layer = |a: &AverageAttention, gene: usize| -> Option<Vec<f32>> {
        let tokens = a.averages.cell_tokens + a.genes.len();
        let width = a.averages.values.len() / (task.network.layers * tokens);
        let at = a.averages.cell_tokens + a.genes.iter().position(|&g| g == gene)?;
        Some(a.averages.values[at * width..(at + 1) * width].to_vec())
    };
    for &gene in &found.genes {
        let each: Vec<Vec<f32>> = cells.iter().filter_map(|c| first_layer(c, gene)).collect();
        let average = first_layer(&found, gene).unwrap();
        for (k, value) in average.iter().enumerate() {
            let mean = each.iter().map(|v| v[k]).sum::<f32>() / each.len() as f32;
            assert!(
                (value - mean).abs() < 1e-5,
                "gene {gene}: {value} and {mean}"
            );
        }
    }
}
