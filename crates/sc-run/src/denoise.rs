//! How well a model denoises, beside what is simpler.
//!
//! A tenth of the molecules of every cell is set aside (molecular cross-validation); each method sees the
//! rest, and its expected counts are compared with what was set aside. Nothing here needs a truth without
//! noise.

use crate::error::{Result, RunError};
use ndarray::Array2;
use sc_data::preprocess::pca::pca;
use sc_data::preprocess::thin::{Part, Thinned};
use sc_data::{CsrMatrix, Dataset};
use sc_eval::neighbors::{Ties, knn};
use sc_models::device::Device;
use sc_train::embed::Embedder;
use serde::Serialize;
use std::sync::Arc;

/// Share of the molecules that a method sees.
const KEEP: f64 = 0.9;
/// Most cells that are scored.
const MOST_CELLS: usize = 3000;
/// Fewest cells that are scored.
const FEWEST: usize = 20;
/// Neighbours over which counts are averaged, the cell itself included.
const NEIGHBOURS: usize = 15;
/// Principal components in which neighbours are found.
const COMPONENTS: usize = 50;
/// Share of a cell's counts below which no expectation falls: a gene that was never seen may still be.
const FLOOR: f64 = 1e-7;

/// Scores of one method.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// The method.
    pub name: String,
    /// Poisson deviance of what was set aside, mean per cell; lower is better.
    pub deviance: f64,
    /// Correlation with what was set aside, over cells, mean of the genes that vary there.
    pub correlation: f64,
}

/// Scores of a model and of what is simpler.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// The model first.
    pub scores: Vec<Score>,
    /// Cells that were scored.
    pub cells: usize,
    /// Genes that were scored: those of the model that the file has.
    pub genes: usize,
}

impl Scores {
    /// The simplest method with a lower deviance than the model, where there is one.
    pub fn better(&self) -> Option<&Score> {
        let (own, others) = self.scores.split_first()?;
        let below = others.iter().filter(|s| s.deviance < own.deviance);
        below.min_by(|a, b| a.deviance.total_cmp(&b.deviance))
    }
}

/// Scores the model of `embedder` on cells of `dataset`.
///
/// # Errors
/// [`crate::RunError`] for values that are no counts, a model without a decoder, and what cannot be read.
pub fn score(
    embedder: Embedder<'_>,
    dataset: &Dataset,
    seed: u64,
    device: &Device,
) -> Result<Scores> {
    let step = dataset.cells().div_ceil(MOST_CELLS).max(1);
    let rows: Vec<usize> = (0..dataset.cells()).step_by(step).collect();
    if rows.len() < FEWEST {
        return Err(RunError::settings(
            dataset.path().display().to_string(),
            format!(
                "has {} cells; scoring needs {FEWEST}, for neighbours and correlations",
                rows.len()
            ),
        ));
    }
    let part = |part| -> Result<Arc<Thinned>> {
        let counts = dataset.counts().clone();
        Ok(Arc::new(Thinned::new(counts, KEEP, seed, part)?))
    };
    let name = embedder.model.spec.architecture.clone();
    let matched = embedder.corpus.genes.clone();
    let genes = embedder.model.data.genes.len();
    let read = |part: &Thinned| matched.apply_matrix(&sc_data::Counts::read(part, &rows)?);
    let (kept, rest) = (part(Part::Kept)?, part(Part::Rest)?);
    let (seen, truth) = (read(&kept)?, read(&rest)?);
    let has = has(&matched.map, genes);
    let mut expected = Array2::<f32>::zeros((rows.len(), genes));
    let mut embedder = embedder.on(kept, rows.clone());
    embedder.expected_counts(device, &mut |read, values| {
        for (row, cell) in read.iter().zip(values.chunks_exact(genes)) {
            let at = rows
                .binary_search(row)
                .expect("invariant: it is one of them");
            expected
                .row_mut(at)
                .iter_mut()
                .zip(cell)
                .for_each(|(e, v)| *e = *v);
        }
        Ok(())
    })?;
    let judge = |name: &str, expected: &Array2<f32>| judge(name, expected, &truth, &has);
    let mut scores = vec![judge(&name, &expected)];
    scores.push(judge("mean of each gene", &gene_means(&seen)));
    scores.push(judge("mean of 15 neighbours", &smoothed(&seen)?));
    scores.push(judge("the counts themselves", &dense(&seen)));
    Ok(Scores {
        scores,
        cells: rows.len(),
        genes: has.iter().filter(|h| **h).count(),
    })
}

fn has(map: &[Option<u32>], genes: usize) -> Vec<bool> {
    let mut has = vec![false; genes];
    map.iter().flatten().for_each(|&g| has[g as usize] = true);
    has
}

fn dense(counts: &CsrMatrix) -> Array2<f32> {
    let mut out = Array2::zeros((counts.rows(), counts.cols()));
    for (row, (genes, values)) in counts.iter_rows().enumerate() {
        for (&gene, &value) in genes.iter().zip(values) {
            out[[row, gene as usize]] = value;
        }
    }
    out
}

