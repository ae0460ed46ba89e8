//! Tests of scclip.

use super::*;
use crate::init::{Init, initialise};
use crate::testing::slopes_agree;
use crate::weights::{self, host};
use burn::tensor::Device;
use sc_data::CsrMatrix;

fn config() -> ScClipConfig {
    let tower = |features| TowerConfig {
        features,
        patches: 4,
        width: 8,
        layers: 1,
        heads: 2,
        feed_forward: 12,
        dropout: 0.0,
        attention_dropout: 0.0,
        ..TowerConfig::default()
    };
    ScClipConfig {
        atac: tower(13),
        rna: tower(10),
        projection: 6,
        temperature: Temperature::Learned {
            log_scale: 2.659_2,
            largest: Some(100.0),
        },
        normalize: true,
    }
}

fn cells(features: usize, n: usize) -> CsrMatrix {
    let value = |i: usize| match (i * 7919) % 5 {
        k @ 0..2 => k as f32 + 0.5,
        _ => 0.0,
    };
    let dense: Vec<f32> = (0..n * features).map(value).collect();
    CsrMatrix::from_dense(features, &dense)
}

fn model(config: &ScClipConfig, device: &Device) -> ScClip {
    initialise(ScClip::new(config, device).unwrap(), 2, |path| {
        // Away from the symmetric start, where some gradients vanish.
        INIT(path).map(|_| Init::Normal(0.5))
    })
}

#[test]
fn gradients_agree_with_differences() {
    let device = Device::flex().autodiff();
    let (atac, rna) = (cells(13, 5), cells(10, 5));
    let loss = |m: &ScClip| {
        let a = m.embed(&atac, Modality::Atac);
        let r = m.embed(&rna, Modality::Rna);
        m.similarity(a, r).tanh().sum()
    };
    slopes_agree(&model(&config(), &device), &NAMES, &[], loss, 1e-3, 2e-2);
}

#[test]
fn a_cell_is_embedded_the_same_alone_and_among_others() {
    let device = Device::flex();
    let model = model(&config(), &device);
    let many = cells(10, 7);
    let all = host(model.embed(&many, Modality::Rna));
    let one = host(model.embed(&many.select_rows(&[3]), Modality::Rna));
    assert_eq!(one, all[18..24]);
}

#[test]
fn the_scale_is_fixed_learned_and_limited() {
    let device = Device::flex().autodiff();
    let scale = |temperature| {
        let model = model(
            &ScClipConfig {
                temperature,
                ..config()
            },
            &device,
        );
        let a = model.embed(&cells(13, 3), Modality::Atac);
        // Rows of length 1: the similarity of a row with itself is the scale.
        let s = host(model.similarity(a.clone(), a));
        let trained = weights::tensors(&model, &NAMES)["criterion.logit_scale"].clone();
        assert!(trained.shape.is_empty());
        s[0]
    };
    let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-3 * b, "{a} {b}");
    close(
        scale(Temperature::Fixed { log_scale: 1.0 }),
        std::f32::consts::E,
    );
    let learned = |log_scale, largest| Temperature::Learned { log_scale, largest };
    close(scale(learned(2.659_2, None)), 14.285);
    close(scale(learned(6.0, Some(100.0))), 100.0);
}

#[test]
fn what_cannot_be_built_is_refused() {
    let device = Device::flex();
    let mut wrong = config();
    wrong.atac.heads = 3;
    let error = ScClip::new(&wrong, &device).unwrap_err().to_string();
    assert!(error.contains("network.atac.width = 8"), "{error}");
    let mut wrong = config();
    wrong.rna.features = 0;
    assert!(ScClip::new(&wrong, &device).is_err());
}
