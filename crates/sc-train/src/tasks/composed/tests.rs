//! Every encoder × tokens × objective either trains and embeds cell by cell, or is refused with a
//! reason; targets are not in the input.

use super::targets::Target;
use super::*;
use crate::inputs::corpus::Order;
use crate::tasks::tests::{by_heart, mean, train};
use sc_data::RawCounts;
use sc_data::genes::{Across, Vocabulary, match_genes};
use sc_data::simulate::{SimConfig, simulate};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const CELLS: usize = 64;
const GENES: usize = 40;

fn data() -> (Corpus, DataSpec) {
    let config = SimConfig {
        cells: CELLS,
        genes: GENES,
        cell_types: 3,
        batches: 1,
        donors: 2,
        depth: 200.0,
        marker_fold: 50.0,
        marker_fraction: 0.4,
        seed: 5,
        ..SimConfig::default()
    };
    let (counts, cells) = simulate(&config).unwrap();
    let names: Vec<String> = (0..GENES).map(|g| format!("GENE{g}")).collect();
    let vocabulary = Vocabulary::new(names.clone()).unwrap();
    let mut obs = crate::Obs::default();
    obs.set(Role::Label, cells.cell_type);
    let data = DataSpec {
        genes: Arc::new(names.clone()),
        batches: crate::inputs::data_spec::numbered_batches(1),
        levels: BTreeMap::from([(Role::Label, ["B", "NK", "T"].map(String::from).to_vec())]),
        seed: 1,
        ..DataSpec::default()
    };
    let corpus = Corpus {
        counts: Arc::new(RawCounts::new(counts).unwrap()),
        genes: Arc::new(match_genes(&names, &vocabulary, Across::Same).unwrap()),
        batches: Arc::new(cells.batch),
        rows: Arc::new((0..CELLS).collect()),
        obs: Arc::new(obs),
        keys: Arc::default(),
        order: Order::Shuffled,
    };
    (corpus, data)
}

const ENCODERS: [&str; 5] = ["attention", "flow", "hyena", "mean", "none"];
const TOKENS: [&str; 6] = [
    "bins",
    "log-values",
    "ranks",
    "profile",
    "sampled",
    "sentence",
];

fn spec(encoder: &str, tokens: &str, objective: &str) -> ModelSpec {
    let encoder = match encoder {
        "attention" | "flow" => json!({ "kind": encoder, "heads": 2 }),
        "hyena" => json!({ "kind": "hyena", "filter": { "width": 8 } }),
        _ => json!({ "kind": encoder }),
    };
    let mut kind = json!({ "kind": tokens });
    match tokens {
        "sentence" => kind["sample"] = json!(12),
        "profile" => {}
        "bins" => kind = json!({ "kind": tokens, "length": 16, "bins": 6 }),
        _ => kind["length"] = json!(16),
    }
    let mut value = json!({
        "architecture": "composed",
        "objective": objective,
        "network": {
            "encoder": encoder, "width": 16, "layers": 1, "feed_forward": 16, "dropout": 0.0,
        },
        "input": { "tokens": kind },
    });
    if objective == "expressed" {
        value["input"]["targets"] = json!(12);
    }
    serde_json::from_value(value).unwrap()
}

fn embedded(task: &dyn Trainable, corpus: &Corpus, rows: Vec<usize>) -> Vec<f32> {
    let corpus = Corpus {
        rows: Arc::new(rows),
        ..corpus.clone()
    };
    let device = Device::flex();
    let mut all = Vec::new();
    let weights = task.initial(&device).unwrap();
    let sink = &mut |_: &[usize], vectors: &[f32]| {
        all.extend_from_slice(vectors);
        Ok(())
    };
    task.embed(weights, &corpus, &device, sink).unwrap();
    all
}

#[test]
fn every_combination_trains_and_embeds_cell_by_cell_or_is_refused_with_a_reason() {
    let (corpus, data) = data();
    let mut refused = 0;
    for encoder in ENCODERS {
        for tokens in TOKENS {
            for objective in Objective::WORDS {
                let name = format!("{encoder} {tokens} {objective}");
                let task = match spec(encoder, tokens, objective).task(&data) {
                    Ok(task) => task,
                    Err(e) => {
                        let error = e.to_string();
                        assert!(error.contains("cannot be combined: "), "{name}: {error}");
                        refused += 1;
                        continue;
                    }
                };
                let (_, log) = train(&*task, &corpus, &by_heart(2), 1);
                assert!(log.iter().all(|(_, l)| l["total"].is_finite()), "{name}");
                assert!(log[1].1["total"] != 0.0, "{name}: there were no targets");
                if *objective != Objective::WORDS[0] && *objective != "expressed" {
                    continue;
                }
                let alone = embedded(&*task, &corpus, vec![3]);
                let among = embedded(&*task, &corpus, vec![9, 3, 40, 17]);
                let width = task.dims();
                for (a, b) in alone.iter().zip(&among[width..2 * width]) {
                    assert!((a - b).abs() < 1e-5, "{name}: {a} {b}");
                }
            }
        }
    }
    // Without an encoder: masked values of 6 tokens, masked genes of 6. With one of the 4 others:
    // values of 2 kinds without, genes of 3. From the cell: 2 kinds without values, of 5 encoders.
    assert_eq!(refused, 12 + 4 * 5 + 5 * 2);
}

