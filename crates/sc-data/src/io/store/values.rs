//! Kind of the values of a matrix: counts, their logarithm, or something else.
//!
//! A name or a range proves little, so each transformation is inverted and checked. Counts that
//! were scaled per cell keep two traces through any elementwise function: cell sums are equal, and
//! within a cell every value is an integer multiple of that of one count.

use crate::sparse::CsrMatrix;

/// The largest value that `ln(1 + x)` of counts per million can have is 13.8.
pub(crate) const LARGEST_LOG: f32 = 14.0;
/// Relative deviation of a cell's sum from the common sum.
const SPREAD: f64 = 0.01;
/// Share of the cells, or of the multiples, that must agree.
const MOST: f64 = 0.9;
/// Distance to an integer that still counts as one.
const NEAR: f64 = 0.02;
/// Larger multiples cannot be resolved in half precision.
const LARGEST_MULTIPLE: f64 = 12.0;
/// Counts that the smallest value of a cell may stand for.
const LARGEST_LEAST: u32 = 4;
/// Multiples needed as evidence.
const ENOUGH: usize = 8;
/// Of two transformations that fit, the error of the better is below this share of the other's.
const CLEARLY: f64 = 0.5;
/// Cell sums of unproven logarithms are within this ratio: the 95th percentile to the 5th.
const PLAUSIBLE: f64 = 10.0;

/// Kind of the values of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValueKind {
    /// Non-negative integers.
    Counts,
    /// `ln(1 + x)` of scaled counts.
    Log1p,
    /// A logarithm with base 2 or 10 of one plus scaled counts.
    OtherLog,
    /// `ln(1 + x)` of `ln(1 + x)` of scaled counts.
    LoggedTwice,
    /// The inverse hyperbolic sine of scaled counts.
    Arcsinh,
    /// The square root of scaled counts.
    SquareRoot,
    /// Non-negative with fractions, never log-transformed: counts that were scaled (CPM, TPM) or
    /// corrected.
    Scaled,
    /// Other non-negative values with fractions.
    Fractions,
    /// With negative values: z-scores, residuals, latent values.
    Centred,
    /// With NaN or infinite values.
    NotFinite,
}

/// Findings on a sample of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Looks {
    pub(crate) kind: ValueKind,
    /// Cells of the sample.
    pub(crate) cells: usize,
    /// Largest value of the sample.
    pub(crate) largest: f32,
    /// Share of the non-zero values with a fraction.
    pub(crate) fractions: f64,
    /// Whether sums or multiples are evidence for `kind`.
    pub(crate) shown: bool,
    /// Whether all values lie within a thousandth of integers.
    pub(crate) nearly_integers: bool,
}

impl Looks {
    /// Inspects a sample of cells.
    pub(crate) fn at(sample: &CsrMatrix) -> Self {
        let mut looks = Self {
            kind: ValueKind::Counts,
            cells: sample.rows(),
            largest: 0.0,
            fractions: 0.0,
            shown: true,
            nearly_integers: true,
        };
        let (mut fractions, mut negative, mut bad) = (0u64, false, false);
        for &v in sample.values() {
            bad |= !v.is_finite();
            negative |= v < 0.0;
            fractions += u64::from(v.fract() != 0.0);
            looks.nearly_integers &= (v - v.round()).abs() < 1e-3;
            looks.largest = looks.largest.max(v);
        }
        looks.fractions = fractions as f64 / sample.nnz().max(1) as f64;
        (looks.kind, looks.shown) = match (bad, negative, fractions > 0) {
            (true, _, _) => (ValueKind::NotFinite, true),
            (_, true, _) => (ValueKind::Centred, true),
            (_, _, false) => (ValueKind::Counts, true),
            _ => fractional(sample, &looks),
        };
        looks
    }

    /// A description in words.
    pub(crate) fn words(&self) -> String {
        let percent = self.fractions * 100.0;
        let what = match self.kind {
            ValueKind::Counts => "raw counts",
            ValueKind::Log1p => "log-normalised",
            ValueKind::OtherLog => "logged with base 2 or 10",
            ValueKind::LoggedTwice => "log-normalised twice",
            ValueKind::Arcsinh => "like the arcsinh of scaled counts",
            ValueKind::SquareRoot => "like square roots of scaled counts",
            ValueKind::Scaled if self.nearly_integers => "counts that are not quite integers",
            ValueKind::Scaled => "scaled or corrected counts, never log-transformed",
            ValueKind::Fractions => "neither counts nor their logarithm",
            ValueKind::Centred => "centred or scaled (negative values)",
            ValueKind::NotFinite => "damaged (NaN or infinite values)",
        };
        format!(
            "values look {what} (in {} cells: largest {}, {percent:.1} % with a fraction)",
            self.cells, self.largest
        )
    }
}

