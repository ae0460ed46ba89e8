//! Tests of uce.

use super::*;
use crate::init::{Init, initialise};
use crate::testing::{bent, slopes_agree};
use burn::tensor::{Bool, Device, Int, Tensor};

/// Two sentences, the second shorter.
fn sentences(device: &Device) -> Sentences {
    let ids = [[3, 10, 4, 5, 11], [3, 10, 7, 0, 0]];
    let ids = Tensor::<2, Int>::from_data(ids, device);
    let padding: Tensor<2, Bool> = ids.clone().equal_elem(0);
    Sentences {
        ids,
        padding: Some(padding),
    }
}

#[test]
fn gradients_agree_with_differences() {
    let device = Device::flex().autodiff();
    let sentences = sentences(&device);
    let asked = Tensor::<2, Int>::from_data([[6, 8, 4], [9, 7, 5]], &device);
    for padding in [PaddingMode::Strict, PaddingMode::Compat] {
        let config = UceConfig {
            tokens: 12,
            token_dim: 6,
            max_length: 8,
            width: 8,
            layers: 2,
            heads: 2,
            feed_forward: 12,
            dropout: 0.0,
            output: 6,
            decoder_hidden: 10,
            binary_hidden: [8, 6, 4],
            padding,
        };
        let model = initialise(Uce::new(&config, &device).unwrap(), 1, INIT);
        let loss = |m: &Uce| {
            let cells = m.embed(&sentences);
            bent(m.expressed(cells, m.genes(asked.clone())))
        };
        let untrained = ["pe_embedding.", "pos_encoder."];
        slopes_agree(&model, &NAMES, &untrained, loss, 1e-3, 2e-2);
    }
}

#[test]
fn gradients_of_state0_agree_with_differences() {
    let device = Device::flex().autodiff();
    let config = State0Config {
        tokens: 12,
        token_dim: 6,
        max_length: 8,
        width: 8,
        layers: 1,
        heads: 2,
        feed_forward: 12,
        output: 6,
        datasets: 3,
    };
    // Vectors of data sets stay shorter than 1: longer ones have the gradient of the shortened.
    let short = |path: &str| {
        let set = path == "dataset_num_embedding.weight";
        set.then_some(Init::Uniform(0.2))
    };
    let model = initialise(State0::new(&config, &device), 1, short);
    let sentences = sentences(&device);
    let asked = Tensor::<2, Int>::from_data([[6, 8, 4], [9, 7, 5]], &device);
    let sets = Tensor::<1, Int>::from_data([2, 0], &device);
    let loss = |m: &State0| {
        let cells = m.cell(m.outputs(&sentences));
        bent(m.expressed(cells, asked.clone(), sets.clone()))
    };
    let untrained = ["pe_embedding.", "pos_encoder."];
    slopes_agree(&model, &STATE0_NAMES, &untrained, loss, 1e-3, 2e-2);
}
