//! Loss terms of the published objectives, each with the reduction of the original.

pub mod cellplm;
pub mod contrastive;
pub mod expression;
pub mod saturn;
pub mod scprint;
pub mod supervised;
pub mod tokens;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};

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
