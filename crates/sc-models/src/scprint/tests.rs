//! Tests of scprint.

use super::*;
use crate::init::initialise;
use crate::testing::slopes_agree;
use crate::weights::{self, host};
use burn::tensor::{Device, Int, Tensor, TensorData};

fn config() -> ScPrintConfig {
    ScPrintConfig {
        genes: 9,
        width: 8,
        layers: 2,
        heads: 2,
        dropout: 0.0,
        classes: [("cell_type", 3), ("sex", 2)]
            .map(|(name, leaves)| Class {
                name: name.into(),
                leaves,
            })
            .to_vec(),
        class_layers: vec![6],
        cell_decoder: CellDecoder::InnerProduct,
        gene_embeddings: GeneEmbeddings::Learned,
        ..ScPrintConfig::default()
    }
}

fn model(config: &ScPrintConfig, device: &Device) -> ScPrint {
    // Larger weights than at the start of training, so that slopes are not all but 0.
    let rule = |path: &str| {
        let norm = path.ends_with("gamma") || path.ends_with("beta");
        (!norm && !path.ends_with("pe")).then_some(crate::init::Init::Normal(0.3))
    };
    let model = initialise(ScPrint::new(config, device).unwrap(), 5, rule);
    let places: Vec<usize> = (0..config.genes).collect();
    model
        .with_positions(genome_positions(&places, config.width))
        .unwrap()
}

fn tokens(rows: &[usize], device: &Device) -> Tokens {
    let n = rows.len();
    let genes: Vec<i64> = rows
        .iter()
        .flat_map(|&r| (0..5).map(move |k| ((r + 2 * k) % 9) as i64))
        .collect();
    let counts: Vec<f32> = rows
        .iter()
        .flat_map(|&r| (0..5).map(move |k| ((r * 3 + k) % 4) as f32))
        .collect();
    let counts = Tensor::<2>::from_data(TensorData::new(counts, [n, 5]), device);
    let depth: Vec<f32> = rows.iter().map(|&r| 10.0 + r as f32).collect();
    Tokens {
        genes: Tensor::<2, Int>::from_data(TensorData::new(genes, [n, 5]), device),
        counts: Some(counts.clone()),
        hidden: None,
        depth: Some(Tensor::from_data(TensorData::new(depth, [n]), device)),
        cells: None,
        total: counts.sum_dim(1).squeeze_dim::<1>(1),
    }
}

#[test]
fn gradients_agree_with_differences() {
    let device = Device::flex().autodiff();
    let input = tokens(&[0, 1, 2], &device);
    for normalisation in [Normalisation::Sum, Normalisation::Log] {
        let config = ScPrintConfig {
            normalisation,
            ..config()
        };
        let loss = |model: &ScPrint| {
            let first = model.forward(&input);
            let mut sum = first.cell.clone().square().mean();
            for (_, logits) in model.classes(&first) {
                sum = sum + logits.square().mean();
            }
            let made = Tokens {
                counts: None,
                depth: None,
                cells: Some(first.cells.clone()),
                ..input.clone()
            };
            let made = model.forward(&made).counts;
            let from_cell = model.counts_from_cell(&first).unwrap();
            for p in [first.counts, made, from_cell] {
                let [dispersion, zero] = p.spread.unwrap();
                sum = sum + p.mean.square().mean() + dispersion.log().square().mean();
                sum = sum + zero.square().mean();
            }
            sum
        };
        slopes_agree(
            &model(&config, &device),
            &NAMES,
            &["pos_encoder.pe"],
            loss,
            1e-3,
            0.03,
        );
    }
}

#[test]
fn a_cell_does_not_depend_on_others_and_means_sum_to_its_total() {
    let device = Device::flex();
    let model = model(&config(), &device);
    let all = tokens(&[0, 1, 2], &device);
    let out = model.forward(&all);
    let embedded = host(model.embedding(&out, &[]));
    for (row, total) in host(out.counts.mean).chunks(5).zip(host(all.total)) {
        assert!((row.iter().sum::<f32>() - total).abs() < 1e-4);
    }
    let one = model.forward(&tokens(&[1], &device));
    let found = host(model.embedding(&one, &[]));
    for (a, b) in found.iter().zip(&embedded[8..16]) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

#[test]
fn the_adversary_turns_gradients_round() {
    let device = Device::flex().autodiff();
    let config = ScPrintConfig {
        adversary_batches: 2,
        ..config()
    };
    let model = model(&config, &device);
    let input = tokens(&[0, 1], &device);
    let out = model.forward(&input);
    assert_eq!(model.adversarial_classes(&out)[1].1.dims(), [2, 2]);
    assert_eq!(model.adversarial_batches(&out).unwrap().dims(), [2, 2]);
    let mean = Tensor::<2>::ones([2, 3], &device).require_grad();
    let grads = crate::layers::gradient::reverse_gradient(mean.clone() * 2.0)
        .sum()
        .backward();
    assert_eq!(host(mean.grad(&grads).unwrap()), vec![-2.0; 6]);
}

#[test]
fn tables_of_genes_are_pooled_and_placed() {
    assert_eq!(
        pool_embeddings(&[1.0, 3.0, 5.0, 7.0, 9.0], 5, 2),
        [3.0, 7.0]
    );
    assert_eq!(pool_embeddings(&[1.0, 3.0], 2, 4), [1.0, 1.0, 3.0, 3.0]);
    let places = genome_positions(&[1, 2, 0], 4);
    assert_eq!(places[..4], [0.0, 1.0, 0.0, 1.0]);
    assert_eq!(places[8..], places[4..8]);
}

#[test]
fn what_cannot_be_is_refused_and_names_are_the_published_ones() {
    let device = Device::flex();
    let names = weights::tensors(&ScPrint::new(&config(), &device).unwrap(), &NAMES);
    for name in [
        "gene_encoder.embedding.weight",
        "expr_encoder.encoder.4.weight",
        "expr_decoder.fc.5.bias",
        "transformer.blocks.1.mixer.Wqkv.weight",
        "cls_decoders.sex.decoder.1.weight",
        "pos_encoder.pe",
    ] {
        assert!(names.contains_key(name), "{name}");
    }
    for (change, says) in [
        (
            (|c| c.heads = 3) as fn(&mut ScPrintConfig),
            "is not divisible by heads",
        ),
        (|c| c.genes = 0, "genes = 0"),
        (|c| c.classes[1].name = "cell_type".into(), "twice"),
        (|c| c.classes[0].leaves = 0, "no labels"),
        (|c| c.class_layers = vec![0], "class_layers = 0"),
    ] {
        let mut bad = config();
        change(&mut bad);
        let error = ScPrint::new(&bad, &device).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let without = ScPrintConfig {
        positions: Positions::None,
        ..config()
    };
    let model = ScPrint::new(&without, &device).unwrap();
    assert!(model.clone().with_genes(vec![0.0]).is_err());
    assert!(model.with_positions(vec![0.0; 72]).is_err());
}
