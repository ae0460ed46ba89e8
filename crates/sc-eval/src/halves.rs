//! Uncertainty: every number is recomputed from scratch on halves of the donors.
//!
//! Cells of one donor are not independent, so donors are the sampling unit. The donors are divided
//! into two halves in several ways ([`Halves`]); neighbours, graphs, clusterings and scores of each
//! half are recomputed, and the difference between two halves estimates the standard error of the
//! value on all donors (balanced half-samples, McCarthy 1969). No cell is counted twice, so numbers
//! that compare cells with each other (NMI, neighbours, silhouettes) are not inflated, and two
//! halves share no donor, so a clustering that jumps when few cells change does not inflate the
//! uncertainty, as it does in a leave-one-donor-out jackknife. For a mean over donors the result is
//! exactly the textbook s/√n. What shrinks more slowly than a mean as cells
//! are added (clusterings, tests) is measured by leaving out single donors, which enters with a
//! weight. Student's t gives the width, at Kish's (1965) effective number of donors where sizes are
//! unequal. The same rule serves single values and paired differences. The coverage of these
//! intervals is measured by `cargo xtask bench coverage`; its table is in the book, under
//! Statistics.

use crate::categories::{Categories, Groups};
use crate::error::EvalError;
use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// Maximum number of groups that are divided; more donors share groups.
pub const MOST_GROUPS: usize = 20;
/// Minimum number of donors for an interval, and for "better" and "worse".
pub const MIN_DONORS: usize = 5;
/// Minimum number of divisions in which a number must be defined in both halves.
pub const MIN_DIVISIONS: usize = MIN_DONORS - 1;
/// Donors, or groups, that are left out one at a time.
const ALONE: usize = 5;
/// Halves assume that the variance on all donors is half of that on a half, which is too small for
/// what shrinks more slowly, such as the jumps of a clustering. A jackknife counts each jump many
/// times over. This share of the difference was set by simulation: with it two equal models are
/// called different in about 5 % of draws on such metrics too, instead of up to 14 %.
const EXCESS: f64 = 0.15;
/// Two-sided level of intervals and verdicts.
pub const LEVEL: f64 = 0.05;

/// Divisions of cells into halves of their donors.
#[derive(Clone, Debug, PartialEq)]
pub struct Halves {
    /// Donors among the cells; 0 where they are not known.
    pub donors: usize,
    /// Degrees of freedom: Kish's effective number of groups, minus one.
    pub degrees: f64,
    /// Positions of the cells of each half, ascending, for every division; empty below
    /// [`MIN_DONORS`] donors.
    pub divisions: Vec<[Vec<usize>; 2]>,
    /// Positions of the remaining cells without one group, for a few groups.
    pub without: Vec<Vec<usize>>,
    /// Groups that are divided.
    groups: usize,
}

impl Halves {
    /// Divides `donors`. Above [`MOST_GROUPS`] they are assigned, largest first and ties by name,
    /// to that many groups of about equal size, which stay together.
    pub fn of_donors(donors: &Categories) -> Self {
        let groups = Groups::new(donors.codes());
        let mut order: Vec<usize> = (0..groups.len()).collect();
        let name = |g: usize| &donors.names()[groups.codes[g] as usize];
        if groups.len() > MOST_GROUPS {
            order.sort_by_key(|&g| (std::cmp::Reverse(groups.members[g].len()), name(g)));
        } else {
            order.sort_by_key(|&g| name(g));
        }
        let count = groups.len().min(MOST_GROUPS);
        let mut group_of = vec![0; groups.len()];
        for (position, &g) in order.iter().enumerate() {
            let (round, place) = (position / count.max(1), position % count.max(1));
            // Boustrophedon, so that no group gets the larger donor in every round.
            group_of[g] = if round % 2 == 0 {
                place
            } else {
                count - 1 - place
            };
        }
        let of_cell = groups.of_cell.iter().map(|&g| group_of[g as usize]);
        Self {
            donors: groups.len(),
            ..Self::of_groups(&of_cell.collect::<Vec<_>>(), count)
        }
    }

