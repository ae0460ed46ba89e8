//! Turns scores on all cells and on halves of the donors into records.

use super::suite::Score;
use crate::error::Undefined;
use crate::halves::{Estimate, Halves};
use crate::metrics::aggregate;
use crate::results::{Group, MetricRecord, Mode, range};
use rayon::prelude::*;

/// Maximum number of cells in divisions that are scored at once.
const AT_ONCE: usize = 20_000;

/// Scores on parts of the cells, each a list in the same order.
#[derive(Default)]
pub(super) struct Parts {
    halves: Vec<[Vec<Score>; 2]>,
    without: Vec<Vec<Score>>,
}

impl Parts {
    /// Scores every part: several in parallel where cells are few, one after another where each
    /// uses all threads, so that memory stays that of one.
    pub(super) fn score<E: Send>(
        halves: &Halves,
        score: impl Fn(&[usize]) -> Result<Vec<Score>, E> + Sync,
    ) -> Result<Self, E> {
        let both = |[a, b]: &[Vec<usize>; 2]| Ok([score(a)?, score(b)?]);
        let cells = |[a, b]: &[Vec<usize>; 2]| a.len() + b.len();
        let many = halves.divisions.first().is_some_and(|d| cells(d) > AT_ONCE);
        let (divisions, without) = (&halves.divisions, &halves.without);
        let (halves, without) = if many {
            (
                divisions.iter().map(both).collect::<Result<_, E>>(),
                without
                    .iter()
                    .map(|rows| score(rows))
                    .collect::<Result<_, E>>(),
            )
        } else {
            (
                divisions.par_iter().map(both).collect(),
                without.par_iter().map(|rows| score(rows)).collect(),
            )
        };
        Ok(Self {
            halves: halves?,
            without: without?,
        })
    }
}

/// The records of scores in `mode`, on all cells, with their uncertainty from `parts`.
pub(super) fn records(
    all: Vec<Score>,
    parts: &Parts,
    halves: &Halves,
    mode: Mode,
    cells: usize,
) -> Vec<MetricRecord> {
    let mut out: Vec<MetricRecord> = Vec::with_capacity(all.len());
    for (k, score) in all.into_iter().enumerate() {
        let at = |scores: &Vec<Score>| *scores[k].outcome.as_ref().unwrap_or(&f64::NAN);
        let pairs = parts.halves.iter().zip(&halves.divisions);
        let lacking = parts.without.iter().zip(&halves.without);
        let difference = |(of, division): (&[Vec<Score>; 2], &[Vec<usize>; 2])| {
            (at(&of[0]) - at(&of[1])) * Halves::scale(division)
        };
        let (value, note) = match score.outcome {
            Ok(value) => (Some(value), score.note),
            Err(reason) => (None, Some(aggregate::reason(&reason))),
        };
        let own = value.unwrap_or(f64::NAN);
        let change = |(of, rows): (&Vec<Score>, &Vec<usize>)| {
            (at(of) - own) * halves.scale_without(rows.len())
        };
        let differences = value.map(|_| pairs.map(difference).collect());
        let changes = value.map(|_| lacking.map(change).collect());
        let estimate = Estimate {
            value: own,
            differences: differences.unwrap_or_default(),
            changes: changes.unwrap_or_default(),
            degrees: halves.degrees,
            resolution: 1.0 / cells.max(1) as f64,
        };
        let behind = (cells, halves.donors);
        let mut record = record(&score.name, score.group, mode, estimate, behind);
        record.note = join(note, record.note);
        out.push(record);
    }
    out
}

/// `bio_conservation`, `batch_correction` and `total` of one mode.
///
/// A metric whose modes agree is recorded once, as strict, and enters both aggregates. An
/// aggregate with fewer of its metrics than [`aggregate::LEAST_SHARE`] is undefined.
pub(super) fn aggregates(records: &[MetricRecord], mode: Mode) -> Vec<MetricRecord> {
    let Some(any) = records.first() else {
        return Vec::new();
    };
    let behind = (any.cells, any.donors);
    let of = |names: &[&str]| {
        let own = |name: &&str| {
            let at = |m: Mode| records.iter().find(|r| r.mode == m && r.name == **name);
            // A metric undefined in compat mode must not use the strict value.
            let found = at(mode).or_else(|| at(Mode::Strict))?;
            let value = found.value?;
            // Published definitions have no intervals, so neither do their means.
            let estimate = match mode {
                Mode::Strict => found.estimate()?,
                Mode::Compat => Estimate {
                    value,
                    ..Estimate::default()
                },
            };
            Some(((*name).to_owned(), estimate))
        };
        aggregate::Mean::of(names.len(), names.iter().filter_map(own).collect())
    };
    let (bio, batch) = (of(&aggregate::BIO), of(&aggregate::BATCH));
    let total = aggregate::total(&bio, &batch);
    [
        ("bio_conservation", bio),
        ("batch_correction", batch),
        ("total", total),
    ]
    .into_iter()
    .map(|(name, mean)| {
        let (estimate, note) = match &mean.estimate {
            Ok(estimate) => (estimate.clone(), mean.note()),
            Err(why) => (undefined(), Some(aggregate::reason(why))),
        };
        let mut record = record(name, Group::Aggregate, mode, estimate, behind);
        record.note = join(note, record.note);
        record.of = mean.of;
        record
    })
    .collect()
}

fn undefined() -> Estimate {
    Estimate {
        value: f64::NAN,
        ..Estimate::default()
    }
}

fn options(of: &[f64]) -> Vec<Option<f64>> {
    of.iter().map(|v| v.is_finite().then_some(*v)).collect()
}

/// A record of `estimate`, with its interval or why there is none.
fn record(
    name: &str,
    group: Group,
    mode: Mode,
    estimate: Estimate,
    (cells, donors): (usize, usize),
) -> MetricRecord {
    let interval = estimate.interval_within(range(name));
    let defined = estimate.value.is_finite();
    MetricRecord {
        name: name.to_owned(),
        group,
        mode,
        value: defined.then_some(estimate.value),
        low: interval.ok().map(|i| i.low),
        high: interval.ok().map(|i| i.high),
        cells,
        donors,
        note: match interval {
            Err(why) if defined && mode == Mode::Strict => Some(format!("no interval: {why}")),
            _ => None,
        },
        halves: options(&estimate.differences),
        without: options(&estimate.changes),
        degrees: estimate.degrees,
        of: Vec::new(),
    }
}

fn join(a: Option<String>, b: Option<String>) -> Option<String> {
    match (a, b) {
        (Some(a), Some(b)) => Some(format!("{a}; {b}")),
        (a, b) => a.or(b),
    }
}

/// The record of a probe that could not be fitted.
pub(super) fn missing(name: &str, why: &Undefined, cells: usize, donors: usize) -> MetricRecord {
    let mut record = record(
        name,
        Group::Probe,
        Mode::Strict,
        undefined(),
        (cells, donors),
    );
    record.note = Some(aggregate::reason(why));
    record
}
