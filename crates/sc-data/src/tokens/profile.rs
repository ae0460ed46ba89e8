//! scHyena: the whole profile, every gene a token in a fixed order (reference A2).

use rand::seq::{SliceRandom as _, index};
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::rng::stream;

/// Transformation and masking of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileConfig {
    /// Counts per cell before `ln(1 + x)`.
    pub target: f64,
    /// Share of the expressed genes that is masked in training.
    pub mask: f64,
    /// Seed of a random gene order, as a control for the effect of the order.
    pub permute: Option<u64>,
}

impl Default for ProfileConfig {
    fn default() -> Self {
        Self {
            target: 1e4,
            mask: 0.15,
            permute: None,
        }
    }
}

/// The values of one cell `[genes]`: `ln(1 + target · count / total)`, 0 for genes without counts.
///
/// # Errors
/// [`DataError::Invalid`] when a gene is out of range of `order` or a count is negative or not
/// finite.
pub fn profile(genes: &[u32], counts: &[f32], target: f64, order: &[u32]) -> Result<Vec<f32>> {
    let mut values = vec![0.0; order.len()];
    let total: f64 = counts.iter().map(|&c| f64::from(c)).sum();
    for (&gene, &count) in genes.iter().zip(counts) {
        if !(count.is_finite() && count >= 0.0) {
            return Err(DataError::invalid(format!(
                "gene {gene}: {count} is not a valid expression value; it must be finite and not negative"
            )));
        }
        let slot = order
            .get(gene as usize)
            .and_then(|&at| values.get_mut(at as usize))
            .ok_or_else(|| {
                DataError::invalid(format!(
                    "gene {gene} is out of range for the {} genes of the model",
                    order.len()
                ))
            })?;
        if total > 0.0 {
            *slot = (f64::from(count) * target / total).ln_1p() as f32;
        }
    }
    Ok(values)
}

/// Position of every gene: its own, or with a seed a random one, the same for all cells.
pub fn order(genes: usize, permute: Option<u64>) -> Vec<u32> {
    let mut order: Vec<u32> = (0..genes as u32).collect();
    if let Some(seed) = permute {
        order.shuffle(&mut stream(seed, "gene-order", 0, 0));
    }
    order
}

/// Positions masked in `epoch`: the given share (rounded down) of the expressed ones, ascending.
pub fn masked(values: &[f32], share: f64, [seed, cell, epoch]: [u64; 3]) -> Vec<u32> {
    let shown: Vec<u32> = (0u32..)
        .zip(values)
        .filter(|(_, v)| **v != 0.0)
        .map(|(k, _)| k)
        .collect();
    let count = (share.clamp(0.0, 1.0) * shown.len() as f64) as usize;
    let mut rng = stream(seed, "profile-mask", cell, epoch);
    let chosen = index::sample(&mut rng, shown.len(), count);
    let mut out: Vec<u32> = chosen.iter().map(|k| shown[k]).collect();
    out.sort_unstable();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permuted_profile_holds_the_same_values() {
        let plain = profile(&[0, 3], &[1.0, 3.0], 4.0, &order(5, None)).unwrap();
        assert_eq!(plain, [2f32.ln(), 0.0, 0.0, 4f32.ln(), 0.0]);
        let places = order(5, Some(1));
        let moved = profile(&[0, 3], &[1.0, 3.0], 4.0, &places).unwrap();
        assert_eq!(moved[places[3] as usize], plain[3]);
        assert_eq!(moved.iter().filter(|v| **v == 0.0).count(), 3);
        assert_eq!(profile(&[], &[], 4.0, &order(2, None)).unwrap(), [0.0, 0.0]);
        assert!(profile(&[5], &[1.0], 4.0, &order(5, None)).is_err());
        assert!(profile(&[0], &[f32::NAN], 4.0, &order(5, None)).is_err());
    }

    #[test]
    fn only_values_are_masked_and_anew_in_every_epoch() {
        let values: Vec<f32> = (0..200).map(|k| (k % 2) as f32).collect();
        let first = masked(&values, 0.15, [1, 2, 0]);
        assert_eq!(first.len(), 15);
        assert!(first.iter().all(|k| k % 2 == 1));
        assert_ne!(first, masked(&values, 0.15, [1, 2, 1]));
        assert_eq!(first, masked(&values, 0.15, [1, 2, 0]));
    }
}
