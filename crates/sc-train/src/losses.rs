//! Loss terms of the published objectives, each with the reduction of the original.

pub mod cellplm;
pub mod contrastive;
pub mod expression;
pub mod saturn;
pub mod scprint;
pub mod supervised;
pub mod tokens;

use crate::inputs::corpus::CellBatch;
use crate::task::whole;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor};

/// Named loss terms and their weighted sum.
#[derive(Clone, Debug)]
pub struct Losses {
    /// What is minimised, a scalar.
    pub total: Tensor<1>,
    /// Its parts, unweighted, for the log.
    pub terms: Vec<(&'static str, Tensor<1>)>,
}

impl Losses {
    /// `start` plus every term times its weight; the log has the unweighted terms.
    pub fn weighted(start: Tensor<1>, terms: Vec<(&'static str, Tensor<1>, f64)>) -> Self {
        let total = terms
            .iter()
            .fold(start, |sum, (_, term, weight)| sum + term.clone() * *weight);
        Self {
            total,
            terms: terms.into_iter().map(|(n, t, _)| (n, t)).collect(),
        }
    }
}

/// The sum of all elements, bitwise independent of the number of threads.
///
/// Rows are summed first: a flat sum of a large tensor is split among threads.
pub fn total(x: Tensor<2>) -> Tensor<1> {
    x.sum_dim(1).sum()
}

/// Mean cross entropy of `logits` `[cells, classes]` against `labels` `[cells]`.
pub fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let [n, _] = logits.dims();
    let picked = log_softmax(logits, 1).gather(1, labels.reshape([n, 1]));
    picked.mean().neg()
}

/// The labelled cells of a minibatch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labelled {
    /// Their positions in the minibatch.
    pub places: Vec<i64>,
    /// Their labels.
    pub labels: Vec<i64>,
}

impl Labelled {
    /// Those of `cells`.
    pub fn of(cells: &CellBatch) -> Self {
        let (places, labels) = cells.labelled();
        Self { places, labels }
    }
}

/// Mean cross entropy of the labelled cells, from the logits `[cells, labels]` of all; without any the
/// loss is 0, which is not an error.
pub fn of_labels(logits: Tensor<2>, cells: Labelled, device: &Device) -> Losses {
    let zero = total(logits.clone()) * 0.0;
    let mut terms = Vec::new();
    if !cells.labels.is_empty() {
        let known = logits.select(0, whole(cells.places, device));
        let loss = cross_entropy(known, whole(cells.labels, device));
        terms.push(("cls", loss, 1.0));
    }
    Losses::weighted(zero, terms)
}
