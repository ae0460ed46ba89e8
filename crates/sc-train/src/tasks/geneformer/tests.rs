//! Parity with Hugging Face's BERT, tokens, and what is refused.

use super::*;
use crate::import::Files;
use crate::registry::find;
use burn::tensor::{Bool, Int, TensorData};
use sc_data::CsrMatrix;
use sc_models::geneformer::NAMES;
use sc_models::weights::{host, load, read_safetensors};
use serde_json::json;
use std::path::{Path, PathBuf};

fn published() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/published/geneformer")
}

fn close(ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() <= 2e-6 * largest, "{a} {b}");
    }
}

#[test]
fn published_weights_answer_as_hugging_face_does() {
    let import = find("geneformer").unwrap().import.unwrap();
    let model = import(&Files {
        weights: published(),
        ..Files::default()
    })
    .unwrap();
    let device = Device::flex();
    model.check(&device).unwrap();
    assert_eq!(model.data.genes[0], "ENSG00000001617");
    let expected = read_safetensors(&published().join("expected.safetensors")).unwrap();
    let mut network: GeneformerConfig = model.spec.network().unwrap();
    network.tokens = model.data.genes.len() + 2;
    let bert = Geneformer::new(&network, &device).unwrap();
    let bert = load(bert, model.weights, &NAMES).unwrap();
    let ids = &expected["ids"];
    let shape = [ids.shape[0], ids.shape[1]];
    let whole: Vec<i64> = ids.data.iter().map(|&v| v as i64).collect();
    let padding: Vec<bool> = expected["mask"].data.iter().map(|&m| m == 0.0).collect();
    let tokens = Tokens {
        ids: Tensor::<2, Int>::from_data(TensorData::new(whole, shape), &device),
        padding: Some(Tensor::<2, Bool>::from_data(
            TensorData::new(padding.clone(), shape),
            &device,
        )),
    };
    let last = bert.last(&tokens);
    let [b, l, d] = last.dims();
    let logits = host(bert.logits(last.reshape([b * l, d])));
    // At padding they mean nothing.
    let rows = |all: &[f32]| -> Vec<f32> {
        let rows = all.chunks(network.tokens).zip(&padding);
        rows.filter(|(_, p)| !**p)
            .flat_map(|(r, _)| r.to_vec())
            .collect()
    };
    close(&rows(&logits), &rows(&expected["logits"].data));
    close(&host(bert.embed(&tokens)), &expected["embedding"].data);
}

fn task(input: serde_json::Value) -> GeneformerTask {
    let data = DataSpec {
        genes: Arc::new((0..5).map(|g| format!("G{g}")).collect()),
        means: Arc::new(vec![1.0, 10.0, 2.0, f32::NAN, 1.0]),
        ..DataSpec::default()
    };
    let input: RankInput = serde_json::from_value(input).unwrap();
    GeneformerTask {
        network: GeneformerConfig {
            tokens: 5 + input.ends.special() as usize,
            context_length: 4,
            width: 8,
            layers: 2,
            heads: 2,
            feed_forward: 8,
            ..GeneformerConfig::default()
        },
        input,
        typical: Arc::new(ranks::means(&data.means, MeanMode::Released)),
        seed: 3,
    }
}

#[test]
fn genes_come_by_what_is_typical_of_them() {
    // Counts over typical values: 2, 0.8, 3, and a gene nobody measured.
    let (genes, counts) = ([0, 1, 2], [2.0, 8.0, 6.0]);
    let plain = task(json!({}));
    let typical: Vec<f32> = plain
        .typical
        .iter()
        .map(|m| if m.is_nan() { 1.0 } else { *m })
        .collect();
    let plain = GeneformerTask {
        typical: Arc::new(typical),
        ..plain
    };
    assert_eq!(plain.tokens(&genes, &counts).unwrap(), [4, 2, 3]);
    let ends = GeneformerTask {
        input: RankInput {
            ends: Ends::ClsEos,
            ..RankInput::default()
        },
        ..plain.clone()
    };
    // Room for two genes between the ends.
    let [cls, eos] = [CLS, EOS].map(i64::from);
    assert_eq!(ends.tokens(&genes, &counts).unwrap(), [cls, 6, 4, eos]);
    assert!(plain.tokens(&[], &[]).unwrap().is_empty());
}

