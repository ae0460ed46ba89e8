//! Probabilities that mean what they say, and from which one on a cell has a label.

use ndarray::{Array2, ArrayView1};
use serde::{Deserialize, Serialize};

/// Share of the rightly labelled validation cells that keep their label.
pub const KEPT: f64 = 0.95;

/// How logits become probabilities and labels; found on cells that no step of training saw.
///
/// One temperature divides all logits (Guo et al. 2017); the threshold is the split-conformal quantile of
/// the probabilities of rightly labelled cells: of such cells, drawn like those of validation, at most
/// 1 − [`KEPT`] are called unknown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Divides the logits.
    pub temperature: f64,
    /// Least probability of a label that is given.
    pub threshold: f64,
    /// Validation cells with a label.
    pub cells: usize,
    /// Share of them whose most probable label is right.
    pub accuracy: f64,
}

impl Default for Calibration {
    /// Logits as they are, and a label for every cell.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            threshold: 0.0,
            cells: 0,
            accuracy: 0.0,
        }
    }
}

impl Calibration {
    /// From the `logits` `[cells, labels]` of cells and their true labels; `None` without cells.
    pub fn fit(logits: &Array2<f32>, labels: &[u32]) -> Option<Self> {
        if labels.is_empty() {
            return None;
        }
        let mut out = Self {
            temperature: 1.0 / sharpness(logits, labels),
            cells: labels.len(),
            ..Self::default()
        };
        let found = logits.outer_iter().zip(labels);
        let right = found.filter_map(|(row, label)| {
            let (best, probability) = out.best(row);
            (best == *label).then_some(f64::from(probability))
        });
        let mut right: Vec<f64> = right.collect();
        right.sort_by(f64::total_cmp);
        out.accuracy = right.len() as f64 / labels.len() as f64;
        // The k-th smallest of n leaves at most k / (n + 1) of new ones below it; with too few cells
        // nothing can be said, and every cell gets its label.
        let k = ((1.0 - KEPT) * (right.len() as f64 + 1.0)).floor() as usize;
        out.threshold = match k.checked_sub(1) {
            Some(k) => right[k],
            None => 0.0,
        };
        Some(out)
    }

    /// Checks the values.
    ///
    /// # Errors
    /// The first that is out of its range, in words.
    pub fn check(&self) -> Result<(), String> {
        match (self.temperature, self.threshold) {
            (t, _) if !(t > 0.0 && t.is_finite()) => Err(format!(
                "temperature = {t}; must be above 0; fine-tune again"
            )),
            (_, p) if !(0.0..=1.0).contains(&p) => Err(format!(
                "threshold = {p}; must lie between 0 and 1; fine-tune again"
            )),
            _ => Ok(()),
        }
    }

    /// The most probable label of a cell, and its probability.
    pub fn best(&self, logits: ArrayView1<'_, f32>) -> (u32, f32) {
        let scaled = |z: f32| f64::from(z) / self.temperature;
        let (mut best, mut highest) = (0, f64::NEG_INFINITY);
        for (label, &z) in logits.iter().enumerate() {
            // The first of equals.
            if scaled(z) > highest {
                (best, highest) = (label as u32, scaled(z));
            }
        }
        let sum: f64 = logits.iter().map(|&z| (scaled(z) - highest).exp()).sum();
        (best, (1.0 / sum) as f32)
    }
}

/// The factor of the logits with the largest likelihood of the labels: its logarithm is concave, so the
/// root of the derivative is found by bisection.
fn sharpness(logits: &Array2<f32>, labels: &[u32]) -> f64 {
    let slope = |factor: f64| -> f64 {
        let cells = logits.outer_iter().zip(labels);
        let of = cells.map(|(row, &label)| {
            let top = row.iter().fold(f32::NEG_INFINITY, |m, z| m.max(*z));
            let (mut sum, mut mean) = (0.0, 0.0);
            for &z in row {
                let z = f64::from(z - top);
                let weight = (factor * z).exp();
                sum += weight;
                mean += weight * z;
            }
            f64::from(row[label as usize] - top) - mean / sum
        });
        of.sum()
    };
    let (mut low, mut high) = (MIN_SHARPNESS, MAX_SHARPNESS);
    for _ in 0..60 {
        let middle = (low * high).sqrt();
        match slope(middle) > 0.0 {
            true => low = middle,
            false => high = middle,
        }
    }
    (low * high).sqrt()
}

/// Bounds of the factor: where every label is right, or none, there is no maximum between them.
const MIN_SHARPNESS: f64 = 0.05;
const MAX_SHARPNESS: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sc_data::rng::stream;

    /// Logits of `n` cells whose labels follow their softmax times `sharp`.
    fn drawn(n: usize, sharp: f64, seed: u64) -> (Array2<f32>, Vec<u32>) {
        let mut rng = stream(seed, "calibration", 0, 0);
        let logits = Array2::from_shape_fn((n, 4), |_| rng.random_range(-3.0f32..3.0));
        let draw = |row: ArrayView1<'_, f32>, at: f64| {
            let weights: Vec<f64> = row.iter().map(|z| (f64::from(*z) * sharp).exp()).collect();
            let mut left = at * weights.iter().sum::<f64>();
            let place = weights.iter().position(|w| {
                left -= w;
                left < 0.0
            });
            place.unwrap_or(3) as u32
        };
        let at: Vec<f64> = (0..n).map(|_| rng.random()).collect();
        let rows = logits.outer_iter().zip(at);
        let labels = rows.map(|(row, at)| draw(row, at)).collect();
        (logits, labels)
    }

    #[test]
    fn finds_the_temperature_that_labels_were_drawn_with() {
        for sharp in [0.3, 1.0, 2.5] {
            let (logits, labels) = drawn(20_000, sharp, 1);
            let found = Calibration::fit(&logits, &labels).unwrap();
            let ratio = found.temperature * sharp;
            assert!((0.95..1.05).contains(&ratio), "{sharp}: {found:?}");
        }
    }

    #[test]
    fn rightly_labelled_new_cells_keep_their_label() {
        let (mut kept, mut right) = (0, 0);
        for seed in 0..200 {
            let (logits, labels) = drawn(300, 1.0, seed);
            let how = Calibration::fit(&logits, &labels).unwrap();
            let (new, truth) = drawn(300, 1.0, 10_000 + seed);
            for (row, label) in new.outer_iter().zip(truth) {
                let (best, probability) = how.best(row);
                if best == label {
                    right += 1;
                    kept += usize::from(f64::from(probability) >= how.threshold);
                }
            }
        }
        let share = kept as f64 / right as f64;
        assert!((KEPT..KEPT + 0.01).contains(&share), "{share}");
    }

    #[test]
    fn few_cells_leave_every_label() {
        let (logits, labels) = drawn(10, 1.0, 3);
        assert_eq!(Calibration::fit(&logits, &labels).unwrap().threshold, 0.0);
        assert_eq!(Calibration::fit(&Array2::zeros((0, 4)), &[]), None);
    }

    proptest! {
        #[test]
        fn probabilities_are_probabilities(
            logits in proptest::collection::vec(-1e3f32..1e3, 1..9), temperature in 0.05f64..20.0
        ) {
            let how = Calibration { temperature, ..Calibration::default() };
            let row = ArrayView1::from(&logits);
            let (best, probability) = how.best(row);
            let least = 1.0 / logits.len() as f32;
            prop_assert!(probability >= least * 0.999 && probability <= 1.0);
            prop_assert!(logits.iter().all(|z| *z <= logits[best as usize]));
        }
    }
}
