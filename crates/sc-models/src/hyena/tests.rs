//! Tests of hyena.

use super::*;
use crate::init::{Init, initialise};
use crate::testing::slopes_agree;
use crate::weights::{self, host};
use burn::tensor::{Device, Int, Tensor, TensorData};

fn input(shape: [usize; 3], device: &Device) -> Tensor<3> {
    let n = shape.iter().product::<usize>();
    let data: Vec<f32> = (0..n)
        .map(|i| ((i * 7919 + i * i) % 503) as f32 / 250.0 - 1.0)
        .collect();
    Tensor::from_data(TensorData::new(data, shape), device)
}

fn operator(config: &OperatorConfig, device: &Device) -> HyenaOperator {
    let model = HyenaOperator::new(config, device).unwrap();
    initialise(model, 3, |path| {
        (path.ends_with("weight") || path.ends_with("bias")).then_some(Init::Normal(0.4))
    })
}

fn small(direction: Direction) -> OperatorConfig {
    OperatorConfig {
        width: 6,
        length: 12,
        direction,
        filter: FilterConfig {
            width: 8,
            frequency: 2.0,
            ..FilterConfig::default()
        },
        ..OperatorConfig::default()
    }
}

#[test]
fn gradients_agree_with_differences_in_every_form() {
    let device = Device::flex().autodiff();
    let both = small(Direction::Both);
    let causal = small(Direction::Causal);
    let forms = [
        OperatorConfig {
            order: 3,
            ..both.clone()
        },
        OperatorConfig {
            order: 3,
            factors: true,
            activation: Activation::Silu,
            ..causal.clone()
        },
        OperatorConfig {
            blocks: 2,
            ..causal.clone()
        },
        OperatorConfig {
            filter: FilterConfig {
                normalized: true,
                shift: 0.05,
                decays: Training::Learned,
                ..causal.filter.clone()
            },
            ..causal
        },
        both,
    ];
    for config in forms {
        let u = input([2, 12, 6], &device);
        let model = operator(&config, &device);
        let loss = |m: &HyenaOperator| m.forward(u.clone()).tanh().sum();
        slopes_agree(
            &model,
            &NAMES,
            &["modulation.deltas", "pos_emb.t"],
            loss,
            1e-3,
            2e-2,
        );
    }
}

#[test]
fn a_causal_operator_looks_back_only_and_the_other_both_ways() {
    let device = Device::flex();
    for (direction, before) in [(Direction::Causal, false), (Direction::Both, true)] {
        let model = operator(&small(direction), &device);
        let u = input([1, 12, 6], &device);
        let plain = host(model.forward(u.clone()));
        let mut changed = host(u);
        changed[7 * 6 + 2] += 1.0;
        let changed = Tensor::<3>::from_data(TensorData::new(changed, [1, 12, 6]), &device);
        let moved = host(model.forward(changed));
        let far = |range: std::ops::Range<usize>| {
            range
                .into_iter()
                .any(|i| (plain[i] - moved[i]).abs() > 1e-4)
        };
        assert_eq!(far(0..6 * 6), before, "{direction:?}");
        assert!(far(8 * 6..12 * 6), "{direction:?}");
    }
}

#[test]
fn shorter_sequences_take_the_first_rows_of_the_filter_and_longer_ones_are_cut() {
    let device = Device::flex();
    for direction in [Direction::Causal, Direction::Both, Direction::CellPainTr] {
        let model = operator(&small(direction), &device);
        let long = model.forward(input([1, 15, 6], &device));
        assert_eq!(long.dims(), [1, 12, 6]);
        assert_eq!(model.forward(input([1, 5, 6], &device)).dims(), [1, 5, 6]);
        assert_eq!(model.forward(input([1, 1, 6], &device)).dims(), [1, 1, 6]);
    }
}

#[test]
fn what_cannot_be_built_is_refused() {
    let device = Device::flex();
    let fine = small(Direction::Both);
    let wrong = [
        OperatorConfig {
            order: 1,
            ..fine.clone()
        },
        OperatorConfig {
            length: 0,
            ..fine.clone()
        },
        OperatorConfig {
            blocks: 5,
            direction: Direction::Causal,
            ..fine.clone()
        },
        OperatorConfig {
            blocks: 2,
            ..fine.clone()
        },
        OperatorConfig {
            short_padding: Some(3),
            ..fine.clone()
        },
        OperatorConfig {
            filter: FilterConfig {
                features: 4,
                ..fine.filter.clone()
            },
            ..fine
        },
    ];
    for config in wrong {
        assert!(HyenaOperator::new(&config, &device).is_err(), "{config:?}");
    }
}

fn model(device: &Device) -> ScHyena {
    let config = ScHyenaConfig {
        genes: 9,
        width: 8,
        layers: 2,
        feed_forward: 16,
        embedding_dropout: 0.0,
        filter: FilterConfig {
            width: 8,
            frequency: 1.0,
            ..FilterConfig::default()
        },
        ..ScHyenaConfig::default()
    };
    initialise(ScHyena::new(&config, device).unwrap(), 1, |path| {
        INIT(path).map(|init| match init {
            Init::Normal(0.02) => Init::Normal(0.3),
            other => other,
        })
    })
}

fn profiles(cells: usize, device: &Device) -> Profiles {
    let ids: Vec<i64> = (0..10).collect();
    let values = input([cells, 9, 1], device).reshape([cells, 9]);
    let mask: Vec<f32> = (0..cells * 9)
        .map(|i| f32::from(u8::from(i % 4 == 1)))
        .collect();
    Profiles {
        genes: Tensor::<2, Int>::from_data(TensorData::new(ids, [1, 10]), device),
        values,
        mask: Some(Tensor::from_data(TensorData::new(mask, [cells, 9]), device)),
    }
}

#[test]
fn gradients_of_the_model_agree_with_differences() {
    let device = Device::flex().autodiff();
    let cells = profiles(2, &device);
    let loss = |m: &ScHyena| {
        let predicted = m.predict(&m.encode(&cells));
        (predicted - cells.values.clone()).square().mean()
    };
    slopes_agree(
        &model(&device),
        &NAMES,
        &["modulation.deltas", "pos_emb.t"],
        loss,
        3e-4,
        2e-2,
    );
}

#[test]
fn a_hidden_value_is_not_seen() {
    let device = Device::flex();
    let model = model(&device);
    let cells = profiles(1, &device);
    let plain = host(model.encode(&cells).tokens);
    let hidden = cells.mask.clone().unwrap();
    let other = Profiles {
        values: cells.values.clone() + hidden * 5.0,
        ..cells
    };
    assert_eq!(plain, host(model.encode(&other).tokens));
}

#[test]
fn a_shared_frequency_may_be_listed_often_but_not_with_other_values() {
    let device = Device::flex();
    let mut tensors = weights::tensors(&model(&device), &NAMES);
    let first = "backbone.layers.0.mixer.filter_fn.implicit_filter.1.freq";
    let mut copy = tensors[first].clone();
    let again = first.replace(".1.freq", ".3.freq");
    tensors.insert(again.clone(), copy.clone());
    assert!(weights::load(model(&device), tensors.clone(), &NAMES).is_ok());
    copy.data[0] += 1.0;
    tensors.insert(again, copy);
    let error = weights::load(model(&device), tensors, &NAMES).unwrap_err();
    assert!(error.to_string().contains("with other values"), "{error}");
}
