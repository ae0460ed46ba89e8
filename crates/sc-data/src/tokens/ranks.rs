//! Nicheformer: genes ranked by expression over a technology's mean (reference D1).

use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};

/// Token of the first gene; lower ones are for context, masks and padding.
pub const FIRST_GENE: u32 = 30;
/// Padding token.
pub const PAD: u32 = 1;

/// Use of the technology mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeanMode {
    /// As when the corpus was built: unmeasured genes 0, rounded half up, 0 becomes 1. The
    /// published weights were trained with it.
    #[default]
    Corpus,
    /// As in the released loader: the unmodified mean. A gene never measured by the technology has
    /// mean NaN, and *every* such gene is appended to the sequence, expressed or not.
    Released,
    /// No mean: ranked by counts.
    None,
}

/// Sizes of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankConfig {
    /// Maximum number of gene tokens.
    pub length: usize,
    /// Tokens of the network's input, context included.
    pub context_length: usize,
    /// Use of the technology mean.
    pub mean: MeanMode,
}

impl Default for RankConfig {
    fn default() -> Self {
        Self {
            length: 4096,
            context_length: 1500,
            mean: MeanMode::Corpus,
        }
    }
}

/// The means `[genes]` in `mode`; `mean` is NaN where a gene was never measured.
pub fn means(mean: &[f32], mode: MeanMode) -> Vec<f32> {
    let clean = |m: f32| {
        let m = if m.is_nan() { 0.0 } else { m };
        match (m + 0.5).floor() {
            0.0 => 1.0,
            rounded => rounded,
        }
    };
    match mode {
        MeanMode::Corpus => mean.iter().map(|&m| clean(m)).collect(),
        MeanMode::Released => {
            let one = |m: &f32| if *m == 0.0 { 1.0 } else { *m };
            mean.iter().map(one).collect()
        }
        MeanMode::None => vec![1.0; mean.len()],
    }
}

/// Gene tokens of one cell, by descending ratio of count to mean, at most `length`; `means` is the
/// result of [`means`].
///
/// Scaling a cell does not change its ranks, so none is done: the ratio of two stored numbers is
/// exact enough to detect all ties. Ties keep the order of the genes. NaN counts are 0.
///
/// # Errors
/// [`DataError::Invalid`] when a gene is out of range of `means`, or a count is negative or
/// infinite.
pub fn rank(genes: &[u32], counts: &[f32], means: &[f32], length: usize) -> Result<Vec<u32>> {
    let mut ratios: Vec<(u32, f64)> = Vec::with_capacity(genes.len());
    for (&gene, &count) in genes.iter().zip(counts) {
        let Some(&mean) = means.get(gene as usize) else {
            return Err(DataError::invalid(format!(
                "gene {gene} is out of range for the {} technology means; the means belong to another \
                 vocabulary",
                means.len()
            )));
        };
        if count < 0.0 || count.is_infinite() {
            return Err(DataError::invalid(format!(
                "gene {gene}: {count} cannot be ranked; expression must be finite and not negative"
            )));
        }
        if count > 0.0 && !mean.is_nan() {
            ratios.push((gene, f64::from(count) / f64::from(mean)));
        }
    }
    // Stable, and genes ascend: ties keep their order.
    ratios.sort_by(|a, b| b.1.total_cmp(&a.1));
    let unmeasured = (0u32..).zip(means).filter(|(_, m)| m.is_nan());
    let ranked = ratios.iter().map(|r| r.0).chain(unmeasured.map(|u| u.0));
    Ok(ranked.take(length).map(|g| g + FIRST_GENE).collect())
}

/// The network's input `[context_length]`: `[species, assay, modality, genes…]`, padded with
/// [`PAD`], and whether each token is padding.
pub fn input_ids(context: [u32; 3], genes: &[u32], context_length: usize) -> (Vec<u32>, Vec<bool>) {
    let mut ids: Vec<u32> = context.into_iter().chain(genes.iter().copied()).collect();
    ids.resize(context_length, PAD);
    let padding = ids.iter().map(|&t| t == PAD).collect();
    (ids, padding)
}

/// Mask token.
pub const MASK: u32 = 0;
/// "Dissociated": never masked, because the published code takes it for its `CLS`.
const DISSOCIATED: u32 = 3;

/// The draws of the masking, one of each per position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskDraws {
    /// Whether the position is a target.
    pub select: Vec<bool>,
    /// Whether it is replaced by a random token.
    pub random: Vec<bool>,
    /// The random token.
    pub token: Vec<u32>,
    /// Whether it is kept, if it was not replaced.
    pub same: Vec<bool>,
}

