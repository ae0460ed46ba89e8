//! UCE: genes sampled by expression and ordered along the chromosomes (reference B1).
//!
//! A sentence is `CLS`, then for every chromosome its token, the genes sampled from it by ascending
//! start, and a closing token; the chromosomes are in random order. A gene that is sampled twice
//! is in the sentence twice: its frequency is the only measure of expression.

use rand::RngExt as _;
use rand::distr::Distribution as _;
use rand::seq::SliceRandom as _;
use rand_distr::weighted::WeightedIndex;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::rng::stream;

mod table;
mod training;

pub use table::{ChromosomeRow, SpeciesTable, locate};
pub use training::{TrainingConfig, TrainingDraw, TrainingSentence, training_sentence};

/// Genomic position of a gene of the file, and its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// Token of the gene.
    pub token: u32,
    /// Code of its chromosome among all chromosomes of all species.
    pub chromosome: u32,
    /// Start of the gene on it.
    pub start: u64,
}

/// Sizes and special tokens of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UceConfig {
    /// Genes drawn from a cell.
    pub sample: usize,
    /// Tokens of a sentence, padding included.
    pub length: usize,
    /// Token of chromosome 0.
    pub chromosome_offset: u32,
    /// Token of padding.
    pub pad: u32,
    /// Token after the genes of a chromosome.
    pub close: u32,
    /// First token of a sentence.
    pub cls: u32,
}

impl Default for UceConfig {
    fn default() -> Self {
        Self {
            sample: 1024,
            length: 1536,
            chromosome_offset: 143_574,
            pad: 0,
            close: 2,
            cls: 3,
        }
    }
}

/// A sentence `[length]` and its number of tokens without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// Tokens, padded to the length of the configuration.
    pub tokens: Vec<u32>,
    /// Tokens before the padding.
    pub len: usize,
}

/// Probability of sampling each expressed gene: `ln(1 + count)` over their sum.
///
/// # Errors
/// [`DataError::Invalid`] for a cell without counts, from which nothing can be sampled.
pub fn weights(counts: &[f32]) -> Result<Vec<f64>> {
    let logs: Vec<f64> = counts.iter().map(|&c| f64::from(c).ln_1p()).collect();
    let total: f64 = logs.iter().sum();
    if !(total.is_finite() && total > 0.0) {
        return Err(DataError::invalid(
            "a cell without counts has no sentence; filter empty cells first",
        ));
    }
    Ok(logs.into_iter().map(|l| l / total).collect())
}

/// Arranges sampled genes; `chromosomes` gives the order of (at least) their chromosomes.
///
/// # Errors
/// [`DataError::Invalid`] when the sentence does not fit into `length`, which needs
/// `1 + 2 · chromosomes + genes` tokens, or a gene's chromosome is not in the order.
pub fn arrange(
    config: &UceConfig,
    drawn: impl IntoIterator<Item = Located>,
    chromosomes: &[u32],
) -> Result<Sentence> {
    let mut genes: Vec<Located> = drawn.into_iter().collect();
    // Stable: genes with equal start keep the order in which they were sampled.
    genes.sort_by_key(|g| (g.chromosome, g.start));
    let mut tokens = Vec::with_capacity(config.length);
    tokens.push(config.cls);
    let mut placed = 0;
    for &chromosome in chromosomes {
        let from = genes.partition_point(|g| g.chromosome < chromosome);
        let to = genes.partition_point(|g| g.chromosome <= chromosome);
        if from == to {
            continue;
        }
        placed += to - from;
        tokens.push(config.chromosome_offset + chromosome);
        tokens.extend(genes[from..to].iter().map(|g| g.token));
        tokens.push(config.close);
    }
    if placed != genes.len() {
        return Err(DataError::invalid(format!(
            "{} genes are on chromosomes that are not among the {} in the order",
            genes.len() - placed,
            chromosomes.len()
        )));
    }
    let len = tokens.len();
    if len > config.length {
        return Err(DataError::invalid(format!(
            "a sentence of {len} tokens ({} genes, plus two tokens per chromosome or scaffold) exceeds \
             the length of {}; lower `sample` or raise `length`",
            genes.len(),
            config.length
        )));
    }
    tokens.resize(config.length, config.pad);
    Ok(Sentence { tokens, len })
}