    /// For unknown donors: divides [`MOST_GROUPS`] groups of cells, which assumes independent
    /// cells and makes intervals too narrow.
    pub fn of_cells(cells: usize) -> Self {
        let count = cells.min(MOST_GROUPS);
        let of_cell: Vec<usize> = (0..cells).map(|c| c % count.max(1)).collect();
        Self::of_groups(&of_cell, count)
    }

    fn of_groups(of_cell: &[usize], groups: usize) -> Self {
        let mut sizes = vec![0f64; groups];
        of_cell.iter().for_each(|&g| sizes[g] += 1.0);
        let squares: f64 = sizes.iter().map(|s| s * s).sum();
        let effective = (of_cell.len() as f64).powi(2) / squares.max(1.0);
        let cells = |first: &[bool], wanted: bool| {
            let all = 0..of_cell.len();
            all.filter(|&c| first[of_cell[c]] == wanted).collect()
        };
        let divisions = divisions(groups);
        let alone = if divisions.is_empty() { 0 } else { ALONE };
        let without = |k: usize| {
            let left = k * groups / ALONE;
            (0..of_cell.len()).filter(|&c| of_cell[c] != left).collect()
        };
        let both = |first: &Vec<bool>| [cells(first, true), cells(first, false)];
        Self {
            donors: 0,
            degrees: effective - 1.0,
            divisions: divisions.iter().map(both).collect(),
            without: (0..alone).map(without).collect(),
            groups,
        }
    }

    /// Factor from the difference between the halves of `division` to the standard error of the
    /// value on all cells.
    pub fn scale(division: &[Vec<usize>; 2]) -> f64 {
        let [a, b] = [0, 1].map(|h| division[h].len() as f64);
        (a * b).sqrt() / (a + b).max(1.0)
    }

    /// The same for the change of the value when the cells of one group are left out.
    pub fn scale_without(&self, remaining: usize) -> f64 {
        let all = self.divisions.first().map_or(0, |[a, b]| a.len() + b.len());
        (self.groups as f64).sqrt() * remaining as f64 / all.max(1) as f64
    }
}

/// Which of `groups` (at most [`MOST_GROUPS`]) are in the first half, division by division.
///
/// The divisions are as orthogonal as possible, so that the mean square of the
/// differences is that of the groups themselves: rows of a Hadamard matrix (Sylvester's, or
/// Paley's of order 12 and 20), cut to the number of groups.
fn divisions(groups: usize) -> Vec<Vec<bool>> {
    if groups < MIN_DONORS {
        return Vec::new();
    }
    let order = groups.next_multiple_of(4);
    let prime = order - 1;
    let square = |x: usize| (1..prime).any(|r| r * r % prime == x);
    let first = |row: usize, column: usize| match order {
        8 | 16 => ((row + 1) & column).count_ones().is_multiple_of(2),
        _ => column == prime || square((column + prime - row) % prime),
    };
    let row = |r| (0..groups).map(|c| first(r, c)).collect();
    (0..prime).map(row).collect()
}

/// A value and its uncertainty from halves of the donors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The value on all cells.
    pub value: f64,
    /// Difference between the halves of every division of [`Halves`], times [`Halves::scale`]; NaN
    /// where the value is undefined in either half.
    pub differences: Vec<f64>,
    /// Change of the value without each of [`Halves::without`], times [`Halves::scale_without`];
    /// NaN where it is then undefined.
    pub changes: Vec<f64>,
    /// Degrees of freedom, from [`Halves::degrees`].
    pub degrees: f64,
    /// Lower bound of the standard error: the weight of one cell. Where no donor changes the value
    /// (a score of 1 in all of them) the spread alone would be zero.
    pub resolution: f64,
}

/// Variance of the defined changes; 0 for fewer than three.
fn variance(of: &[f64]) -> f64 {
    let defined: Vec<f64> = of.iter().copied().filter(|v| v.is_finite()).collect();
    let n = defined.len() as f64;
    if n < 3.0 {
        return 0.0;
    }
    let mean = defined.iter().sum::<f64>() / n;
    defined.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)
}

