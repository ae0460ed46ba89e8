//! Tests of Geneformer.

use super::*;
use crate::init::{Init, initialise};
use crate::testing::{bent, slopes_agree};
use burn::tensor::{Bool, Device, Int, Tensor};

fn config() -> GeneformerConfig {
    GeneformerConfig {
        tokens: 12,
        context_length: 6,
        width: 8,
        layers: 2,
        heads: 2,
        feed_forward: 12,
        activation: Activation::Gelu,
        dropout: 0.0,
        pooled_from_last: 1,
    }
}

/// Two cells, the second with fewer genes.
fn tokens(device: &Device) -> Tokens {
    let ids = [[5, 11, 3, 7, 2], [6, 4, 9, 0, 0]];
    let padding = [[false; 5], [false, false, false, true, true]];
    Tokens {
        ids: Tensor::<2, Int>::from_data(ids, device),
        padding: Some(Tensor::<2, Bool>::from_data(padding, device)),
    }
}

#[test]
fn gradients_agree_with_differences() {
    let device = Device::flex().autodiff();
    let model = Geneformer::new(&config(), &device).unwrap();
    // Embeddings large enough that a step of the difference is small beside them.
    let model = initialise(model, 1, |path| INIT(path).map(|_| Init::Normal(0.5)));
    let padded = tokens(&device);
    // The padding row gets no gradient, so this sequence has no padding.
    let whole = Tokens {
        ids: padded.ids.clone().narrow(0, 0, 1),
        padding: None,
    };
    let loss = |m: &Geneformer| {
        let last = m.last(&whole);
        let [b, l, d] = last.dims();
        bent(m.logits(last.reshape([b * l, d]))) + bent(m.embed(&padded))
    };
    slopes_agree(&model, &NAMES, &[], loss, 1e-3, 2e-2);
}

#[test]
fn padding_changes_no_vector() {
    let device = Device::flex();
    let model = Geneformer::new(&config(), &device).unwrap();
    let model = initialise(model, 1, INIT);
    let both = crate::weights::host(model.embed(&tokens(&device)));
    let alone = Tokens {
        ids: Tensor::<2, Int>::from_data([[6, 4, 9]], &device),
        padding: None,
    };
    let alone = crate::weights::host(model.embed(&alone));
    for (a, b) in alone.iter().zip(&both[8..]) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
}
