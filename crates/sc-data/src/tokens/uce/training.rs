//! The training sampler of STATE's first commit, the only public one for UCE's objective
//! (reference B3): some expressed genes are masked, and the model predicts which genes are
//! expressed.

use rand::seq::index;
use serde::{Deserialize, Serialize};

use super::{
    Located, Sentence, UceConfig, arrange, below, draw, placed, shuffled_chromosomes, weights,
};
use crate::error::{DataError, Result};
use crate::rng::stream;

/// Numbers of masked genes and targets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Share of the expressed genes that is masked.
    pub hidden: f64,
    /// Expressed target genes.
    pub positives: usize,
    /// Unexpressed target genes.
    pub negatives: usize,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            hidden: 0.2,
            positives: 512,
            negatives: 512,
        }
    }
}

/// The draws for one cell; genes are indices in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrainingDraw {
    /// Expressed genes that are masked.
    pub hidden: Vec<u32>,
    /// Genes of the sentence, sampled from the others.
    pub sampled: Vec<u32>,
    /// Order of the chromosomes.
    pub chromosomes: Vec<u32>,
    /// With more masked genes than targets, the targets; with fewer, the additional targets
    /// (any expressed gene, masked ones included).
    pub positives: Vec<u32>,
    /// Unexpressed target genes.
    pub negatives: Vec<u32>,
}

/// A sentence and its target genes.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSentence {
    /// Probability of every expressed gene to be in the sentence, 0 for masked ones.
    pub weights: Vec<f64>,
    /// The sentence.
    pub sentence: Sentence,
    /// Tokens of the target genes, positives first.
    pub targets: Vec<u32>,
    /// Whether each is expressed.
    pub expressed: Vec<bool>,
}

impl TrainingDraw {
    /// Draws for one cell from the stream of `(seed, "uce-training", cell, epoch)`.
    ///
    /// # Errors
    /// [`DataError::Invalid`] for a cell without counts, or without a gene of count 0.
    pub fn new(
        config: &UceConfig,
        training: &TrainingConfig,
        located: &[Option<Located>],
        (genes, counts): (&[u32], &[f32]),
        [seed, cell, epoch]: [u64; 3],
    ) -> Result<Self> {
        let (kept, counts) = placed(located, genes, counts);
        let mut rng = stream(seed, "uce-training", cell, epoch);
        let n = kept.len();
        let hide = ((training.hidden * n as f64).round_ties_even() as usize).min(n);
        let mut is_hidden = vec![false; n];
        let chosen = index::sample(&mut rng, n, hide).into_vec();
        chosen.iter().for_each(|&k| is_hidden[k] = true);
        let hidden: Vec<u32> = chosen.iter().map(|&k| kept[k].0).collect();
        let weights = visible(&weights(&counts)?, |k| is_hidden[k])?;
        let drawn = draw(&weights, config.sample, &mut rng)?;
        let places: Vec<Located> = drawn.iter().map(|&k| kept[k].1).collect();
        let zero: Vec<u32> = (0u32..)
            .zip(located)
            .filter(|(j, place)| place.is_some() && kept.binary_search_by_key(j, |g| g.0).is_err())
            .map(|(j, _)| j)
            .collect();
        if zero.is_empty() && training.negatives > 0 {
            return Err(DataError::invalid(
                "every gene of the cell has counts, so there is no unexpressed target; add more genes \
                 to the vocabulary, or remove such cells",
            ));
        }
        let positives = match hidden.len().checked_sub(training.positives) {
            Some(0) => Vec::new(),
            Some(_) => {
                let some = index::sample(&mut rng, hidden.len(), training.positives);
                some.iter().map(|k| hidden[k]).collect()
            }
            None => (hidden.len()..training.positives)
                .map(|_| kept[below(n, &mut rng)].0)
                .collect(),
        };
        let negatives = if zero.len() >= training.negatives {
            let some = index::sample(&mut rng, zero.len(), training.negatives);
            some.iter().map(|k| zero[k]).collect()
        } else {
            (0..training.negatives)
                .map(|_| zero[below(zero.len(), &mut rng)])
                .collect()
        };
        Ok(Self {
            hidden,
            sampled: drawn.iter().map(|&k| kept[k].0).collect(),
            chromosomes: shuffled_chromosomes(&places, &mut rng),
            positives,
            negatives,
        })
    }
}

