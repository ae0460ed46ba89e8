//! Uncertainty: every number is computed again without each donor, everything included.
//!
//! Cells of one donor are not independent, so donors are what is sampled. For every donor the
//! neighbours, graphs, clusterings and scores of the remaining cells are computed from scratch
//! ([`LeaveOut`]); the spread of these values gives the standard error of the value itself
//! (Tukey 1958, Efron and Stein 1981), and Student's t the width for few donors. Nothing is
//! counted twice, so numbers that compare cells with each other (NMI, neighbours, silhouettes) are
//! not inflated, and an interval always holds its own value. The same rule serves single values
//! and paired differences. How often these intervals hold the truth is measured by
//! `cargo xtask bench coverage`; its table is in the book, under Statistics.

use crate::categories::{Categories, Groups};
use crate::error::EvalError;
use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// Most groups of donors that are left out; more donors share groups.
pub const MOST_GROUPS: usize = 20;
/// Fewest donors of an interval, and of "better" and "worse".
pub const MIN_DONORS: usize = 5;
/// Two-sided level of intervals and verdicts.
pub const LEVEL: f64 = 0.05;

/// The cells that remain when each donor, or group of donors, is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveOut {
    /// Donors among the cells.
    pub donors: usize,
    /// Positions of the remaining cells, ascending, for every group left out.
    pub kept: Vec<Vec<usize>>,
}

impl LeaveOut {
    /// Leaves out every donor in turn. Above [`MOST_GROUPS`] donors they are dealt, the largest
    /// first and equal ones by name, to that many groups of about equal size.
    pub fn donors(donors: &Categories) -> Self {
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
            // There and back again, so that no group gets the larger donor of every round.
            group_of[g] = if round % 2 == 0 {
                place
            } else {
                count - 1 - place
            };
        }
        let of_cell: Vec<usize> = groups
            .of_cell
            .iter()
            .map(|&g| group_of[g as usize])
            .collect();
        Self {
            donors: groups.len(),
            kept: kept(&of_cell, count),
        }
    }

    /// For cells of unknown donors: leaves out [`MOST_GROUPS`] groups of cells in turn, which
    /// takes cells for independent and makes intervals too narrow.
    pub fn cells(cells: usize) -> Self {
        let count = cells.min(MOST_GROUPS);
        let of_cell: Vec<usize> = (0..cells).map(|c| c % count.max(1)).collect();
        Self {
            donors: 0,
            kept: kept(&of_cell, count),
        }
    }

    /// Number of groups left out in turn.
    pub fn groups(&self) -> usize {
        self.kept.len()
    }
}

fn kept(of_cell: &[usize], groups: usize) -> Vec<Vec<usize>> {
    let others = |g| (0..of_cell.len()).filter(|&c| of_cell[c] != g).collect();
    (0..groups).map(others).collect()
}

/// A value and what it becomes without each group of donors; NaN where it is then undefined.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The value on all cells.
    pub value: f64,
    /// The value without each group, in the order of [`LeaveOut::kept`].
    pub left_out: Vec<f64>,
    /// Smallest standard error that is believed: what one cell counts for. Where no donor changes
    /// anything (a score of 1 in all of them) the spread alone would claim to know it exactly.
    pub resolution: f64,
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
    /// Too few donors to tell their spread.
    #[error("too few donors: {found} scored, {MIN_DONORS} needed")]
    FewDonors {
        /// Groups there are.
        found: usize,
    },
    /// The value depends on a donor to exist at all.
    #[error("it is undefined without one of the donors")]
    Undefined,
}

impl Estimate {
    /// `value ± t · error`, with `error² = (G − 1)/G · Σ (θ₍g₎ − mean θ₍·₎)²` over `G` groups left
    /// out in turn and Student's t at `G − 1` degrees of freedom.
    ///
    /// # Errors
    /// [`NoInterval`] saying why there is none.
    pub fn interval(&self) -> Result<Interval, NoInterval> {
        let groups = self.left_out.len();
        if groups < MIN_DONORS {
            return Err(NoInterval::FewDonors { found: groups });
        }
        if !self.value.is_finite() || self.left_out.iter().any(|v| !v.is_finite()) {
            return Err(NoInterval::Undefined);
        }
        let g = groups as f64;
        let mean = self.left_out.iter().sum::<f64>() / g;
        let squares: f64 = self.left_out.iter().map(|v| (v - mean).powi(2)).sum();
        let error = ((g - 1.0) / g * squares).sqrt();
        let error = error.max(self.resolution).max(f64::MIN_POSITIVE);
        let t = StudentsT::new(0.0, 1.0, g - 1.0).expect("invariant: five groups or more");
        let half = t.inverse_cdf(1.0 - LEVEL / 2.0) * error;
        Ok(Interval {
            low: self.value - half,
            high: self.value + half,
            error,
            p: 2.0 * t.sf((self.value / error).abs()),
        })
    }