#[test]
fn genes_are_hidden_and_ends_are_not() {
    let task = task(json!({ "ends": "cls-eos", "mask": 1.0 }));
    let task = GeneformerTask {
        typical: Arc::new(vec![1.0; 5]),
        ..task
    };
    let counts = CsrMatrix::from_dense(5, &[3.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0]);
    let cells = CellBatch {
        rows: vec![0, 1],
        keys: vec![10, 11],
        counts,
        batches: vec![0, 0],
        obs: Arc::default(),
    };
    let batch = task.batch(&cells, Pass::Training(0)).unwrap();
    assert_eq!(batch.hidden.tokens, [4, 6, 8]);
    assert_eq!(batch.hidden.positions, [1, 2, 5]);
    let whole = task.batch(&cells, Pass::Embedding).unwrap();
    let [cls, eos, pad] = [CLS, EOS, PAD].map(i64::from);
    assert_eq!(whole.tokens.ids, [cls, 4, 6, eos, cls, 8, eos, pad]);
}

#[test]
fn cells_without_counts_have_no_loss() {
    let task = GeneformerTask {
        typical: Arc::new(vec![1.0; 5]),
        ..task(json!({}))
    };
    let cells = CellBatch {
        rows: vec![0, 1],
        keys: vec![10, 11],
        counts: CsrMatrix::from_dense(5, &[0.0; 10]),
        batches: vec![0, 0],
        obs: Arc::default(),
    };
    let device = Device::flex().autodiff();
    let model = Geneformer::new(&task.network, &device).unwrap();
    let input = task.prepare(cells, 0).unwrap();
    let total = task.losses(&model, input, 0, &device).total;
    // The step backwards goes through it as through any other.
    total.clone().backward();
    assert_eq!(host(total), [0.0]);
}

/// As `numpy.save` writes a vector.
fn npy(values: &[f32]) -> Vec<u8> {
    let header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}\n",
        values.len()
    );
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

#[test]
fn medians_are_read_by_name_whatever_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let means = folder.path().join("medians.json");
    let import = |means: Option<PathBuf>| {
        find("geneformer").unwrap().import.unwrap()(&Files {
            weights: published(),
            means,
            ..Files::default()
        })
    };
    let genes = import(None).unwrap().data.genes;
    let of = |genes: &[String]| {
        let pairs = genes.iter().zip(1..);
        let mut pairs: Vec<String> = pairs.map(|(g, i)| format!("\"{g}\": {i}.5")).collect();
        pairs.reverse();
        pairs.push("\"ENSG9\": 3".to_owned());
        std::fs::write(&means, format!("{{{}}}", pairs.join(", "))).unwrap();
        import(Some(means.clone()))
    };
    let read = of(&genes).unwrap().data.means;
    assert_eq!((read.len(), read[0], read[3]), (genes.len(), 1.5, 4.5));
    let error = of(&genes[1..]).err().unwrap().to_string();
    let wanted = format!(
        "has no median of 1 of the {} genes, such as {}",
        genes.len(),
        genes[0]
    );
    assert!(error.contains(&wanted), "{error}");
}

#[test]
fn medians_that_nothing_can_be_divided_by_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let means = folder.path().join("medians.npy");
    for bad in [0.0, -1.0, f32::NAN] {
        let mut medians = [2.0f32; 10];
        medians[3] = bad;
        std::fs::write(&means, npy(&medians)).unwrap();
        let import = find("geneformer").unwrap().import.unwrap();
        let refused = import(&Files {
            weights: published(),
            means: Some(means.clone()),
            ..Files::default()
        });
        let message = refused.err().unwrap().to_string();
        assert!(message.contains("it must be more than 0"), "{message}");
    }
}
