//! Genes and peaks in one table, and their maxima in the training cells.

use sc_data::CsrMatrix;
pub use sc_data::genes::features::{Kind, kind};

/// Counts per cell before the logarithm.
pub const TARGET: f64 = 1e4;

/// The maximum of `ln(1 + 10⁴ count / total)` of every feature over the cells, `[features]`;
/// totals are over genes, or over peaks. 0 where no cell has counts.
///
/// # Shapes
/// - counts: `[cells, features]`
pub fn largest(names: &[String], counts: &CsrMatrix) -> Vec<f32> {
    let kinds: Vec<usize> = names.iter().map(|n| kind(n) as usize).collect();
    let mut largest = vec![0f32; counts.cols()];
    for (features, values) in counts.iter_rows() {
        let mut totals = [0f64; 2];
        for (&f, &v) in features.iter().zip(values) {
            totals[kinds.get(f as usize).copied().unwrap_or(0)] += f64::from(v);
        }
        for (&f, &v) in features.iter().zip(values) {
            let total = totals[kinds.get(f as usize).copied().unwrap_or(0)];
            let scaled = (f64::from(v) * TARGET / total).ln_1p() as f32;
            largest[f as usize] = largest[f as usize].max(scaled);
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_those_of_the_kind() {
        let names = ["A", "chr1:1-2", "B"].map(String::from);
        let counts = CsrMatrix::from_dense(3, &[1.0, 7.0, 3.0, 1.0, 0.0, 0.0]);
        let found = largest(&names, &counts);
        let expected = [1e4f64, 1e4, 7500.0].map(|v| v.ln_1p() as f32);
        assert_eq!(found, expected);
    }
}