/// A value's uncertainty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// Standard error.
    pub error: f64,
    /// Two-sided p of Student's t against a value of 0.
    pub p: f64,
}

/// Why a value has no interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoInterval {
    /// Too few donors to estimate their spread.
    #[error("fewer than {MIN_DONORS} donors are scored")]
    FewDonors,
    /// The value depends on single donors to be defined at all.
    #[error("it is undefined in most halves of the donors")]
    Undefined,
}

impl Estimate {
    /// `value ± t · error`, with `error²` the mean square of the defined differences, more where
    /// the changes vary more than that, and Student's t at [`Estimate::degrees`], or the number of
    /// differences where that is less.
    ///
    /// # Errors
    /// [`NoInterval`] with the reason.
    pub fn interval(&self) -> Result<Interval, NoInterval> {
        if self.differences.is_empty() {
            return Err(NoInterval::FewDonors);
        }
        let defined = self.differences.iter().filter(|d| d.is_finite());
        let count = defined.clone().count();
        if count < MIN_DIVISIONS || !self.value.is_finite() {
            return Err(NoInterval::Undefined);
        }
        let squares: f64 = defined.map(|d| d * d).sum();
        let halves = squares / count as f64;
        let error = (halves + EXCESS * (variance(&self.changes) - halves).max(0.0)).sqrt();
        let error = error.max(self.resolution).max(f64::MIN_POSITIVE);
        let degrees = self.degrees.min(count as f64).max(1.0);
        let t = StudentsT::new(0.0, 1.0, degrees).expect("invariant: one degree of freedom");
        let half = t.inverse_cdf(1.0 - LEVEL / 2.0) * error;
        Ok(Interval {
            low: self.value - half,
            high: self.value + half,
            error,
            p: 2.0 * t.sf((self.value / error).abs()),
        })
    }

    /// The same for a number between `least` and `most`, on the logit scale of that range: the ends
    /// stay inside, and the interval is longer on the side farther from the bound. Where only one
    /// end is bounded, it is clipped there.
    ///
    /// # Errors
    /// [`NoInterval`] with the reason.
    pub fn interval_within(&self, (least, most): (f64, f64)) -> Result<Interval, NoInterval> {
        let plain = self.interval()?;
        let width = most - least;
        let (low, high) = if width.is_finite() {
            let edge = (self.resolution / width).clamp(f64::EPSILON, 0.5);
            let place = ((self.value - least) / width).clamp(edge, 1.0 - edge);
            let half = (plain.high - self.value) / (width * place * (1.0 - place));
            let logit = (place / (1.0 - place)).ln();
            let back = |x: f64| least + width / (1.0 + (-x).exp());
            (back(logit - half), back(logit + half))
        } else {
            (plain.low.max(least), plain.high.min(most))
        };
        Ok(Interval {
            low: low.min(self.value),
            high: high.max(self.value),
            ..plain
        })
    }

    /// `self − other`, division by division.
    ///
    /// # Errors
    /// [`EvalError::Shape`] when the two have different divisions.
    pub fn minus(&self, other: &Self) -> Result<Self, EvalError> {
        let divisions = self.differences.len();
        EvalError::check("divisions", divisions, other.differences.len())?;
        let pairs = self.differences.iter().zip(&other.differences);
        let changes = self.changes.iter().zip(&other.changes);
        Ok(Self {
            value: self.value - other.value,
            differences: pairs.map(|(a, b)| a - b).collect(),
            changes: changes.map(|(a, b)| a - b).collect(),
            degrees: self.degrees.min(other.degrees),
            resolution: self.resolution.max(other.resolution),
        })
    }