impl MaskDraws {
    /// Draws for `length` positions: `share` of them selected, a tenth of these replaced by tokens of
    /// `FIRST..tokens`, a tenth of the rest kept.
    pub fn draw(length: usize, share: f64, tokens: u32, [seed, cell, epoch]: [u64; 3]) -> Self {
        /// Context tokens of the assay may be drawn too, as published.
        const FIRST: u32 = 10;
        let mut rng = crate::rng::stream(seed, "mask", cell, epoch);
        let mut draws = Self::default();
        for _ in 0..length {
            draws.select.push(rng.random::<f64>() < share);
            draws.random.push(rng.random::<f64>() < 0.1);
            draws
                .token
                .push(rng.random_range(FIRST..tokens.max(FIRST + 1)));
            draws.same.push(rng.random::<f64>() < 0.1);
        }
        draws
    }
}

/// Masks tokens: returns the input of the network, and which positions are targets (reference D3).
pub fn mask(ids: &[u32], draws: &MaskDraws) -> (Vec<u32>, Vec<bool>) {
    let asked: Vec<bool> = ids
        .iter()
        .zip(&draws.select)
        .map(|(&id, &s)| s && id != PAD && id != DISSOCIATED)
        .collect();
    let hide = |(i, &id): (usize, &u32)| match (asked[i], draws.random[i], draws.same[i]) {
        (false, ..) => id,
        (true, true, _) => draws.token[i],
        (true, false, true) => id,
        (true, false, false) => MASK,
    };
    (ids.iter().enumerate().map(hide).collect(), asked)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unmeasured_genes_fill_the_sequence_only_as_released() {
        let mean = [f32::NAN, 2.0, 0.4, -3.0, 0.0];
        let genes = [1, 2, 3, 4];
        let counts = [4.0, 2.0, 9.0, 2.0];
        let tokens = |mode| rank(&genes, &counts, &means(&mean, mode), 10).unwrap();
        assert_eq!(means(&mean, MeanMode::Corpus), [1.0, 2.0, 1.0, -3.0, 1.0]);
        assert_eq!(tokens(MeanMode::Corpus), [31, 32, 34, 33]);
        assert_eq!(tokens(MeanMode::Released), [32, 31, 34, 33, 30]);
        assert_eq!(tokens(MeanMode::None), [33, 31, 32, 34]);
        assert!(rank(&[9], &[1.0], &mean, 10).is_err());
        assert!(rank(&[1], &[-1.0], &mean, 10).is_err());
    }

    #[test]
    fn context_comes_first_and_padding_last() {
        let (ids, padding) = input_ids([5, 9, 4], &[31, 32], 7);
        assert_eq!(ids, [5, 9, 4, 31, 32, 1, 1]);
        assert_eq!(padding.iter().filter(|p| **p).count(), 2);
        assert_eq!(input_ids([5, 9, 4], &[31, 32], 4).0, [5, 9, 4, 31]);
    }

    #[test]
    fn a_share_of_the_tokens_is_hidden_and_never_padding() {
        let ids: Vec<u32> = (0..5000).map(|i| [3, 1, 40, 41][i % 4]).collect();
        let draws = MaskDraws::draw(ids.len(), 0.15, 60, [1, 2, 3]);
        let (shown, asked) = mask(&ids, &draws);
        let share = asked.iter().filter(|a| **a).count() as f64 / 2500.0;
        assert!((share - 0.15).abs() < 0.03, "{share}");
        let masked = shown.iter().filter(|t| **t == MASK).count() as f64;
        assert!((masked / (2500.0 * share) - 0.81).abs() < 0.05, "{masked}");
        for ((&id, &t), &a) in ids.iter().zip(&shown).zip(&asked) {
            assert!(a || id == t);
            assert!(!a || id > 3);
        }
    }

    proptest! {
        #[test]
        fn scaling_a_cell_does_not_change_its_tokens(
            counts in prop::collection::vec(1u16..50, 1..40), factor in 1u16..9,
        ) {
            let genes: Vec<u32> = (0..counts.len() as u32).collect();
            let means: Vec<f32> = genes.iter().map(|g| (g % 4 + 1) as f32).collect();
            let values = |f: u16| counts.iter().map(|c| f32::from(c * f)).collect::<Vec<_>>();
            prop_assert_eq!(
                rank(&genes, &values(1), &means, 30).unwrap(),
                rank(&genes, &values(factor), &means, 30).unwrap()
            );
        }
    }
}
