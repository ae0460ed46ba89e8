//! Tests of nicheformer.

use super::*;
use crate::init::{Init, initialise};
use crate::testing::{bent, slopes_agree};
use crate::weights::Names;
use burn::tensor::{Device, Int, Tensor};

const WIDTH: usize = 8;
const LAYERS: usize = 2;

fn config() -> NicheformerConfig {
    NicheformerConfig {
        tokens: 28,
        table: 30,
        context_length: 7,
        width: WIDTH,
        layers: LAYERS,
        heads: 2,
        feed_forward: 12,
        dropout: 0.0,
        pooling: Pooling::Masked,
    }
}

/// Two cells, the second with fewer genes.
fn tokens(device: &Device) -> Tokens {
    let ids = [[5, 11, 3, 20, 25, 21], [6, 11, 3, 22, PAD, PAD]];
    Tokens::new(Tensor::<2, Int>::from_data(ids, device))
}

/// Embeddings large enough that a step of the difference is small beside them.
fn init(path: &str) -> Option<Init> {
    INIT(path).map(|_| Init::Normal(0.5))
}

#[test]
fn gradients_agree_with_differences() {
    let device = Device::flex().autodiff();
    let model = Nicheformer::new(&config(), &device).unwrap();
    let model = initialise(model, 1, init);
    let tokens = tokens(&device);
    let loss = |m: &Nicheformer| {
        let cells = m.pool(m.last(&tokens), &tokens, Context::Without);
        bent(m.logits(cells))
    };
    slopes_agree(&model, &NAMES, &[], loss, 1e-3, 2e-2);
}

#[test]
fn gradients_of_every_head_agree_with_differences() {
    let device = Device::flex().autodiff();
    let tokens = tokens(&device);
    // Heads keep the prefix of the backbone, which published files may have or not.
    let names = Names {
        alias: str::to_string,
        ..NAMES
    };
    for (combine, context, extractor) in [
        (Combine::Mean, Context::Without, false),
        (Combine::Sum, Context::With, true),
        (Combine::Concat, Context::With, true),
    ] {
        let head = HeadConfig {
            outputs: 3,
            layers: vec![0, 1],
            combine,
            context,
            extractor,
        };
        let backbone = Nicheformer::new(&config(), &device).unwrap();
        let model = NicheHead::new(backbone, (WIDTH, LAYERS), &head, &device).unwrap();
        let model = initialise(model, 1, init);
        let loss = |m: &NicheHead| bent(m.forward(&tokens).output);
        slopes_agree(&model, &names, &[], loss, 1e-3, 2e-2);
    }
}
