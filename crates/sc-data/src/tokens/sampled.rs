//! scPRINT: a fixed number of genes per cell, expressed ones first, and their genomic positions
//! (reference C1).

use rand::seq::index;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::rng::stream;

/// Genes closer together than this share a position, in bases.
pub const POSITION_TOLERANCE: u64 = 10_000;

/// Transformation of counts for the network's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalization {
    /// The share of the sampled genes' counts.
    #[default]
    Sum,
    /// `log2(1 + count)`.
    Log,
}

/// The sampled genes of one cell.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledGenes {
    /// Positions in the vocabulary, ascending.
    pub genes: Vec<u32>,
    /// Their counts, 0 for genes without counts that fill up the sample.
    pub counts: Vec<f32>,
    /// Sum of the counts of all genes: the sequencing depth, an input of the network.
    pub depth: f64,
}

/// Draws `length` of `vocabulary` genes for one cell, from the stream of `(seed, "scprint", cell,
/// epoch)`: of the expressed genes uniformly without replacement; where there are fewer, all of them
/// and random genes without counts.
///
/// # Errors
/// [`DataError::Invalid`] when the vocabulary has fewer than `length` genes, or a gene is out of
/// range.
pub fn sample(
    genes: &[u32],
    counts: &[f32],
    vocabulary: usize,
    length: usize,
    [seed, cell, epoch]: [u64; 3],
) -> Result<SampledGenes> {
    if length > vocabulary {
        return Err(DataError::invalid(format!(
            "{length} genes cannot be sampled from a vocabulary of {vocabulary}; lower `length`"
        )));
    }
    if let Some(bad) = genes.iter().find(|j| **j as usize >= vocabulary) {
        return Err(DataError::invalid(format!(
            "gene {bad} is out of range for a vocabulary of {vocabulary}"
        )));
    }
    let depth = counts.iter().map(|&c| f64::from(c)).sum();
    let mut rng = stream(seed, "scprint", cell, epoch);
    let mut shown: Vec<(u32, f32)> = if genes.len() > length {
        let chosen = index::sample(&mut rng, genes.len(), length);
        chosen.iter().map(|k| (genes[k], counts[k])).collect()
    } else {
        let mut shown: Vec<(u32, f32)> =
            genes.iter().copied().zip(counts.iter().copied()).collect();
        let silent = index::sample(&mut rng, vocabulary - genes.len(), length - genes.len());
        shown.extend(silent.iter().map(|k| (silent_gene(genes, k as u32), 0.0)));
        shown
    };
    shown.sort_unstable_by_key(|s| s.0);
    let (genes, counts) = shown.into_iter().unzip();
    Ok(SampledGenes {
        genes,
        counts,
        depth,
    })
}

/// The `k`-th gene that is not among the ascending `genes`.
fn silent_gene(genes: &[u32], k: u32) -> u32 {
    // Gene g has g − (expressed below g) unexpressed ones before it, which increases with g.
    let (mut low, mut high) = (0, genes.len());
    while low < high {
        let middle = (low + high) / 2;
        if genes[middle] - middle as u32 <= k {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    k + low as u32
}

/// The input values of a cell; all 0 for a cell without counts.
pub fn normalize(counts: &[f32], by: Normalization) -> Vec<f32> {
    match by {
        Normalization::Log => counts.iter().map(|c| (1.0 + c).log2()).collect(),
        Normalization::Sum => {
            let total: f64 = counts.iter().map(|&c| f64::from(c)).sum();
            let share = |c: &f32| {
                if total > 0.0 {
                    (f64::from(*c) / total) as f32
                } else {
                    0.0
                }
            };
            counts.iter().map(share).collect()
        }
    }
}

/// Position ids of genes given as (chromosome, start): counted along the genome, a new one where the
/// chromosome changes or the gap to the previous gene exceeds [`POSITION_TOLERANCE`].
pub fn positions(places: &[(String, u64)]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&a, &b| places[a].cmp(&places[b]));
    let mut out = vec![0; places.len()];
    let mut position = 0;
    for pair in order.windows(2) {
        let (before, now) = (&places[pair[0]], &places[pair[1]]);
        if before.0 != now.0 || now.1 - before.1 > POSITION_TOLERANCE {
            position += 1;
        }
        out[pair[1]] = position;
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn positions_step_at_gaps_and_chromosomes() {
        let place = |c: &str, s| (c.to_owned(), s);
        let places = [
            place("2", 5),
            place("1", 20_001),
            place("1", 0),
            place("1", 10_000),
        ];
        assert_eq!(positions(&places), [2, 1, 0, 0]);
        assert!(positions(&[]).is_empty());
    }

    #[test]
    fn values_are_shares_or_logarithms() {
        assert_eq!(
            normalize(&[1.0, 3.0, 0.0], Normalization::Sum),
            [0.25, 0.75, 0.0]
        );
        assert_eq!(
            normalize(&[1.0, 3.0, 0.0], Normalization::Log),
            [1.0, 2.0, 0.0]
        );
        assert_eq!(normalize(&[0.0], Normalization::Sum), [0.0]);
    }

    proptest! {
        #[test]
        fn expressed_genes_are_shown_before_silent_ones(
            genes in prop::collection::btree_set(0u32..60, 0..60), length in 0usize..=60,
            cell in any::<u64>(),
        ) {
            let genes: Vec<u32> = genes.into_iter().collect();
            let counts: Vec<f32> = genes.iter().map(|g| *g as f32 + 1.0).collect();
            let found = sample(&genes, &counts, 60, length, [3, cell, 1]).unwrap();
            prop_assert_eq!(found.genes.len(), length);
            prop_assert!(found.genes.windows(2).all(|w| w[0] < w[1]));
            let shown = found.counts.iter().filter(|c| **c > 0.0).count();
            prop_assert_eq!(shown, genes.len().min(length));
            for (gene, count) in found.genes.iter().zip(&found.counts) {
                let expected = genes.binary_search(gene).map_or(0.0, |k| counts[k]);
                prop_assert_eq!(*count, expected);
            }
            prop_assert_eq!(&found, &sample(&genes, &counts, 60, length, [3, cell, 1]).unwrap());
        }
    }
}
