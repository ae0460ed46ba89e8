//! Tests of scGPT's objectives.

use super::*;
use crate::inputs::corpus::Counts;
use crate::inputs::data_spec::{MISSING, Obs, Role};
use crate::spec::ModelSpec;
use crate::task::Pass;
use sc_data::{CsrMatrix, RawCounts};
use sc_models::weights::host;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const GENES: usize = 12;

fn data() -> DataSpec {
    DataSpec {
        genes: Arc::new((0..GENES).map(|g| format!("G{g}")).collect()),
        batches: crate::inputs::data_spec::numbered_batches(2),
        levels: BTreeMap::from([(Role::Label, vec!["A".into(), "B".into()])]),
        seed: 3,
        ..DataSpec::default()
    }
}

fn scgpt(objective: &str, input: Value) -> ScGptTask {
    let spec: ModelSpec = serde_json::from_value(json!({
        "architecture": "scgpt",
        "objective": objective,
        "network": { "width": 8, "layers": 1, "heads": 2, "feed_forward": 8, "dropout": 0.0 },
    }))
    .unwrap();
    let place = Place {
        architecture: "scgpt",
        objective,
    };
    let task = ScGptTask {
        network: ScGptConfig {
            tokens: GENES + SPECIAL_TOKENS,
            pad: GENES,
            ..spec.network().unwrap_or_else(|e| panic!("{e}"))
        },
        input: serde_json::from_value(input).unwrap(),
        genes: GENES,
        modalities: Arc::default(),
        goal: Goal::Values,
        seed: 3,
    };
    match objective {
        "integration" => integration::integrate(task, &data(), place).unwrap(),
        "annotation" => annotation::annotate(task, &data(), place).unwrap(),
        _ => task,
    }
}

/// Three cells: two with eight genes, one with none; the second has no label.
fn cells() -> CellBatch {
    let row = |first: usize| {
        let count = move |g: usize| {
            if g >= first && g < first + 8 {
                g + 1
            } else {
                0
            }
        };
        (0..GENES).map(move |g| count(g) as f32)
    };
    let dense: Vec<f32> = row(0).chain(row(4)).chain([0.0; GENES]).collect();
    let mut obs = Obs::default();
    obs.set(Role::Label, vec![1, MISSING, 0]);
    let counts = RawCounts::new(CsrMatrix::from_dense(GENES, &dense)).unwrap();
    CellBatch {
        rows: vec![0, 1, 2],
        keys: vec![0, 1, 2],
        counts: counts.read(&[0, 1, 2]).unwrap(),
        batches: vec![0, 1, 1],
        obs: Arc::new(obs),
    }
}

/// Loss terms of untrained weights by name.
fn terms<T: Task>(task: &T) -> BTreeMap<&'static str, f32> {
    let device = Device::flex().autodiff();
    let model = task.build(&device).unwrap();
    let losses = task.losses(&model, task.prepare(cells(), 0).unwrap(), 1, &device);
    let named = losses.terms.into_iter().map(|(n, t)| (n, t.into_scalar()));
    named
        .chain([("total", losses.total.into_scalar())])
        .collect()
}

#[test]
fn zeros_are_tokens_where_all_genes_are_shown() {
    let expressed = scgpt("masked", json!({}))
        .tokenize(&cells(), Pass::Training(0))
        .unwrap();
    assert_eq!(expressed.tokens.genes.shape(), [3, 9]);
    let all = scgpt("masked", json!({ "genes": "all" }));
    let all = all.tokenize(&cells(), Pass::Training(0)).unwrap();
    assert_eq!(all.tokens.genes.shape(), [3, GENES + 1]);
    let zeros = all.targets[1..=GENES].iter().filter(|v| **v == 0.0);
    assert_eq!(zeros.count(), 4);
    assert!(!all.tokens.genes.padding.contains(&true));
}

#[test]
fn only_labelled_cells_are_learnt_from_and_nothing_is_hidden() {
    let task = scgpt("annotation", json!({ "mask": 0.5 }));
    let input = task.prepare(cells(), 0).unwrap();
    assert_eq!(
        (input.labelled.places, input.labelled.labels),
        (vec![0, 2], vec![1, 0])
    );
    assert_eq!(input.masked.iter().sum::<f32>(), 0.0);
    assert_eq!(
        terms(&task).keys().copied().collect::<Vec<_>>(),
        ["cls", "total"]
    );
}