    /// The mean of several estimates of the same value, as over seeds; `None` if there are none or
    /// their divisions differ.
    ///
    /// Where some are undefined in a half, the difference is the mean of the others, as long as at
    /// least the share `least` of all is defined.
    pub fn mean(of: &[Self], least: f64) -> Option<Self> {
        let first = of.first()?;
        let divisions = first.differences.len();
        let changes = first.changes.len();
        let alike = |e: &Self| e.differences.len() == divisions && e.changes.len() == changes;
        if !of.iter().all(alike) {
            return None;
        }
        let n = of.len() as f64;
        let mean = |part: &dyn Fn(&Self) -> f64| {
            let all = of.iter().map(part);
            let (sum, count) = all
                .filter(|v| v.is_finite())
                .fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
            if count > 0.0 && count >= least * n {
                sum / count
            } else {
                f64::NAN
            }
        };
        Some(Self {
            value: of.iter().map(|e| e.value).sum::<f64>() / n,
            differences: (0..divisions)
                .map(|d| mean(&|e| e.differences[d]))
                .collect(),
            changes: (0..changes).map(|d| mean(&|e| e.changes[d])).collect(),
            degrees: of.iter().map(|e| e.degrees).fold(f64::INFINITY, f64::min),
            resolution: of.iter().map(|e| e.resolution).sum::<f64>() / n,
        })
    }

    /// The mean of one value per donor, all donors of equal size.
    ///
    /// ```
    /// use sc_eval::halves::Estimate;
    ///
    /// let by_donor = [0.91, 0.84, 0.88, 0.79, 0.93, 0.86];
    /// let interval = Estimate::of_donors(&by_donor).interval()?;
    /// assert!(interval.low > 0.8 && interval.high < 0.93);
    /// # Ok::<(), sc_eval::halves::NoInterval>(())
    /// ```
    pub fn of_donors(values: &[f64]) -> Self {
        let mean = |of: &dyn Fn(usize) -> bool| {
            let members = (0..values.len()).filter(|&d| of(d));
            let (sum, count) = members.fold((0.0, 0.0), |(s, n), d| (s + values[d], n + 1.0));
            (sum / count, count)
        };
        let all = values.len() as f64;
        let difference = |first: &Vec<bool>| {
            let ((a, na), (b, nb)) = (mean(&|d| first[d]), mean(&|d| !first[d]));
            (a - b) * (na * nb).sqrt() / all
        };
        Self {
            value: mean(&|_| true).0,
            differences: divisions(values.len()).iter().map(difference).collect(),
            changes: Vec::new(),
            degrees: all - 1.0,
            resolution: 0.0,
        }
    }
}