type Back = fn(f64) -> f64;

/// Possible transformations of counts, most likely first, with their inverses.
const TRANSFORMATIONS: [(ValueKind, Back); 7] = [
    (ValueKind::Log1p, f64::exp_m1),
    (ValueKind::Scaled, |v| v),
    (ValueKind::OtherLog, |v| v.exp2() - 1.0),
    (ValueKind::OtherLog, |v| 10f64.powf(v) - 1.0),
    (ValueKind::LoggedTwice, |v| v.exp_m1().exp_m1()),
    (ValueKind::Arcsinh, f64::sinh),
    (ValueKind::SquareRoot, |v| v * v),
];

/// Non-negative values with fractions: log-transformed or not, and whether there is evidence.
fn fractional(sample: &CsrMatrix, looks: &Looks) -> (ValueKind, bool) {
    if looks.nearly_integers || looks.largest > LARGEST_LOG {
        return (ValueKind::Scaled, true);
    }
    let trace = best(sample, from_multiples).or_else(|| best(sample, from_common_sum));
    match trace {
        Some(kind) => (kind, true),
        // A logarithm of anything but 0 is hardly ever an integer.
        None if looks.fractions > MOST && is_plausible_log(sample) => (ValueKind::Log1p, false),
        None => (ValueKind::Fractions, true),
    }
}

/// The transformation whose inverse gives scaled counts with the least `error`.
fn best(sample: &CsrMatrix, error: impl Fn(&CsrMatrix, Back) -> Option<f64>) -> Option<ValueKind> {
    let mut best: Option<(ValueKind, f64)> = None;
    for (kind, back) in TRANSFORMATIONS {
        let Some(error) = error(sample, back) else {
            continue;
        };
        // Small values are close to their own logarithm, so several may fit; ties go to the more
        // likely one.
        if best.is_none_or(|(_, least)| error < CLEARLY * least) {
            best = Some((kind, error));
        }
    }
    best.map(|(kind, _)| kind)
}

/// Sums of the non-empty cells, ascending.
fn sums(sample: &CsrMatrix, back: impl Fn(f64) -> f64) -> Vec<f64> {
    let cells = sample.iter_rows().filter(|(_, v)| !v.is_empty());
    let sum = |v: &[f32]| v.iter().map(|&v| back(f64::from(v))).sum::<f64>();
    let mut sums: Vec<f64> = cells.map(|(_, v)| sum(v)).collect();
    sums.sort_by(f64::total_cmp);
    sums
}

/// Deviation of the cell sums from their median, where nearly all are close.
fn from_common_sum(sample: &CsrMatrix, back: Back) -> Option<f64> {
    let sums = sums(sample, back);
    let middle = *sums.get(sums.len() / 2)?;
    let off = sums.iter().map(|s| (s - middle).abs() / middle).collect();
    (sums.len() >= 3).then(|| agreement(off, SPREAD))?
}

/// Deviation of the values of a cell from integer multiples of that of one count, where nearly all
/// are close.
fn from_multiples(sample: &CsrMatrix, back: Back) -> Option<f64> {
    let mut off = Vec::new();
    for (_, values) in sample.iter_rows() {
        let smallest = values.iter().copied().fold(f32::INFINITY, f32::min);
        let least = back(f64::from(smallest));
        let from = |unit: f64| -> Vec<f64> {
            // The smallest value itself is no evidence.
            let others = values.iter().map(|&v| back(f64::from(v)));
            let others = others.filter(|v| *v > 1.05 * least).map(|v| v / unit);
            let short = others.filter(|m| *m < LARGEST_MULTIPLE);
            short.map(|m| (m - m.round()).abs()).collect()
        };
        // The smallest is one count, or a few where genes with few were left out.
        let mut units = (1..=LARGEST_LEAST).map(|counts| from(least / f64::from(counts)));
        let fits = |off: &Vec<f64>| agreement(off.clone(), NEAR).is_some() && off.len() > 1;
        off.extend(units.find(fits).unwrap_or_else(|| from(least)));
    }
    (off.len() >= ENOUGH).then(|| agreement(off, NEAR))?
}

/// The mean of the deviations that are below `near`, if nearly all are.
fn agreement(mut off: Vec<f64>, near: f64) -> Option<f64> {
    let all = off.len() as f64;
    off.retain(|o| *o <= near);
    let close = off.len() as f64;
    (close >= MOST * all).then(|| off.iter().sum::<f64>() / close)
}