#[test]
fn weights_of_integration_are_the_published() {
    let task = scgpt("integration", json!({ "ecs_threshold": 0.8 }));
    let found = terms(&task);
    let sum = found["gep"] + found["gepc"] + 10.0 * found["ecs"] + found["dab"];
    assert!((sum - found["total"]).abs() < 1e-4 * sum, "{found:?}");
    assert_eq!(found.len(), 5);
    // What the settings leave out is not there.
    let task = scgpt("integration", json!({ "batch": ["decoders"] }));
    assert!(!terms(&task).contains_key("dab"));
    assert_eq!(
        (task.network.batch_labels, task.network.adversary_batches),
        (2, 0)
    );
}

#[test]
fn cells_learn_to_give_the_adversary_nothing_to_go_by() {
    let device = Device::flex().autodiff();
    let task = scgpt("integration", json!({}));
    let model = task.build(&device).unwrap();
    let input = task.prepare(cells(), 0).unwrap();
    let tokens = input.on_device(&device);
    let cell = model.encode(&tokens, Phase::Train).cell;
    let cell = cell.detach().require_grad();
    let batches = crate::task::whole(input.batches, &device);
    let guess = |cell: Tensor<2>| {
        let logits = model.guess_batches(cell).unwrap();
        crate::losses::cross_entropy(logits, batches.clone())
    };
    // A step down the gradient of the cell makes the adversary's guess worse.
    let before = guess(cell.clone());
    let gradient = cell.grad(&before.backward()).unwrap().into_data();
    let after = guess(cell.detach() - Tensor::from_data(gradient, &device) * 0.1);
    let [before, after]: [f32; 2] = [before, after].map(|l| l.into_scalar());
    assert!(after > before, "{after} after {before}");
}

#[test]
fn genes_are_known_or_asked_for_and_every_draw_is_named() {
    let task = scgpt(
        "generative",
        json!({ "generative": { "target_shares": [0.5] } }),
    );
    let place = Place {
        architecture: "scgpt",
        objective: "generative",
    };
    let task = GenerativeTask::new(task, place).unwrap();
    let input = task.prepare(cells(), 0).unwrap();
    assert_eq!(input.known.tokens.genes.shape(), [3, 5]);
    assert_eq!(input.targets.genes.shape(), [3, 4]);
    for cell in 0..2 {
        let known = &input.known.tokens.genes.ids[cell * 5 + 1..(cell + 1) * 5];
        let mut genes = [known, &input.targets.genes.ids[cell * 4..(cell + 1) * 4]].concat();
        genes.sort_unstable();
        let first = 4 * cell as i64;
        assert_eq!(genes, (first..first + 8).collect::<Vec<_>>());
    }
    let again = task.prepare(cells(), 0).unwrap();
    assert_eq!(input.targets.genes, again.targets.genes);
    let later = task.prepare(cells(), 1).unwrap();
    assert_ne!(input.targets.genes, later.targets.genes);
    let found = terms(&task);
    let sum = found["gep"] + found["gepc"] + found["prompted"];
    assert!((sum - found["total"]).abs() < 1e-4 * sum, "{found:?}");
}

#[test]
fn modalities_are_binned_apart_and_named_with_their_specials() {
    // The last four genes are proteins, with counts far above the others'.
    let mut data = data();
    let name = |g: usize| format!("{}{g}", if g < 8 { "G" } else { "p_" });
    data.genes = Arc::new((0..GENES).map(name).collect());
    let place = Place {
        architecture: "scgpt",
        objective: "multiomic",
    };
    let task = scgpt("multiomic", json!({ "bins": 5 }));
    let task = multiomic::multiomic(task, &data, place).unwrap();
    let tokens = task.rows(&cells(), 0).unwrap();
    // The second cell has genes 4 to 11: each modality fills its own bins.
    let bins = |part: &[(i64, f32)]| part.iter().map(|t| t.1).collect::<Vec<_>>();
    let [genes, proteins] = [&tokens[1][..4], &tokens[1][4..]].map(bins);
    assert_eq!(genes, proteins);
    assert_eq!((genes[0], genes[3]), (1.0, 4.0));
    let input = task
        .tokenize(&cells(), Pass::Embedding)
        .unwrap()
        .on_device(&Device::flex());
    let of = input.modalities.unwrap().into_data_as::<i64>();
    let of: Vec<i64> = of.try_into_vec().unwrap();
    assert_eq!(of[9..18], [3, 0, 0, 0, 0, 1, 1, 1, 1]);
    assert_eq!(of[18..], [3, 2, 2, 2, 2, 2, 2, 2, 2]);
    let found = terms(&task);
    assert!(found.contains_key("dab") && found["total"].is_finite());
}