#[test]
fn every_objective_is_learned() {
    let (corpus, data) = data();
    for (encoder, tokens, objective, share) in [
        ("attention", "bins", "masked-value", 0.3),
        ("hyena", "profile", "masked-value", 0.3),
        ("mean", "log-values", "masked-value-from-cell", 0.3),
        ("flow", "ranks", "masked-gene", 0.8),
        ("attention", "sentence", "expressed", 0.8),
        ("flow", "sampled", "denoise", 0.9),
        ("mean", "bins", "contrast", 0.5),
        ("none", "log-values", "classify", 0.1),
    ] {
        let task = spec(encoder, tokens, objective).task(&data).unwrap();
        let (_, log) = train(&*task, &corpus, &by_heart(120), 1);
        let (first, last) = (
            mean(&log[..2], "total"),
            mean(&log[log.len() - 5..], "total"),
        );
        assert!(
            last < share * first,
            "{encoder} {tokens} {objective}: from {first} to {last}, {} of it",
            last / first
        );
    }
}

fn composed(value: ModelSpec, data: &DataSpec) -> ComposedTask {
    let input: ComposedInput = value.input().unwrap();
    let network = ComposedConfig {
        genes: GENES,
        length: 17,
        values: input.tokens.have_values(),
        ..value.network().unwrap()
    };
    let tokens = Tokens::new(input.tokens.clone(), data).unwrap();
    ComposedTask {
        network,
        input,
        tokens,
        objective: Objective::named(value.objective().unwrap()),
        seed: 1,
    }
}

#[test]
fn targets_are_not_part_of_the_input() {
    let (corpus, data) = data();
    let batch = corpus.read(&[0, 1, 2, 3]).unwrap();
    let task = composed(spec("mean", "bins", "expressed"), &data);
    let made = task.batch(&batch, 1).unwrap();
    let Target::Expressed { genes, expressed } = made.target else {
        panic!("another target");
    };
    for i in 0..4 {
        let length = made.input.tokens.length;
        let input = &made.input.tokens.ids[made.input.position(i, 0)..(i + 1) * length];
        let (own, _) = batch.counts.row(i);
        for (gene, expressed) in genes[i * 12..].iter().zip(&expressed[i * 12..]).take(12) {
            assert!(!input.contains(gene));
            assert_eq!(own.contains(&(*gene as u32)), *expressed == 1.0);
        }
    }
    let task = composed(spec("mean", "ranks", "masked-gene"), &data);
    let made = task.batch(&batch, 1).unwrap();
    let Target::Genes(hidden) = made.target else {
        panic!("another target");
    };
    assert!(!hidden.tokens.is_empty());
    let input = made.input.tokens;
    for (&position, gene) in hidden.positions.iter().zip(hidden.tokens) {
        let cell = position as usize / input.length;
        let row = &input.ids[cell * input.length..(cell + 1) * input.length];
        assert!(!row.contains(&gene));
    }
}

#[test]
fn an_epoch_asks_anew_and_a_cell_the_same_in_any_company() {
    let (corpus, data) = data();
    for objective in ["masked-value", "denoise", "expressed"] {
        let task = composed(spec("mean", "sampled", objective), &data);
        let shown = |rows: &[usize], epoch| {
            let made = task
                .batch(&corpus.read(rows).unwrap(), epoch)
                .unwrap()
                .input;
            let last = rows.len() - 1;
            let row = last * made.tokens.length..(last + 1) * made.tokens.length;
            let hidden = made.hidden.map(|h| h[row.clone()].to_vec());
            (
                made.tokens.ids[row.clone()].to_vec(),
                made.values.unwrap()[row].to_vec(),
                hidden,
            )
        };
        assert_eq!(shown(&[7], 1), shown(&[3, 9, 7], 1), "{objective}");
        assert_ne!(shown(&[7], 1), shown(&[7], 2), "{objective}");
    }
}

#[test]
fn settings_that_cannot_be_are_refused_with_their_values() {
    let (_, data) = data();
    let refusal = |objective: &str, change: Value| {
        let mut value = serde_json::to_value(spec("mean", "bins", objective)).unwrap();
        for (key, v) in change.as_object().unwrap() {
            value["input"][key] = v.clone();
        }
        let spec: ModelSpec = serde_json::from_value(value).unwrap();
        match spec.task(&data) {
            Ok(_) => "it was built".to_string(),
            Err(e) => e.to_string(),
        }
    };
    for (objective, change, part) in [
        ("masked-value", json!({ "mask": 1.0 }), "input.mask = 1"),
        ("masked-value", json!({ "mask": 0.0 }), "input.mask = 0"),
        ("denoise", json!({ "noise": -0.1 }), "input.noise = -0.1"),
        ("expressed", json!({ "targets": 1 }), "input.targets = 1"),
        (
            "contrast",
            json!({ "temperature": 0.0 }),
            "input.temperature = 0",
        ),
        ("denoise", json!({ "asked": 3 }), "input.asked is not used"),
        ("contrast", json!({ "mask": 0.3 }), "input.mask is not used"),
        (
            "classify",
            json!({ "noise": 0.3 }),
            "input.noise is not used",
        ),
        (
            "denoise",
            json!({ "tokens": { "kind": "bins", "length": 0 } }),
            "length",
        ),
        (
            "denoise",
            json!({ "tokens": { "kind": "bins", "bins": 1 } }),
            "bins is 1",
        ),
        (
            "denoise",
            json!({ "tokens": { "kind": "words" } }),
            "unknown variant `words`",
        ),
    ] {
        let error = refusal(objective, change);
        assert!(error.contains(part), "{error}");
    }
}