    /// `self − other`, donor by donor.
    ///
    /// # Errors
    /// [`EvalError::Shape`] when the two do not leave out the same number of groups.
    pub fn minus(&self, other: &Self) -> Result<Self, EvalError> {
        EvalError::check("groups left out", self.left_out.len(), other.left_out.len())?;
        let pairs = self.left_out.iter().zip(&other.left_out);
        Ok(Self {
            value: self.value - other.value,
            left_out: pairs.map(|(a, b)| a - b).collect(),
            resolution: self.resolution.max(other.resolution),
        })
    }

    /// The mean of several estimates of one thing, as of runs with several seeds; `None` without
    /// any or when they do not leave out the same groups.
    pub fn mean(of: &[Self]) -> Option<Self> {
        let first = of.first()?;
        let n = of.len() as f64;
        let groups = first.left_out.len();
        let mean = |at: &dyn Fn(&Self) -> f64| of.iter().map(at).sum::<f64>() / n;
        of.iter().all(|e| e.left_out.len() == groups).then(|| Self {
            value: mean(&|e| e.value),
            left_out: (0..groups).map(|g| mean(&|e| e.left_out[g])).collect(),
            resolution: mean(&|e| e.resolution),
        })
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

    /// Mean of `values`, one per donor.
    fn mean_of(values: &[f64]) -> Estimate {
        let n = values.len() as f64;
        let sum: f64 = values.iter().sum();
        Estimate {
            value: sum / n,
            left_out: values.iter().map(|v| (sum - v) / (n - 1.0)).collect(),
            resolution: 0.0,
        }
    }

    #[test]
    fn the_interval_of_a_mean_is_students() {
        let values = [2.0, 4.0, 4.0, 5.0, 7.0, 8.0];
        let got = mean_of(&values).interval().unwrap();
        // Standard deviation 2.1909, t at 5 degrees of freedom 2.5706.
        let error = 2.190_890_230_020_664 / 6f64.sqrt();
        assert!((got.error - error).abs() < 1e-12);
        assert!((got.high - (5.0 + 2.570_581_836 * error)).abs() < 1e-6);
        assert!((got.low + got.high - 10.0).abs() < 1e-12);
    }

    #[test]
    fn pairing_sees_what_single_intervals_hide() {
        let a = mean_of(&[0.2, 0.9, 0.5, 0.1, 0.6, 0.7]);
        let b = mean_of(&[0.1, 0.81, 0.42, 0.0, 0.5, 0.59]);
        let (x, y) = (a.interval().unwrap(), b.interval().unwrap());
        assert!(x.low < y.high);
        let d = a.minus(&b).unwrap().interval().unwrap();
        assert!(d.low > 0.0 && d.p < 0.001);
    }

    #[test]
    fn no_interval_has_a_reason() {
        let few = mean_of(&[1.0, 2.0, 3.0, 4.0]).interval();
        assert_eq!(few, Err(NoInterval::FewDonors { found: 4 }));
        let mut gone = mean_of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        gone.left_out[2] = f64::NAN;
        assert_eq!(gone.interval(), Err(NoInterval::Undefined));
    }

    #[test]
    fn a_perfect_score_is_known_to_one_cell_at_best() {
        let perfect = Estimate {
            resolution: 1.0 / 400.0,
            ..mean_of(&[1.0; 8])
        };
        let i = perfect.interval().unwrap();
        assert_eq!(i.error, 1.0 / 400.0);
        assert!(i.low < 1.0 && i.high > 1.0);
    }

    #[test]
    fn every_donor_is_left_out_once_whatever_the_order_of_codes() {
        let a = Categories::from_values(&["x", "y", "z", "y"]);
        let b = Categories::new(vec![1, 2, 0, 2], vec!["z".into(), "x".into(), "y".into()]);
        let (a, b) = (LeaveOut::donors(&a), LeaveOut::donors(&b.unwrap()));
        assert_eq!(a.kept, [vec![1, 2, 3], vec![0, 2], vec![0, 1, 3]]);
        assert_eq!(a, b);
    }

    #[test]
    fn many_donors_share_groups_of_like_size() {
        let names: Vec<String> = (0..50)
            .flat_map(|d| std::iter::repeat_n(format!("d{d}"), 10 + d))
            .collect();
        let left = LeaveOut::donors(&Categories::from_values(&names));
        assert_eq!((left.donors, left.groups()), (50, MOST_GROUPS));
        let sizes: Vec<usize> = left.kept.iter().map(|k| names.len() - k.len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), names.len());
        assert!(sizes.iter().all(|s| (50..130).contains(s)), "{sizes:?}");
        assert_eq!(LeaveOut::cells(7).groups(), 7);
    }

    #[test]
    fn holm_is_monotone() {
        let got = holm(&[0.01, 0.04, 0.03]);
        for (g, w) in got.iter().zip([0.03, 0.06, 0.06]) {
            assert!((g - w).abs() < 1e-12);
        }
    }
}