/// Builds the sentence and targets of a cell.
///
/// # Errors
/// As [`super::weights`] and [`super::arrange`]; [`DataError::Invalid`] when a sampled gene has no
/// genomic position or everything is masked.
pub fn training_sentence(
    config: &UceConfig,
    training: &TrainingConfig,
    located: &[Option<Located>],
    (genes, counts): (&[u32], &[f32]),
    draw: &TrainingDraw,
) -> Result<TrainingSentence> {
    let weights = visible(&weights(counts)?, |k| draw.hidden.contains(&genes[k]))?;
    let place = |j: &u32| {
        let found = located.get(*j as usize).copied().flatten();
        found.ok_or_else(|| DataError::invalid(format!("gene {j} has no position on a chromosome")))
    };
    let drawn: Vec<Located> = draw.sampled.iter().map(place).collect::<Result<_>>()?;
    let sentence = arrange(config, drawn, &draw.chromosomes)?;
    let mut asked = Vec::with_capacity(training.positives + draw.negatives.len());
    if draw.hidden.len() <= training.positives {
        asked.extend(&draw.hidden);
    }
    asked.extend(&draw.positives);
    let positives = asked.len();
    asked.extend(&draw.negatives);
    let targets = asked.iter().map(|j| place(j).map(|g| g.token));
    Ok(TrainingSentence {
        weights,
        sentence,
        targets: targets.collect::<Result<_>>()?,
        expressed: (0..asked.len()).map(|k| k < positives).collect(),
    })
}

/// Weights without the masked genes, normalised to sum to 1.
fn visible(weights: &[f64], hidden: impl Fn(usize) -> bool) -> Result<Vec<f64>> {
    let mut out = weights.to_vec();
    for (k, w) in out.iter_mut().enumerate() {
        if hidden(k) {
            *w = 0.0;
        }
    }
    let total: f64 = out.iter().sum();
    if total <= 0.0 {
        return Err(DataError::invalid(
            "every expressed gene of the cell is masked; lower `hidden`",
        ));
    }
    out.iter_mut().for_each(|w| *w /= total);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_genes_are_asked_for_and_not_shown() {
        let located: Vec<Option<Located>> = (0..40)
            .map(|k| {
                Some(Located {
                    token: 100 + k,
                    chromosome: k % 2,
                    start: u64::from(k),
                })
            })
            .collect();
        let config = UceConfig {
            sample: 12,
            length: 32,
            ..UceConfig::default()
        };
        let genes: Vec<u32> = (0..20).collect();
        let cell = (&genes[..], &[2.0f32; 20][..]);
        for positives in [2, 4, 9] {
            let training = TrainingConfig {
                positives,
                negatives: 30,
                ..Default::default()
            };
            let draw = TrainingDraw::new(&config, &training, &located, cell, [1, 2, 3]).unwrap();
            assert_eq!(draw.hidden.len(), 4);
            assert!(draw.sampled.iter().all(|g| !draw.hidden.contains(g)));
            let found = training_sentence(&config, &training, &located, cell, &draw).unwrap();
            assert_eq!(found.targets.len(), positives + 30);
            for (target, expressed) in found.targets.iter().zip(&found.expressed) {
                assert_eq!(*target < 120, *expressed);
            }
        }
        let all = TrainingConfig {
            hidden: 1.0,
            ..Default::default()
        };
        assert!(TrainingDraw::new(&config, &all, &located, cell, [1, 2, 3]).is_err());
    }
}