/// The share of each gene in all counts, times the counts of the cell.
fn gene_means(counts: &CsrMatrix) -> Array2<f32> {
    let mut shares = vec![0f64; counts.cols()];
    for (genes, values) in counts.iter_rows() {
        let pairs = genes.iter().zip(values);
        pairs.for_each(|(&g, &v)| shares[g as usize] += f64::from(v));
    }
    let all: f64 = shares.iter().sum::<f64>().max(1.0);
    let totals = counts.row_sums();
    Array2::from_shape_fn((counts.rows(), counts.cols()), |(cell, gene)| {
        (shares[gene] / all * totals[cell]) as f32
    })
}

/// The summed counts of the nearest cells, at the depth of the cell.
fn smoothed(counts: &CsrMatrix) -> Result<Array2<f32>> {
    let logged = sc_data::counts::log_normalize(counts.clone(), 1e4);
    let most = counts.rows().min(counts.cols()).saturating_sub(1);
    let components = pca(&logged, COMPONENTS.min(most))?;
    let near = knn(
        components.transform(&logged)?.view(),
        NEIGHBOURS,
        Ties::Index,
    )?;
    let totals = counts.row_sums();
    let mut out = Array2::<f32>::zeros((counts.rows(), counts.cols()));
    for (cell, mut row) in out.outer_iter_mut().enumerate() {
        let mut all = 0.0;
        for &other in near.indices.row(cell) {
            let (genes, values) = counts.row(other as usize);
            for (&gene, &value) in genes.iter().zip(values) {
                row[gene as usize] += value;
                all += f64::from(value);
            }
        }
        let factor = if all > 0.0 { totals[cell] / all } else { 0.0 };
        row.mapv_inplace(|v| (f64::from(v) * factor) as f32);
    }
    Ok(out)
}

/// Scores `expected` counts, at the depth of what was seen, on what was set aside.
fn judge(name: &str, expected: &Array2<f32>, truth: &CsrMatrix, has: &[bool]) -> Score {
    let factor = (1.0 - KEEP) / KEEP;
    let truth = dense(truth);
    let (cells, genes) = truth.dim();
    let mut deviance = 0.0;
    for (expected, truth) in expected.outer_iter().zip(truth.outer_iter()) {
        let total: f64 = expected.iter().map(|v| f64::from(*v)).sum();
        for ((&e, &t), _) in expected.iter().zip(truth).zip(has).filter(|(_, h)| **h) {
            let rate = (f64::from(e).max(total * FLOOR) * factor).max(f64::MIN_POSITIVE);
            let t = f64::from(t);
            let log = if t > 0.0 { t * (t / rate).ln() } else { 0.0 };
            deviance += 2.0 * (log - (t - rate));
        }
    }
    let (mut sum, mut varying) = (0.0, 0u32);
    for gene in (0..genes).filter(|&g| has[g]) {
        let pairs = expected.column(gene).into_iter().zip(truth.column(gene));
        if let Some(r) = pearson(pairs.map(|(e, t)| (f64::from(*e), f64::from(*t)))) {
            sum += r;
            varying += 1;
        }
    }
    Score {
        name: name.to_owned(),
        deviance: deviance / cells.max(1) as f64,
        correlation: sum / f64::from(varying.max(1)),
    }
}

/// Pearson's correlation; 0 for a constant first, `None` for a constant second.
fn pearson(pairs: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let pairs: Vec<(f64, f64)> = pairs.collect();
    let n = pairs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / n;
    let (a, b) = (mean(|p| p.0), mean(|p| p.1));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in &pairs {
        ab += (x - a) * (y - b);
        aa += (x - a) * (x - a);
        bb += (y - b) * (y - b);
    }
    if bb <= 0.0 {
        return None;
    }
    Some(if aa > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_truth_scores_best_and_a_copy_gains_nothing() {
        // Two kinds of cells, each with its own rates.
        let rate = |cell: usize, gene: usize| {
            if (cell + gene).is_multiple_of(2) {
                30.0
            } else {
                3.0
            }
        };
        let draw = |cell: usize, gene: usize| {
            use rand::RngExt as _;
            let mut rng = sc_data::rng::stream(7, "cell", cell as u64, gene as u64);
            let noise: f64 = (0..6).map(|_| rng.random::<f64>() - 0.5).sum();
            (rate(cell, gene) + noise * f64::sqrt(2.0 * rate(cell, gene)))
                .round()
                .max(0.0) as f32
        };
        let (cells, genes) = (80, 6);
        let all: Vec<f32> = (0..cells * genes)
            .map(|k| draw(k / genes, k % genes))
            .collect();
        let counts = sc_data::RawCounts::new(CsrMatrix::from_dense(genes, &all)).unwrap();
        let counts: Arc<dyn sc_data::Counts> = Arc::new(counts);
        let rows: Vec<usize> = (0..cells).collect();
        let part = |part| {
            let thinned = Thinned::new(counts.clone(), KEEP, 1, part).unwrap();
            sc_data::Counts::read(&thinned, &rows).unwrap()
        };
        let (seen, truth) = (part(Part::Kept), part(Part::Rest));
        let judged = |expected: &Array2<f32>| judge("", expected, &truth, &[true; 6]).deviance;
        let rates = Array2::from_shape_fn((cells, genes), |(c, g)| (KEEP * rate(c, g)) as f32);
        let [truth, near, copy, mean] = [
            judged(&rates),
            judged(&smoothed(&seen).unwrap()),
            judged(&dense(&seen)),
            judged(&gene_means(&seen)),
        ];
        assert!(
            truth < near && near < copy && copy < mean,
            "{truth} {near} {copy} {mean}"
        );
    }
}