/// Holm's step-down correction: adjusted p-values in the order given (Holm 1979).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut out = vec![0f64; p.len()];
    let mut running = 0f64;
    for (rank, &i) in order.iter().enumerate() {
        running = running.max((p[i] * (p.len() - rank) as f64).min(1.0));
        out[i] = running;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_mean_is_students() {
        let mut values = vec![2.0, 4.0, 4.0, 5.0, 7.0, 8.0, 3.0, 7.0];
        for repeat in [8, 12, 16, 20] {
            values.resize(repeat, 6.0);
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
            let got = Estimate::of_donors(&values).interval().unwrap();
            assert!(
                (got.error - (variance / n).sqrt()).abs() < 1e-12,
                "{repeat}"
            );
            assert!((got.low + got.high - 2.0 * mean).abs() < 1e-12);
        }
        // t at 7 degrees of freedom: 2.364624.
        let got = Estimate::of_donors(&values[..8]).interval().unwrap();
        assert!((got.high - got.low - 2.0 * 2.364_624_252 * got.error).abs() < 1e-6);
    }

    #[test]
    fn numbers_of_donors_between_are_near_it() {
        for n in MIN_DONORS..=MOST_GROUPS {
            let values: Vec<f64> = (0..n).map(|d| ((d * d * 3 + 5 * d) % 11) as f64).collect();
            let mean = values.iter().sum::<f64>() / n as f64;
            let variance =
                values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n as f64 - 1.0);
            let got = Estimate::of_donors(&values).interval().unwrap();
            let ratio = got.error / (variance / n as f64).sqrt();
            assert!((0.75..1.25).contains(&ratio), "{n} donors: {ratio}");
        }
    }

    #[test]
    fn halves_share_no_donor_and_are_of_like_size() {
        for n in MIN_DONORS..=MOST_GROUPS {
            let names: Vec<String> = (0..n).map(|d| format!("d{d:02}")).collect();
            let halves = Halves::of_donors(&Categories::from_values(&names));
            assert_eq!((halves.donors, halves.degrees), (n, n as f64 - 1.0));
            assert_eq!(halves.divisions.len(), n.next_multiple_of(4) - 1);
            for [a, b] in &halves.divisions {
                let mut all = [a.as_slice(), b].concat();
                all.sort_unstable();
                assert_eq!(all, (0..n).collect::<Vec<_>>());
                assert!(a.len().abs_diff(b.len()) <= 3, "{n}: {a:?} {b:?}");
            }
        }
    }

    #[test]
    fn donors_of_unequal_size_count_as_fewer() {
        let names: Vec<String> = (0..8)
            .flat_map(|d| std::iter::repeat_n(format!("d{d}"), if d == 0 { 700 } else { 100 }))
            .collect();
        let degrees = Halves::of_donors(&Categories::from_values(&names)).degrees;
        // 1400² / (700² + 7 · 100²) = 3.5 donors.
        assert!((degrees - 2.5).abs() < 1e-12);
    }

    #[test]
    fn jumps_that_single_donors_cause_widen_an_interval_by_a_part() {
        let calm = Estimate::of_donors(&[2.0, 4.0, 4.0, 5.0, 7.0, 8.0, 3.0, 7.0]);
        let with = |changes: Vec<f64>| {
            let of = Estimate {
                changes,
                ..calm.clone()
            };
            of.interval().unwrap().error.powi(2)
        };
        let halves = with(Vec::new());
        assert_eq!(with(vec![0.1, 0.2, 0.1, 0.2, 0.1]), halves);
        // Variance of 3, -3, 3, -3: 12.
        let jumping = with(vec![3.0, f64::NAN, -3.0, 3.0, -3.0]);
        assert!((jumping - (halves + 0.15 * (12.0 - halves))).abs() < 1e-12);
    }

    #[test]
    fn a_few_donors_are_left_out_alone() {
        let names: Vec<String> = (0..30).map(|c| format!("d{}", c % 10)).collect();
        let halves = Halves::of_donors(&Categories::from_values(&names));
        assert_eq!(halves.without.len(), 5);
        let gone = |rows: &Vec<usize>| (0..30).find(|c| !rows.contains(c)).unwrap() % 10;
        let gone: Vec<usize> = halves.without.iter().map(gone).collect();
        assert_eq!(gone, [0, 2, 4, 6, 8]);
        // The mean over donors: a change scaled so that its variance is that of the mean.
        let values = [1.0, 5.0, 2.0, 8.0, 3.0, 9.0, 4.0, 7.0, 0.0, 6.0];
        let mean = values.iter().sum::<f64>() / 10.0;
        let changes = (0..10).map(|d| {
            let rest = (10.0 * mean - values[d]) / 9.0;
            (rest - mean) * halves.scale_without(27)
        });
        let changes: Vec<f64> = changes.collect();
        let square: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        assert!((variance(&changes) - square / 9.0 / 10.0).abs() < 1e-12);
    }

    #[test]
    fn pairing_sees_what_single_intervals_hide() {
        let a = Estimate::of_donors(&[0.2, 0.9, 0.5, 0.1, 0.6, 0.7]);
        let b = Estimate::of_donors(&[0.1, 0.81, 0.42, 0.0, 0.5, 0.59]);
        let (x, y) = (a.interval().unwrap(), b.interval().unwrap());
        assert!(x.low < y.high);
        let d = a.minus(&b).unwrap().interval().unwrap();
        assert!(d.low > 0.0 && d.p < 0.001);
    }

    #[test]
    fn no_interval_has_a_reason() {
        let few = Estimate::of_donors(&[1.0, 2.0, 3.0, 4.0]).interval();
        assert_eq!(few, Err(NoInterval::FewDonors));
        let mut gone = Estimate::of_donors(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        gone.differences[..3].fill(f64::NAN);
        let narrow = gone.interval().unwrap();
        gone.differences[3] = f64::NAN;
        assert_eq!(gone.interval(), Err(NoInterval::Undefined));
        assert!(narrow.low < 3.0 && narrow.high > 3.0);
    }

    #[test]
    fn a_perfect_score_is_known_to_one_cell_at_best() {
        let perfect = Estimate {
            resolution: 1.0 / 400.0,
            ..Estimate::of_donors(&[1.0; 8])
        };
        let i = perfect.interval().unwrap();
        assert_eq!(i.error, 1.0 / 400.0);
        assert!(i.low < 1.0 && i.high > 1.0);
    }

    #[test]
    fn ends_stay_inside_the_range_and_hold_the_value() {
        for value in [0.0, 0.02, 0.5, 0.97, 1.0] {
            for error in [0.0, 0.01, 0.3] {
                let of = Estimate {
                    value,
                    differences: vec![error; 7],
                    changes: Vec::new(),
                    degrees: 7.0,
                    resolution: 1.0 / 200.0,
                };
                let i = of.interval_within((0.0, 1.0)).unwrap();
                assert!(0.0 <= i.low && i.low <= value && value <= i.high && i.high <= 1.0);
                assert!(i.low < i.high);
            }
        }
        let near = Estimate {
            value: 0.9,
            differences: vec![0.03; 7],
            changes: Vec::new(),
            degrees: 7.0,
            resolution: 0.0,
        };
        let (plain, i) = (
            near.interval().unwrap(),
            near.interval_within((0.0, 1.0)).unwrap(),
        );
        assert!(i.low < plain.low && i.high < plain.high);
        let narrow = Estimate {
            differences: vec![1e-4; 7],
            ..near
        };
        let (plain, i) = (
            narrow.interval().unwrap(),
            narrow.interval_within((0.0, 1.0)).unwrap(),
        );
        assert!((i.low - plain.low).abs() < 1e-6 && (i.high - plain.high).abs() < 1e-6);
    }

    #[test]
    fn a_mean_goes_on_without_a_member_that_is_undefined_in_a_half() {
        let whole = Estimate::of_donors(&[0.1, 0.2, 0.4, 0.3, 0.6]);
        let mut hole = whole.clone();
        hole.differences[0] = f64::NAN;
        let of = [whole.clone(), whole.clone(), whole.clone(), whole, hole];
        let mean = Estimate::mean(&of, 0.8).unwrap();
        assert_eq!(mean.differences, of[0].differences);
        assert!(Estimate::mean(&of, 1.0).unwrap().differences[0].is_nan());
    }

    #[test]
    fn divisions_do_not_depend_on_the_order_of_codes() {
        let a = Categories::from_values(&["x", "y", "z", "y", "v", "w"]);
        let names = ["z", "x", "y", "w", "v"].map(str::to_owned).to_vec();
        let b = Categories::new(vec![1, 2, 0, 2, 4, 3], names);
        assert_eq!(Halves::of_donors(&a), Halves::of_donors(&b.unwrap()));
    }

    #[test]
    fn many_donors_share_groups_of_like_size() {
        let names: Vec<String> = (0..50)
            .flat_map(|d| std::iter::repeat_n(format!("d{d}"), 10 + d))
            .collect();
        let halves = Halves::of_donors(&Categories::from_values(&names));
        assert_eq!((halves.donors, halves.divisions.len()), (50, 19));
        assert!(
            (17.0..=19.0).contains(&halves.degrees),
            "{}",
            halves.degrees
        );
        for [a, b] in &halves.divisions {
            assert!(a.len().abs_diff(b.len()) < names.len() / 5);
        }
        assert_eq!(Halves::of_cells(7).divisions.len(), 7);
    }

    #[test]
    fn holm_is_monotone() {
        let got = holm(&[0.01, 0.04, 0.03]);
        for (g, w) in got.iter().zip([0.03, 0.06, 0.06]) {
            assert!((g - w).abs() < 1e-12);
        }
    }
}
