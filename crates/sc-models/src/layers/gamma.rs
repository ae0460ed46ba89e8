//! The gamma function's logarithm and its derivative, on the host and on any device.
//!
//! burn has neither. Both use Stirling's series above 8, reached by the recurrence.

use burn::tensor::Tensor;

/// `lnΓ(x)` for positive `x`, differentiable.
pub(crate) fn ln_gamma_tensor(x: Tensor<2>) -> Tensor<2> {
    // Two products of four, because one of eight overflows float32 from 65,000 on.
    let product = |from: usize| {
        (from + 1..from + 4).fold(x.clone() + from as f64, |product, k| {
            product * (x.clone() + k as f64)
        })
    };
    let (low, high) = (product(0), product(4));
    let z = x + 8.0;
    let inv = z.clone().recip();
    let inv2 = inv.clone().square();
    let series = inv * (inv2 * (-1.0 / 360.0) + 1.0 / 12.0);
    let half_ln_2pi = 0.5 * (2.0 * std::f64::consts::PI).ln();
    (z.clone() - 0.5) * z.clone().log() - z + half_ln_2pi + series - low.log() - high.log()
}

/// `lnΓ(x)` for positive `x`.
#[cfg(feature = "flex")]
fn ln_gamma(mut x: f64) -> f64 {
    let mut product = 1.0;
    while x < 8.0 {
        product *= x;
        x += 1.0;
    }
    let (inv, inv2) = (1.0 / x, 1.0 / (x * x));
    let series = inv * (1.0 / 12.0 - inv2 * (1.0 / 360.0 - inv2 * (1.0 / 1260.0 - inv2 / 1680.0)));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - product.ln()
}

/// Counts up to this take the recurrences.
#[cfg(feature = "flex")]
const SMALL: f64 = 16.0;

/// `ln(Γ(t + x) / (Γ(t) Γ(x + 1)))`, the logarithm of a generalised binomial coefficient.
#[cfg(feature = "flex")]
pub(crate) fn ln_choose(t: f64, x: f64) -> f64 {
    // A product of few factors instead of three functions; sixteen of them stay finite.
    if x <= SMALL && x.fract() == 0.0 && t < 1e18 {
        let factors = (0..x as u32).map(f64::from);
        let [above, below] = factors.fold([1.0, 1.0], |[a, b], k| [a * (t + k), b * (k + 1.0)]);
        return (above / below).ln();
    }
    ln_gamma(t + x) - ln_gamma(t) - ln_gamma(x + 1.0)
}

/// `ψ(x)`, the derivative of `lnΓ`, for positive `x`.
#[cfg(feature = "flex")]
fn digamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 8.0 {
        shift -= 1.0 / x;
        x += 1.0;
    }
    let inv2 = 1.0 / (x * x);
    let series = inv2 * (1.0 / 12.0 - inv2 * (1.0 / 120.0 - inv2 * (1.0 / 252.0 - inv2 / 240.0)));
    shift + x.ln() - 0.5 / x - series
}

/// `ψ(t) − ψ(t + x)`, by the recurrence where `x` is a small count.
#[cfg(feature = "flex")]
pub(crate) fn digamma_difference(t: f64, x: f64) -> f64 {
    if x <= SMALL && x.fract() == 0.0 {
        return -(0..x as u32).map(|k| 1.0 / (t + f64::from(k))).sum::<f64>();
    }
    digamma(t) - digamma(t + x)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::weights::host;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn the_recurrences_of_small_counts_are_exact() {
        // The series is off by 6e-12 at 8, where it is used first.
        const SERIES: f64 = 1e-11;
        for t in [1e-10, 1e-3, 0.7, 1.0, 42.5, 1e6, 1e12] {
            for x in 0..=16 {
                let x = f64::from(x);
                let exact = ln_gamma(t + x) - ln_gamma(t) - ln_gamma(x + 1.0);
                let scale = ln_gamma(t + x).abs().max(1.0);
                let found = ln_choose(t, x);
                assert!(
                    (found - exact).abs() < SERIES * scale,
                    "{t} {x}: {found} {exact}"
                );
                let exact = digamma(t) - digamma(t + x);
                let found = digamma_difference(t, x);
                assert!(
                    (found - exact).abs() < SERIES * exact.abs().max(1.0),
                    "{t} {x}"
                );
            }
        }
        assert!((ln_choose(3.0, 17.0) - 171f64.ln()).abs() < SERIES * 171f64.ln());
        assert!(
            (ln_choose(3.0, 2.5) - (ln_gamma(5.5) - ln_gamma(3.0) - ln_gamma(3.5))).abs() < 1e-12
        );
    }

    #[test]
    fn both_forms_agree_also_for_large_counts() {
        let at = [1e-3f32, 0.5, 1.0, 7.9, 30.0, 90_000.0, 1e6];
        let x = TensorData::new(at.to_vec(), [1, at.len()]);
        let found = host(ln_gamma_tensor(Tensor::from_data(x, &Device::flex())));
        for (x, found) in at.iter().zip(found) {
            let exact = ln_gamma(f64::from(*x)) as f32;
            assert!(
                (found - exact).abs() <= 2e-6 * exact.abs().max(1.0),
                "{x}: {found} {exact}"
            );
        }
    }
}
