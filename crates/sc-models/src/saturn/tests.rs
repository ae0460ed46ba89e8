//! Tests of saturn.

use super::*;
use crate::init::initialise;
use crate::testing::slopes_agree;
use crate::weights::{self, host};
use burn::tensor::{Device, Tensor, TensorData};
use sc_data::CsrMatrix;
use std::sync::Arc;

fn config(latent: Latent) -> SaturnConfig {
    let species = [("frog", 7), ("zebrafish", 5)];
    SaturnConfig {
        species: species
            .map(|(name, genes)| Species {
                name: name.into(),
                genes,
            })
            .to_vec(),
        macrogenes: 6,
        hidden: 8,
        embedding: 4,
        latent,
        dropout: 0.0,
        scale_dropout: 0.0,
        ..SaturnConfig::default()
    }
}

fn model(config: &SaturnConfig, device: &Device) -> Saturn {
    let model = initialise(Saturn::new(config, device).unwrap(), 3, INIT);
    let weights = (0..config.macrogenes * config.genes())
        .map(|i| -0.2 * (i % 11) as f32)
        .collect();
    model.with_macrogenes(weights).unwrap()
}

fn cells(species: usize, genes: usize, noise: Option<Tensor<2>>) -> Cells {
    let counts: Vec<f32> = (0..3 * genes).map(|i| ((i * 7) % 4) as f32).collect();
    Cells {
        species,
        counts: Arc::new(CsrMatrix::from_dense(genes, &counts)),
        batches: vec![0; 3],
        keep: None,
        noise,
    }
}

#[test]
fn gradients_agree_with_differences() {
    let device = Device::flex().autodiff();
    for latent in [Latent::Point, Latent::Normal] {
        let config = config(latent);
        let noise = Tensor::<2>::from_data(
            TensorData::new((0..12).map(|i| 0.1 * i as f32 - 0.5).collect(), [3, 4]),
            &device,
        );
        let loss = |model: &Saturn| {
            let weights = model.gene_weights();
            let mut sum = model.gene_embeddings(weights.clone()).square().mean();
            for (species, genes) in [(0, 7), (1, 5)] {
                let cells = cells(species, genes, Some(noise.clone()));
                let out = model.forward(&weights, &cells).unwrap();
                let dispersion = out.dispersion.log().square().mean();
                sum = sum + out.mean.square().mean() + dispersion + out.zero_logits.square().mean();
                if let Some([mu, log_var]) = out.moments {
                    sum = sum + (mu * log_var).mean();
                }
            }
            sum
        };
        slopes_agree(&model(&config, &device), &NAMES, &[], loss, 1e-3, 0.02);
    }
}

#[test]
fn means_sum_to_the_cells_totals_and_a_cell_does_not_depend_on_others() {
    let device = Device::flex();
    let config = config(Latent::Point);
    let model = model(&config, &device);
    let weights = model.gene_weights();
    let all = cells(0, 7, None);
    let out = model.forward(&weights, &all).unwrap();
    for (row, total) in host(out.mean).chunks(7).zip(all.counts.row_sums()) {
        assert!((f64::from(row.iter().sum::<f32>()) - total).abs() < 1e-4);
    }
    let embedded = host(model.embed(&weights, &all));
    let one = Cells {
        counts: Arc::new(all.counts.select_rows(&[1])),
        ..all
    };
    assert_eq!(host(model.embed(&weights, &one)), embedded[4..8]);
    let metric = SaturnMetric::of(&model);
    let macrogenes = model.macrogenes(&weights, &one);
    assert_eq!(host(metric.forward(macrogenes)), embedded[4..8]);
}

#[test]
fn what_cannot_be_is_refused_and_names_are_the_published_ones() {
    let device = Device::flex();
    let good = config(Latent::Normal);
    let names = weights::tensors(&Saturn::new(&good, &device).unwrap(), &NAMES);
    for name in ["px_rs.frog", "px_dropout_decoders.zebrafish.0.weight"] {
        assert!(names.contains_key(name), "{name}");
    }
    assert!(names.contains_key("encoder.0.1.weight") && names.contains_key("fc_var.bias"));
    for (change, says) in [
        (
            (|c| c.species[1].name = "frog".into()) as fn(&mut SaturnConfig),
            "twice",
        ),
        (|c| c.species[0].name = "a.b".into(), "dot"),
        (|c| c.species[0].genes = 0, "no genes"),
        (|c| c.macrogenes = 0, "macrogenes = 0"),
        (|c| c.dropout = 1.0, "dropout = 1"),
    ] {
        let mut bad = good.clone();
        change(&mut bad);
        let error = Saturn::new(&bad, &device).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let model = Saturn::new(&good, &device).unwrap();
    assert!(model.clone().with_macrogenes(vec![0.0]).is_err());
    let weights = model.gene_weights();
    assert!(model.forward(&weights, &cells(2, 5, None)).is_err());
}
