//! Turns scores on all cells and without each donor into records.

use super::suite::Score;
use crate::error::Undefined;
use crate::jackknife::{Estimate, LeaveOut};
use crate::metrics::aggregate;
use crate::results::{Group, MetricRecord, Mode, range};

/// The records of scores in `mode`: of all cells, and of the same cells without each group.
///
/// `left_out` holds one list per group with the scores in the same order; empty where no interval
/// is wanted. Aggregates are added where their metrics are among the scores.
pub(super) fn records(
    all: Vec<Score>,
    left_out: &[Vec<Score>],
    units: &LeaveOut,
    mode: Mode,
    cells: usize,
) -> Vec<MetricRecord> {
    let mut out: Vec<MetricRecord> = Vec::with_capacity(all.len());
    for (k, score) in all.into_iter().enumerate() {
        let without: Vec<f64> = left_out
            .iter()
            .map(|scores| *scores[k].outcome.as_ref().unwrap_or(&f64::NAN))
            .collect();
        let (value, note) = match score.outcome {
            Ok(value) => (Some(value), score.note),
            Err(reason) => (None, Some(aggregate::reason(&reason))),
        };
        let left_out = if value.is_some() { without } else { Vec::new() };
        let estimate = Estimate {
            value: value.unwrap_or(f64::NAN),
            left_out,
            resolution: 1.0 / cells.max(1) as f64,
        };
        let mut record = record(
            &score.name,
            score.group,
            mode,
            estimate,
            (cells, units.donors),
        );
        record.note = join(note, record.note);
        out.push(record);
    }
    out
}

/// `bio_conservation`, `batch_correction` and `total` of one mode.
///
/// A metric whose modes agree is recorded once, as strict, and serves both aggregates. An
/// aggregate that has fewer of its metrics than [`aggregate::LEAST_SHARE`] is undefined.
pub(super) fn aggregates(records: &[MetricRecord], mode: Mode) -> Vec<MetricRecord> {
    let Some(any) = records.first() else {
        return Vec::new();
    };
    let behind = (any.cells, any.donors);
    let of = |names: &[&str]| {
        let own = |name: &&str| {
            let at = |m: Mode| records.iter().find(|r| r.mode == m && r.name == **name);
            // A metric undefined in compat mode must not borrow the strict value.
            let found = at(mode).or_else(|| at(Mode::Strict))?;
            let value = found.value?;
            // Published definitions come without intervals, so their means do too.
            let left_out = if mode == Mode::Strict {
                found.left_out.clone()
            } else {
                Vec::new()
            };
            let estimate = Estimate {
                value,
                left_out: floats(&left_out),
                resolution: 1.0 / found.cells.max(1) as f64,
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

fn floats(values: &[Option<f64>]) -> Vec<f64> {
    values.iter().map(|v| v.unwrap_or(f64::NAN)).collect()
}

/// A record of `estimate`, with its interval or why there is none.
fn record(
    name: &str,
    group: Group,
    mode: Mode,
    estimate: Estimate,
    (cells, donors): (usize, usize),
) -> MetricRecord {
    let interval = estimate.interval();
    let (least, most) = range(name);
    let defined = estimate.value.is_finite();
    MetricRecord {
        name: name.to_owned(),
        group,
        mode,
        value: defined.then_some(estimate.value),
        low: interval.ok().map(|i| i.low.max(least.min(estimate.value))),
        high: interval.ok().map(|i| i.high.min(most.max(estimate.value))),
        cells,
        donors,
        note: match interval {
            Err(why) if defined && mode == Mode::Strict => Some(format!("no interval: {why}")),
            _ => None,
        },
        left_out: estimate
            .left_out
            .iter()
            .map(|v| v.is_finite().then_some(*v))
            .collect(),
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
