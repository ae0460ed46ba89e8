//! Gradients of every encoder and every head, and that padding is not seen.

use super::*;
use crate::hyena::FilterConfig;
use crate::init::initialise;
use crate::layers::zinb::nb_nll;
use crate::testing::{bent, slopes_agree, spread};
use crate::weights::host;
use burn::tensor::{Bool, Device, Int, Tensor};
use sc_data::CsrMatrix;
use std::sync::Arc;

const GENES: usize = 6;
const LENGTH: usize = 5;

fn encoders() -> [EncoderConfig; 5] {
    [
        EncoderConfig::Attention { heads: 2 },
        EncoderConfig::Flow { heads: 2 },
        EncoderConfig::Hyena {
            order: 2,
            filter: FilterConfig {
                width: 4,
                ..FilterConfig::default()
            },
        },
        EncoderConfig::Mean,
        EncoderConfig::None,
    ]
}

fn config(encoder: EncoderConfig, head: HeadConfig) -> ComposedConfig {
    ComposedConfig {
        encoder,
        width: 8,
        layers: 2,
        feed_forward: 12,
        dropout: 0.0,
        tokens: GENES + SPECIAL_TOKENS,
        genes: GENES,
        length: LENGTH,
        values: true,
        positions: true,
        head,
        ..ComposedConfig::default()
    }
}

fn model(config: &ComposedConfig, device: &Device) -> Composed {
    initialise(Composed::new(config, device).unwrap(), 1, INIT)
}

/// Two cells, the second with `padding` at its end that has the ids `filler`.
fn tokens(filler: i64, device: &Device) -> Sequences {
    let (pad, cls) = (filler, GENES as i64 + special::CLS as i64);
    let ids = [[cls, 0, 1, 2, 3], [cls, 4, 5, pad, pad]];
    let mask = [[false; 5], [false, false, false, true, true]];
    Sequences {
        ids: Tensor::from_data(ids, device),
        values: Some(spread([2, LENGTH], device)),
        hidden: Some(Tensor::from_data(
            [[0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0]],
            device,
        )),
        padding: Some(Tensor::<2, Bool>::from_data(mask, device)),
    }
}

#[test]
fn gradients_of_every_encoder_agree_with_differences() {
    let device = Device::flex().autodiff();
    for encoder in encoders() {
        let name = encoder.word();
        let model = model(&config(encoder, HeadConfig::Values), &device);
        let input = tokens(GENES as i64, &device);
        let loss = |m: &Composed| {
            let states = m.encode(&input);
            let values = m.values(&states, input.ids.clone()).unwrap();
            bent(values.narrow(1, 0, 3)) + bent(states.cell)
        };
        // A block that mixes nothing has no use for its first norm, and a filter that is held fixed
        // has its own parameters.
        let untrained: &[&str] = match name {
            "none" => &["blocks.0.norm1", "blocks.1.norm1"],
            _ => &[],
        };
        slopes_agree(&model, &NAMES, untrained, loss, 1e-3, 2e-2);
    }
}

#[test]
fn gradients_of_every_head_agree_with_differences() {
    let device = Device::flex().autodiff();
    let counts = CsrMatrix::from_dense(GENES, &[1., 0., 2., 0., 3., 1., 0., 4., 0., 1., 0., 2.]);
    let counts = Arc::new(counts);
    let input = tokens(GENES as i64, &device);
    let asked = Tensor::<2, Int>::from_data([[0, 4], [5, 1]], &device);
    let heads = [
        HeadConfig::None,
        HeadConfig::ValuesFromCell,
        HeadConfig::Genes,
        HeadConfig::Expressed,
        HeadConfig::Counts,
        HeadConfig::Classes { labels: 3 },
    ];
    for head in heads {
        let model = model(&config(EncoderConfig::Mean, head), &device);
        let loss = |m: &Composed| {
            let states = m.encode(&input);
            let cell = states.cell.clone();
            match head {
                HeadConfig::None => bent(cell),
                HeadConfig::Values | HeadConfig::ValuesFromCell => {
                    bent(m.values(&states, input.ids.clone()).unwrap())
                }
                HeadConfig::Genes => bent(m.genes(cell).unwrap()),
                HeadConfig::Expressed => bent(m.expressed(cell, asked.clone()).unwrap()),
                HeadConfig::Counts => {
                    let totals = Tensor::<1>::from_data([7.0, 7.0], &device);
                    let found = m.counts(cell, totals).unwrap();
                    nb_nll(found.mean, found.dispersion, &counts).sum()
                }
                HeadConfig::Classes { .. } => bent(m.classes(cell).unwrap()),
            }
        };
        slopes_agree(&model, &NAMES, &[], loss, 1e-3, 2e-2);
    }
}

#[test]
fn no_encoder_sees_what_stands_at_padding() {
    let device = Device::flex();
    for encoder in encoders() {
        let name = encoder.word();
        let model = model(&config(encoder, HeadConfig::Values), &device);
        let [a, b] =
            [GENES as i64, 0].map(|filler| host(model.encode(&tokens(filler, &device)).cell));
        assert_eq!(a, b, "{name}");
    }
}

#[test]
fn a_hidden_value_is_not_seen() {
    let device = Device::flex();
    let model = model(&config(EncoderConfig::Mean, HeadConfig::Values), &device);
    let mut input = tokens(GENES as i64, &device);
    let before = host(model.encode(&input).tokens);
    let hidden = input.hidden.clone().unwrap();
    input.values = input.values.map(|v| v + hidden * 3.0);
    assert_eq!(before, host(model.encode(&input).tokens));
    input.values = input.values.map(|v| v + 1.0);
    assert_ne!(before, host(model.encode(&input).tokens));
}

#[test]
fn what_cannot_be_built_is_refused() {
    let refused = |change: &dyn Fn(&mut ComposedConfig), part: &str| {
        let mut config = config(EncoderConfig::None, HeadConfig::None);
        change(&mut config);
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(&|c| c.cell = CellVector::Cls, "use network.cell = 'mean'");
    refused(
        &|c| c.encoder = EncoderConfig::Flow { heads: 3 },
        "heads = 3",
    );
    refused(&|c| c.width = 0, "width = 0");
    refused(&|c| c.dropout = 1.0, "dropout = 1");
}
