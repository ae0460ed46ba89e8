//! The transformation behind values that are no longer counts.

use crate::io::store::ValueKind;
use crate::sparse::CsrMatrix;

/// Largest relative deviation of the cells' sums from a common sum.
const SPREAD: f64 = 2e-3;

/// Names the transformation of a sample of cells, where their sums reveal it.
///
/// Scaling gives all cells the same sum; a logarithm hides it until it is inverted. Files are often
/// subset to some genes afterwards, so the absence of a common sum proves nothing.
pub(super) fn guess(sample: &CsrMatrix, kind: ValueKind) -> Option<String> {
    match kind {
        ValueKind::Scaled => {
            common_sum(sample, |v| v).map(|s| format!("scaled to {s} per cell, no logarithm"))
        }
        ValueKind::Log1p | ValueKind::OtherLog => {
            type Back = fn(f64) -> f64;
            let bases: [(&str, Back); 3] = [
                ("ln", f64::exp),
                ("log2", f64::exp2),
                ("log10", |v| 10f64.powf(v)),
            ];
            bases.iter().find_map(|(name, back)| {
                common_sum(sample, |v| back(v) - 1.0)
                    .map(|s| format!("{name}(1 + x) of counts scaled to {s} per cell"))
            })
        }
        _ => None,
    }
}

/// The common sum of the cells with values, rounded.
fn common_sum(sample: &CsrMatrix, back: impl Fn(f64) -> f64) -> Option<f64> {
    let sums: Vec<f64> = sample
        .iter_rows()
        .filter(|(_, values)| !values.is_empty())
        .map(|(_, values)| values.iter().map(|&v| back(f64::from(v))).sum())
        .collect();
    let mean = sums.iter().sum::<f64>() / sums.len().max(1) as f64;
    let same = sums.iter().all(|s| (s - mean).abs() <= SPREAD * mean);
    (sums.len() >= 3 && mean > 0.0 && same).then(|| {
        let digits = 10f64.powf(mean.log10().floor() - 3.0);
        (mean / digits).round() * digits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(f: impl Fn(f64) -> f64) -> CsrMatrix {
        let counts = [
            [1.0, 3.0, 6.0],
            [2.0, 2.0, 16.0],
            [5.0, 0.0, 15.0],
            [1.0, 1.0, 1.0],
        ];
        let scaled = counts.iter().flat_map(|row| {
            let total: f64 = row.iter().sum();
            row.iter()
                .map(|c| f(c / total * 1e4) as f32)
                .collect::<Vec<_>>()
        });
        CsrMatrix::from_dense(3, &scaled.collect::<Vec<_>>())
    }

    #[test]
    fn sums_give_the_transformation_away() {
        let ln = guess(&matrix(f64::ln_1p), ValueKind::Log1p).unwrap();
        assert_eq!(ln, "ln(1 + x) of counts scaled to 10000 per cell");
        let log2 = guess(&matrix(|v| (v + 1.0).log2()), ValueKind::Log1p).unwrap();
        assert_eq!(log2, "log2(1 + x) of counts scaled to 10000 per cell");
        let plain = guess(&matrix(|v| v), ValueKind::Scaled).unwrap();
        assert_eq!(plain, "scaled to 10000 per cell, no logarithm");
        assert_eq!(guess(&matrix(f64::sqrt), ValueKind::Log1p), None);
    }
}
