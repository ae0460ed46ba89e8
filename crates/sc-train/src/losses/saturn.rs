//! SATURN's two objectives: reconstruction with gene similarity, and triplets across species.
//!
//! Source: reference/saturn-uce-scprint-nicheformer.md A3.

pub mod mining;

use super::total;
use burn::tensor::{Int, Tensor, TensorData};
use mining::Kept;
use rayon::prelude::*;
use sc_data::CsrMatrix;
use sc_models::layers::zinb::zinb_nll;
use sc_models::saturn::Output;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Negative log-likelihood of every cell's counts, `[cells]`.
pub fn cell_nll(output: &Output, counts: &Arc<CsrMatrix>) -> Tensor<1> {
    zinb_nll(
        output.mean.clone(),
        output.dispersion.clone(),
        output.zero_logits.clone(),
        counts,
    )
}

/// KL divergence of the latent from the standard normal, summed over cells, a scalar;
/// `−½ Σ (1 + ln σ² − μ² − σ²)`. `None` where the latent has no variance.
pub fn divergence(output: &Output) -> Option<Tensor<1>> {
    let [mu, log_var] = output.moments.clone()?;
    let terms = log_var.clone() + 1.0 - mu.square() - log_var.exp();
    Some(total(terms) * -0.5)
}

/// The reconstruction of one species: `(Σ wᵢ nllᵢ + β D) / cells`.
///
/// # Shapes
/// - `nll`: `[cells]`, from [`cell_nll`]
/// - `weights`: one per cell, or none for 1
/// - `divergence`: with its weight β, from [`divergence`]
pub fn species_loss(
    nll: Tensor<1>,
    weights: Option<Vec<f32>>,
    divergence: Option<(Tensor<1>, f64)>,
) -> SpeciesLoss {
    let [cells] = nll.dims();
    let device = nll.device();
    let nll = match weights {
        Some(w) => nll * Tensor::<1>::from_data(TensorData::new(w, [cells]), &device),
        None => nll,
    };
    let reconstruction = nll.sum();
    let sum = match divergence {
        Some((divergence, weight)) => reconstruction.clone() + divergence * weight,
        None => reconstruction.clone(),
    };
    SpeciesLoss {
        reconstruction,
        total: sum / cells.max(1) as f64,
    }
}

/// Parts of [`species_loss`], scalars.
#[derive(Clone, Debug)]
pub struct SpeciesLoss {
    /// `Σ wᵢ nllᵢ`.
    pub reconstruction: Tensor<1>,
    /// What is minimised.
    pub total: Tensor<1>,
}

/// Sum of the absolute gene weights, a scalar.
pub fn lasso(gene_weights: Tensor<2>) -> Tensor<1> {
    total(gene_weights.abs())
}

/// Similarity of genes compared with that of their proteins:
/// `Σ_g (cos(H_g, H_o(g)) − cos(E_g, E_o(g)))²` for another gene `o(g)` of every gene.
///
/// # Shapes
/// - `genes` H: `[genes, d]`, from [`sc_models::saturn::Saturn::gene_embeddings`]
/// - `proteins`: `cos(E_g, E_o(g))` of every gene, from [`protein_similarity`]
/// - `others` o: one per gene
pub fn gene_ranking(genes: Tensor<2>, proteins: Vec<f32>, others: &[usize]) -> Tensor<1> {
    let n = others.len();
    let device = genes.device();
    let others = TensorData::new(others.iter().map(|&o| o as i64).collect::<Vec<_>>(), [n]);
    let others = Tensor::<1, Int>::from_data(others, &device);
    let own = cosine(genes.clone(), genes.select(0, others));
    let target = Tensor::<2>::from_data(TensorData::new(proteins, [n, 1]), &device);
    total((own - target).square())
}

/// Cosine of every gene's protein with that of its other gene; the table, `[genes, dim]` row-major,
/// stays on the host.
pub fn protein_similarity(table: &[f32], dim: usize, others: &[usize]) -> Vec<f32> {
    let row = |g: usize| &table[g * dim..(g + 1) * dim];
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let terms = a.iter().zip(b);
        terms.map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    others
        .par_iter()
        .enumerate()
        .map(|(g, &o)| {
            let (a, b) = (row(g), row(o));
            (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-8)) as f32
        })
        .collect()
}

/// Cosine of every pair of rows, `[rows, 1]`; the product of the norms is at least 1e-8.
fn cosine(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    let square = |x: &Tensor<2>| x.clone().square().sum_dim(1);
    let norms = (square(&a) * square(&b)).clamp_min(1e-16).sqrt();
    (a * b).sum_dim(1) / norms
}

/// Weight of every cell when rare labels count more: `min(L, 1/f)/L` for `L` labels and the share
/// `f` of the cell's label in `all`.
pub fn label_weights(all: &[u32], cells: &[u32]) -> Vec<f32> {
    let mut counts = BTreeMap::<u32, usize>::new();
    for label in all {
        *counts.entry(*label).or_default() += 1;
    }
    let labels = counts.len() as f64;
    let weight = |label: &u32| {
        let count = counts.get(label).copied().unwrap_or(1) as f64;
        ((all.len() as f64 / count).min(labels) / labels) as f32
    };
    cells.iter().map(weight).collect()
}

/// Weight of the divergence at `epoch`, counted from 0: rises from 0 to 1 in half a period, then
/// stays 1.
pub fn divergence_weight(epoch: u64, period: u64) -> f64 {
    let half = (period / 2).max(1);
    match epoch % period.max(1) {
        within if within < half => within as f64 / half as f64,
        _ => 1.0,
    }
}

/// Mean over the triplets kept of `relu(cos(a,n) − cos(a,p) + margin)`, those that are 0 left out.
///
/// The selection of triplets is fixed, so the loss is linear in the cosines: their coefficients are
/// counted on the host and the sum is one product, whatever the number of triplets.
///
/// # Shapes
/// - `embeddings`: `[cells, d]`, rows of length 1
/// - output: a scalar, 0 without triplets
pub fn triplet_loss(embeddings: Tensor<2>, kept: &Kept, margin: f64) -> Tensor<1> {
    let [cells, _] = embeddings.dims();
    let device = embeddings.device();
    let positive = kept.triplets.iter().zip(&kept.losses);
    let positive: Vec<_> = positive
        .filter(|(_, l)| **l > 0.0)
        .map(|(t, _)| t)
        .collect();
    if positive.is_empty() {
        return embeddings.sum() * 0.0;
    }
    let mut coefficients = vec![0f32; cells * cells];
    for [a, p, n] in &positive {
        coefficients[a * cells + n] += 1.0;
        coefficients[a * cells + p] -= 1.0;
    }
    let coefficients = TensorData::new(coefficients, [cells, cells]);
    let coefficients = Tensor::<2>::from_data(coefficients, &device);
    let cosines = embeddings.clone().matmul(embeddings.transpose());
    total(cosines * coefficients) / positive.len() as f64 + margin
}