/// Whether the values can be logarithms of scaled counts without evidence, as those of a subset of
/// genes, or imputed or corrected: after inversion, no cell has many times the sum of another.
/// Values that were never log-transformed differ by orders of magnitude then, or are shares of
/// their cell.
fn is_plausible_log(sample: &CsrMatrix) -> bool {
    if sums(sample, |v| v).last().is_none_or(|most| *most <= 1.0) {
        return false;
    }
    let sums = sums(sample, f64::exp_m1);
    let at = |share: f64| sums.get((sums.len() as f64 * share) as usize).copied();
    let (Some(low), Some(high)) = (at(0.05), at(0.95)) else {
        return false;
    };
    high <= PLAUSIBLE * low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;
    use rand::RngExt as _;

    /// Counts of 40 cells and 60 genes whose depths differ tenfold.
    fn counts() -> Vec<Vec<f64>> {
        let mut rng = stream(3, "test", 0, 0);
        let mut cell = |k: usize| -> Vec<f64> {
            let depth = 1.0 + (k % 10) as f64;
            let draw = |_| {
                (depth * (1.0 / (rng.random::<f64>() + 0.05) - 1.0))
                    .max(0.0)
                    .floor()
            };
            (0..60).map(draw).collect()
        };
        (0..40).map(&mut cell).collect()
    }

    fn kind(f: impl Fn(f64, f64) -> f64) -> ValueKind {
        let cells = counts();
        let each = |cell: &Vec<f64>| {
            let total: f64 = cell.iter().sum();
            cell.iter().map(|&c| f(c, total) as f32).collect::<Vec<_>>()
        };
        let dense: Vec<f32> = cells.iter().flat_map(each).collect();
        Looks::at(&CsrMatrix::from_dense(60, &dense)).kind
    }

    #[test]
    fn only_logged_values_are_taken_for_logged_ones() {
        assert_eq!(kind(|c, _| c), ValueKind::Counts);
        for target in [1e3, 1e4, 1e6] {
            let logged = kind(|c, total| (c / total * target).ln_1p());
            assert_eq!(logged, ValueKind::Log1p, "{target}");
            let linear = kind(|c, total| c / total * target);
            assert_eq!(linear, ValueKind::Scaled, "{target}");
        }
        assert_eq!(kind(|c, _| c * 0.93), ValueKind::Scaled);
        assert_eq!(kind(|c, _| c.ln_1p()), ValueKind::Log1p);
        assert_eq!(kind(|c, _| c + 1e-4), ValueKind::Scaled);
        let log2 = kind(|c, total| (c / total * 1e4 + 1.0).log2());
        assert_eq!(log2, ValueKind::OtherLog);
        let twice = kind(|c, total| (c / total * 1e4).ln_1p().ln_1p());
        assert_eq!(twice, ValueKind::LoggedTwice);
        let arcsinh = kind(|c, total| (c / total * 1e4).asinh());
        assert_eq!(arcsinh, ValueKind::Arcsinh);
        assert_eq!(kind(|c, _| c.sqrt()), ValueKind::SquareRoot);
        assert_eq!(kind(|c, total| c / total), ValueKind::Scaled);
        assert_eq!(kind(|c, total| c - total / 60.0), ValueKind::Centred);
        assert_eq!(kind(|c, total| c / (total - total)), ValueKind::NotFinite);
    }

    #[test]
    fn logarithms_of_some_genes_are_known_by_their_multiples() {
        let looks = |f: &dyn Fn(f64, f64) -> f64| {
            let cells = counts();
            let each = |cell: &Vec<f64>| {
                let total: f64 = cell.iter().sum();
                let some = cell.iter().skip(20).step_by(2);
                some.map(|&c| f(c, total) as f32).collect::<Vec<_>>()
            };
            let dense: Vec<f32> = cells.iter().flat_map(each).collect();
            let looks = Looks::at(&CsrMatrix::from_dense(20, &dense));
            (looks.kind, looks.shown)
        };
        let logged = looks(&|c, total| (c / total * 1e4).ln_1p());
        assert_eq!(logged, (ValueKind::Log1p, true));
        // Half of a logarithm can be one of corrected counts; there is no evidence against it.
        let halved = looks(&|c, total| (c / total * 1e4).ln_1p() / 2.0);
        assert_eq!(halved, (ValueKind::Log1p, false));
    }

    #[test]
    fn half_precision_does_not_hide_a_logarithm() {
        let halved = |c: f64, total: f64| {
            let logged = (c / total * 1e4).ln_1p();
            // Eleven bits are left.
            let step = logged.max(1e-9).log2().floor() - 10.0;
            (logged / step.exp2()).round() * step.exp2()
        };
        assert_eq!(kind(halved), ValueKind::Log1p);
    }

    #[test]
    fn corrected_counts_of_shallow_cells_are_no_logarithms() {
        // Every entry lost another share to ambient transcripts; none is above 14.
        let corrected =
            |c: f64, total: f64| (c.min(13.0) - 0.37 * (c + total).sin().abs()).max(0.0);
        assert_eq!(kind(corrected), ValueKind::Fractions);
    }
}