#[test]
fn a_batch_without_a_norm_is_refused_with_the_way_out() {
    let mut task = scgpt("integration", json!({}));
    task.network.input_norm = InputNorm::DomainSpecific {
        domains: 2,
        epsilon: 1e-5,
        scale: Default::default(),
    };
    let device = Device::flex();
    let model = task.build(&device).unwrap();
    let of = |batches: Vec<u32>| {
        let cells = CellBatch { batches, ..cells() };
        Task::embed(&task, &model, cells, &device)
    };
    assert_eq!(of(vec![1, 1, 1]).unwrap().dims(), [3, 8]);
    let error = of(vec![2, 2, 2]).unwrap_err().to_string();
    assert!(error.contains("--batch COLUMN"), "{error}");
}

#[test]
fn the_contrast_is_that_of_two_passes() {
    let mut task = scgpt("masked", json!({ "contrast_temperature": 0.5 }));
    task.input.mask = 0.0;
    let device = Device::flex().autodiff();
    let input = task.prepare(cells(), 0).unwrap().on_device(&device);
    let model = task.build(&device).unwrap();
    // Without dropout both passes are the same, and nothing is masked.
    let cell = unit(model.encode(&input, Phase::Eval).cell);
    let cosine: Vec<f32> = host(cell.clone().matmul(cell.transpose()));
    let own = |i: usize| {
        let row = &cosine[3 * i..3 * (i + 1)];
        let all: f32 = row.iter().map(|c| (c / 0.5).exp()).sum();
        all.ln() - row[i] / 0.5
    };
    let expected = (0..3).map(own).sum::<f32>() / 3.0;
    let found = terms(&task);
    assert!(
        (found["cce"] - expected).abs() < 1e-5,
        "{found:?}, {expected}"
    );
    assert!((found["total"] - 10.0 * expected).abs() < 1e-3, "{found:?}");
}

/// Why a configuration cannot be built for data with `data`.
fn refusal(objective: &str, change: Value, data: &DataSpec) -> String {
    let mut value = json!({ "architecture": "scgpt", "objective": objective });
    for (part, settings) in change.as_object().unwrap() {
        value[part] = settings.clone();
    }
    let spec: ModelSpec = serde_json::from_value(value).unwrap();
    match spec.task(data) {
        Ok(_) => "it was built".into(),
        Err(e) => e.to_string(),
    }
}

#[test]
fn what_misfits_is_refused_with_the_way_out() {
    let full = data();
    let one = DataSpec {
        batches: crate::inputs::data_spec::numbered_batches(1),
        ..full.clone()
    };
    let error = refusal("integration", json!({}), &one);
    assert!(error.contains("--batch COLUMN"), "{error}");
    let error = refusal("integration", json!({ "input": { "batch": [] } }), &full);
    assert!(error.contains("input.batch = ["), "{error}");
    for network in [
        json!({ "input_norm": { "kind": "batch-norm", "epsilon": 1e-5 } }),
        json!({ "explicit_zero_probability": true }),
        json!({ "batch_labels": 2 }),
    ] {
        let error = refusal("generative", json!({ "network": network }), &full);
        assert!(error.contains("remove it"), "{error}");
    }
    let table = json!({ "value_encoder": { "kind": "category", "bins": 51 } });
    let error = refusal("masked", json!({ "network": table }), &full);
    assert!(error.contains("bins = 53 or more"), "{error}");
    for (setting, value) in [
        ("length", json!(1)),
        ("mask", json!(1.5)),
        ("mask", json!(0.0)),
        ("contrast_temperature", json!(0.0)),
        (
            "generative.target_shares",
            json!({ "target_shares": [1.0] }),
        ),
        ("generative.target_shares", json!({ "target_shares": [] })),
        ("generative.target_shares", json!({ "asked": [1.0] })),
        ("perturbation.total", json!({ "total": 0.0 })),
    ] {
        let (part, _) = setting.split_once('.').unwrap_or((setting, ""));
        let error = refusal("masked", json!({ "input": { part: value } }), &full);
        assert!(
            error.starts_with(&format!("scgpt: input.{setting}")),
            "{error}"
        );
    }
}

#[test]
fn bins_that_are_rows_of_a_table_have_rows_for_padding_and_mask() {
    let mut task = scgpt("masked", json!({ "bins": 5 }));
    task.network.value_encoder = ValueEncoderConfig::Category { bins: 7, pad: 5 };
    let input = task.tokenize(&cells(), Pass::Training(0)).unwrap();
    // Three of eight genes are masked, and the last cell is padding behind <cls>.
    let masked = input.tokens.values[..9].iter().filter(|v| **v == 6.0);
    assert_eq!(masked.count(), 3);
    assert_eq!(input.tokens.values[19..], [5.0; 8]);
    assert!(terms(&task)["total"].is_finite());
}