/// The sentence of one cell: `genes` and `counts` of its expressed genes, sampled from the stream
/// of `(seed, "uce", cell, epoch)`. Genes without a genomic position (`None`) are left out.
///
/// # Errors
/// As [`weights`] and [`arrange`].
pub fn sentence(
    config: &UceConfig,
    located: &[Option<Located>],
    (genes, counts): (&[u32], &[f32]),
    [seed, cell, epoch]: [u64; 3],
) -> Result<Sentence> {
    let (kept, counts) = placed(located, genes, counts);
    let weights = weights(&counts)?;
    let mut rng = stream(seed, "uce", cell, epoch);
    let drawn = draw(&weights, config.sample, &mut rng)?;
    let drawn: Vec<Located> = drawn.into_iter().map(|k| kept[k].1).collect();
    let order = shuffled_chromosomes(&drawn, &mut rng);
    arrange(config, drawn, &order)
}

/// Expressed genes with a genomic position, as (index in the file, position), and their counts.
fn placed(
    located: &[Option<Located>],
    genes: &[u32],
    counts: &[f32],
) -> (Vec<(u32, Located)>, Vec<f32>) {
    let place = |j: u32| located.get(j as usize).copied().flatten();
    let expressed = genes.iter().zip(counts).filter(|(_, c)| **c > 0.0);
    expressed
        .filter_map(|(&j, &c)| place(j).map(|g| ((j, g), c)))
        .unzip()
}

/// Indices sampled with replacement.
fn draw(weights: &[f64], n: usize, rng: &mut impl rand::Rng) -> Result<Vec<usize>> {
    let index = WeightedIndex::new(weights)
        .map_err(|e| DataError::invalid(format!("genes cannot be sampled: {e}")))?;
    Ok((0..n).map(|_| index.sample(rng)).collect())
}

fn shuffled_chromosomes(drawn: &[Located], rng: &mut impl rand::Rng) -> Vec<u32> {
    let mut order: Vec<u32> = drawn.iter().map(|g| g.chromosome).collect();
    order.sort_unstable();
    order.dedup();
    order.shuffle(rng);
    order
}

/// An index below `n`.
fn below(n: usize, rng: &mut impl rand::Rng) -> usize {
    rng.random_range(0..n.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn genome(n: u32) -> Vec<Option<Located>> {
        let gene = |k| Located {
            token: 4 + k,
            chromosome: k % 3,
            start: u64::from(k * 7919 % 101),
        };
        (0..n).map(|k| (k % 5 != 4).then(|| gene(k))).collect()
    }

    #[test]
    fn a_cell_without_counts_and_a_short_length_are_refused() {
        let config = UceConfig {
            sample: 8,
            length: 10,
            ..UceConfig::default()
        };
        assert!(sentence(&config, &genome(9), (&[], &[]), [1, 2, 3]).is_err());
        // Gene 4 has no genomic position, so the cell is empty for this model.
        assert!(sentence(&config, &genome(9), (&[4], &[3.0]), [1, 2, 3]).is_err());
        let error = sentence(&config, &genome(9), (&[0, 1, 2], &[3.0; 3]), [1, 2, 3]);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("exceeds the length of 10")
        );
    }

    proptest! {
        #[test]
        fn sentences_hold_drawn_genes_in_genomic_order(
            counts in prop::collection::vec(0u8..5, 40), cell in any::<u64>(),
        ) {
            let config = UceConfig { sample: 30, length: 64, ..UceConfig::default() };
            let (genes, values): (Vec<u32>, Vec<f32>) = counts.iter().zip(0u32..)
                .filter(|(c, _)| **c > 0).map(|(c, j)| (j, f32::from(*c))).unzip();
            let located = genome(40);
            prop_assume!(genes.iter().any(|j| located[*j as usize].is_some()));
            let found = sentence(&config, &located, (&genes, &values), [7, cell, 0]).unwrap();
            prop_assert_eq!(found.tokens.len(), 64);
            prop_assert_eq!(found.tokens[0], config.cls);
            prop_assert!(found.tokens[found.len..].iter().all(|t| *t == config.pad));
            let drawn: Vec<u32> = found.tokens[..found.len].iter().copied()
                .filter(|t| (4..44).contains(t)).collect();
            prop_assert_eq!(drawn.len(), 30);
            prop_assert!(drawn.iter().all(|t| genes.contains(&(t - 4))));
            let again = sentence(&config, &located, (&genes, &values), [7, cell, 0]).unwrap();
            prop_assert_eq!(found, again);
        }
    }
}
