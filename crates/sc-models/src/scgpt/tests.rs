//! Tests of scgpt.

use super::*;
use crate::init::initialise;
use crate::layers::norm::Phase;
use crate::testing::{bent, slopes_agree, spread};
use crate::weights::{host, tensors};
use burn::tensor::{Bool, Device, Int, Tensor};

/// `<cls>` and `<pad>` among the tokens.
const CLS: i32 = 10;
const PAD: i32 = 11;

fn config() -> ScGptConfig {
    ScGptConfig {
        tokens: 12,
        pad: PAD as usize,
        width: 8,
        layers: 2,
        heads: 2,
        feed_forward: 12,
        dropout: 0.0,
        value_encoder: ValueEncoderConfig::Continuous,
        input_norm: InputNorm::None,
        cell_embedding: CellEmbedding::Cls,
        explicit_zero_probability: true,
        mvc: Some(MvcStyle::InnerProduct),
        classes: 0,
        class_layers: 3,
        batch_labels: 0,
        modalities: 0,
        generative: false,
        adversary_batches: 0,
    }
}

/// Two cells, the second with fewer genes.
fn tokens(device: &Device) -> Tokens {
    let genes = Tensor::<2, Int>::from_data([[CLS, 1, 4, 7], [CLS, 2, PAD, PAD]], device);
    let padding: Tensor<2, Bool> = genes.clone().equal_elem(PAD);
    Tokens {
        genes,
        values: Tensor::from_data([[0.0, 2.0, -1.0, 0.5], [0.0, 1.5, -2.0, -2.0]], device),
        frozen: Some(padding.clone()),
        padding: Some(padding),
        batches: Some(Tensor::from_data([0, 1], device)),
        modalities: None,
        domain: 0,
    }
}

/// 1 where a token is no padding: what is said of padding hangs on vectors that are not trained.
fn kept(padding: &Option<Tensor<2, Bool>>) -> Tensor<2> {
    padding.clone().unwrap().bool_not().float()
}

fn of(prediction: &Prediction, kept: &Tensor<2>) -> Tensor<1> {
    let expressed = prediction.expressed.clone().unwrap();
    bent(prediction.value.clone() * kept.clone()) + bent(expressed * kept.clone())
}

#[test]
fn gradients_agree_with_differences() {
    let device = Device::flex().autodiff();
    let tokens = tokens(&device);
    let kept = kept(&tokens.padding);
    let heads = ScGptConfig {
        classes: 3,
        batch_labels: 2,
        ..config()
    };
    let normed = ScGptConfig {
        input_norm: InputNorm::DomainSpecific {
            domains: 1,
            epsilon: 1e-3,
            scale: Default::default(),
        },
        value_encoder: ValueEncoderConfig::Scaling,
        cell_embedding: CellEmbedding::WeightedPool,
        ..config()
    };
    // Statistics and weighted pooling see padding, so there is none here.
    let whole = Tokens {
        genes: Tensor::from_data([[CLS, 1, 4, 7], [CLS, 2, 3, 6]], &device),
        padding: None,
        frozen: None,
        ..tokens.clone()
    };
    let all = kept.ones_like();
    let several = |batch_labels| ScGptConfig {
        modalities: 2,
        batch_labels,
        ..config()
    };
    // Modalities 0 and 1, padding 2, <cls> 3.
    let modal = Tokens {
        modalities: Some(Tensor::from_data([[3, 0, 1, 1], [3, 0, 2, 2]], &device)),
        ..tokens.clone()
    };
    for (config, tokens, kept) in [
        (heads, &tokens, &kept),
        (normed, &whole, &all),
        (several(0), &modal, &kept),
        (several(2), &modal, &kept),
    ] {
        let model = initialise(ScGpt::new(&config, &device).unwrap(), 1, INIT);
        let loss = |m: &ScGpt| {
            let found = m.forward(tokens, Phase::Train);
            let loss = of(&found.expression, kept) + of(&found.from_cell.unwrap(), kept);
            match found.classes {
                Some(classes) => loss + bent(classes),
                None => loss,
            }
        };
        slopes_agree(&model, &NAMES, &[], loss, 1e-3, 2e-2);
    }
}

