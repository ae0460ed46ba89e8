//! Tests of losses saturn mining.

use super::*;
use crate::losses::saturn::triplet_loss;
use burn::tensor::{Device, Tensor, TensorData};
use sc_models::weights::host;

/// Unit vectors in the plane at these angles, in degrees.
fn circle(angles: &[f32]) -> Vec<f32> {
    let unit = |a: &f32| [a.to_radians().cos(), a.to_radians().sin()];
    angles.iter().flat_map(unit).collect()
}

#[test]
fn neighbours_count_when_their_own_nearest_has_the_label() {
    // Labels 0 and 1 of species 0, labels 2 and 3 of species 1, label 4 of species 2.
    let embeddings = circle(&[0.0, 10.0, 90.0, 100.0, 5.0, 95.0, 60.0, 200.0]);
    let labels = [0, 0, 1, 1, 2, 3, 3, 4];
    let species = [0, 0, 0, 0, 1, 1, 1, 2];
    let batch = Batch {
        embeddings: &embeddings,
        dims: 2,
        labels: &labels,
        species: &species,
    };
    let nearest = batch.nearest_across();
    assert_eq!(nearest.other[2], Some(5));
    assert_eq!(nearest.back[2], Some(2));
    // Cell 6 goes to cell 2, whose nearest of its species is cell 5, of the same label.
    assert_eq!(nearest.other[6], Some(2));
    assert!(batch.mutual(&nearest)[6]);
    let pools = batch.pools(&nearest, Neighbours::Mutual);
    assert_eq!(pools[0].cells, [0, 1, 4, 4]);
    let pairs = batch.candidate_pairs(&pools[0]);
    assert!(pairs.iter().all(|&[a, p]| species[a] != species[p]));
    assert_eq!(batch.negatives(0, 0, 2), [2, 3, 5, 6]);
    let drawn = batch.draw(&pools, 1, 2);
    assert_eq!(drawn, batch.draw(&pools, 1, 2));
    assert_ne!(drawn, batch.draw(&pools, 1, 3));
    for [a, p, n] in drawn {
        assert!(labels[n] != labels[a] && labels[n] != labels[p]);
        assert!(species[n] == species[a] || species[n] == species[p]);
    }
}

#[test]
fn one_species_or_one_label_makes_no_triplets() {
    let embeddings = circle(&[0.0, 10.0, 90.0]);
    for (labels, species) in [([0, 0, 1], [0, 0, 0]), ([0, 0, 0], [0, 1, 1])] {
        let batch = Batch {
            embeddings: &embeddings,
            dims: 2,
            labels: &labels,
            species: &species,
        };
        let pools = batch.pools(&batch.nearest_across(), Neighbours::Any);
        assert!(batch.draw(&pools, 1, 1).is_empty());
    }
}

#[test]
fn the_loss_is_the_mean_over_triplets_and_so_is_its_gradient() {
    let device = Device::flex().autodiff();
    let host_vectors = circle(&[0.0, 20.0, 22.0, 31.0, 90.0]);
    let x = TensorData::new(host_vectors.clone(), [5, 2]);
    let x = Tensor::<2>::from_data(x, &device).require_grad();
    let batch = Batch {
        embeddings: &host_vectors,
        dims: 2,
        labels: &[0, 0, 1, 1, 2],
        species: &[0, 1, 0, 1, 0],
    };
    let triplets = [[0, 1, 2], [0, 1, 3], [0, 1, 4], [1, 0, 2], [0, 1, 2]];
    let kept = batch.semihard(&triplets, 0.2);
    assert_eq!(kept.triplets, [[0, 1, 2], [0, 1, 3], [0, 1, 2]]);
    let loss = triplet_loss(x.clone(), &kept, 0.2);
    let mean = kept.losses.iter().sum::<f64>() / 3.0;
    assert!((f64::from(loss.clone().into_scalar::<f32>()) - mean).abs() < 1e-6);
    let exact = host(x.grad(&loss.backward()).unwrap());
    // By hand: a gets n − p, p gets −a, n gets a, a third each.
    let row = |i: usize, k: usize| host_vectors[2 * i + k];
    for k in 0..2 {
        let anchor = (2.0 * row(2, k) + row(3, k) - 3.0 * row(1, k)) / 3.0;
        assert!((exact[k] - anchor).abs() < 1e-6);
        assert!((exact[2 + k] + row(0, k)).abs() < 1e-6);
        assert!((exact[8 + k]).abs() < 1e-7);
    }
    let none = triplet_loss(x, &Kept::default(), 0.2);
    assert_eq!(none.into_scalar::<f32>(), 0.0);
}