#[test]
fn gradients_of_two_streams_agree_with_differences() {
    let device = Device::flex().autodiff();
    let known = tokens(&device);
    let genes = Tensor::<2, Int>::from_data([[5, 3, 8], [6, 9, PAD]], &device);
    let padding: Tensor<2, Bool> = genes.clone().equal_elem(PAD);
    let targets = Targets {
        genes,
        frozen: Some(padding.clone()),
        padding: Some(padding),
    };
    let config = ScGptConfig {
        generative: true,
        ..config()
    };
    let model = initialise(ScGpt::new(&config, &device).unwrap(), 1, INIT);
    let [seen, wanted] = [&known.padding, &targets.padding].map(kept);
    let all = Tensor::cat(vec![seen.clone(), wanted.clone()], 1);
    for prompt in [None, Some(spread([2, 8], &device))] {
        let loss = |m: &ScGpt| {
            let found = m.generate(&known, Some(&targets), prompt.clone());
            of(&found.known, &seen)
                + of(&found.targets.unwrap(), &wanted)
                + of(&found.from_cell.unwrap(), &all)
        };
        slopes_agree(&model, &NAMES, &[], loss, 1e-3, 2e-2);
    }
}

#[test]
fn gradients_of_perturbations_agree_with_differences() {
    let device = Device::flex().autodiff();
    let tokens = tokens(&device);
    let kept = kept(&tokens.padding);
    let flags = Tensor::<2, Int>::from_data([[0, 1, 0, 0], [0, 1, 2, 2]], &device);
    for value_encoder in [
        ValueEncoderConfig::Continuous,
        ValueEncoderConfig::Category { bins: 4, pad: -2 },
        ValueEncoderConfig::Scaling,
    ] {
        let config = ScGptConfig {
            value_encoder,
            ..config()
        };
        let tokens = match value_encoder {
            ValueEncoderConfig::Category { .. } => Tokens {
                values: Tensor::from_data([[0.0, 2.0, 1.0, 3.0], [0.0, 1.0, 2.0, 2.0]], &device),
                ..tokens.clone()
            },
            _ => tokens.clone(),
        };
        let model = Perturb::new(&config, 2, &device).unwrap();
        let model = initialise(model, 1, INIT);
        let loss = |m: &Perturb| bent(m.forward(&tokens, flags.clone()) * kept.clone());
        slopes_agree(&model, &PERTURB_NAMES, &[], loss, 1e-3, 2e-2);
    }
}

#[test]
fn decoders_know_the_modality_and_cells_do_not() {
    let device = Device::flex();
    let config = ScGptConfig {
        modalities: 2,
        ..config()
    };
    let model = initialise(ScGpt::new(&config, &device).unwrap(), 1, INIT);
    let names: Vec<String> = tensors(&model, &NAMES).into_keys().collect();
    assert!(names.contains(&"mod_encoder.embedding.weight".to_string()));
    let outputs = |second: i32| {
        let of = Tensor::from_data([[3, 0, 1, second], [3, 0, 2, 2]], &device);
        let tokens = Tokens {
            modalities: Some(of),
            ..tokens(&device)
        };
        let found = model.forward(&tokens, Phase::Eval);
        let from_cell = found.from_cell.unwrap().value;
        [found.encoded.cell, found.expression.value, from_cell].map(host)
    };
    let [cell, tokens, from_cell] = outputs(0);
    let [same_cell, other_tokens, other_from_cell] = outputs(1);
    assert_eq!(cell, same_cell);
    for (a, b) in [(tokens, other_tokens), (from_cell, other_from_cell)] {
        let changed: Vec<usize> = (0..8).filter(|&i| a[i] != b[i]).collect();
        assert_eq!(changed, [3]);
    }
}

#[test]
fn a_gene_that_is_not_perturbed_has_no_vector() {
    for device in [Device::flex(), Device::flex().autodiff()] {
        let model = initialise(Perturb::new(&config(), 0, &device).unwrap(), 1, INIT);
        let table = |m: &Perturb| {
            tensors(m, &PERTURB_NAMES)["pert_encoder.weight"]
                .data
                .clone()
        };
        let before = table(&model);
        let after = table(&model.without_padding_vector());
        assert!(before[..8].iter().any(|v| *v != 0.0));
        assert_eq!(after[..8], [0.0; 8]);
        assert_eq!(after[8..], before[8..]);
    }
}
