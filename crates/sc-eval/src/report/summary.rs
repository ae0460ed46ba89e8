//! Runs of one method gathered over seeds.

use super::paired::percentile_interval;
use crate::results::{Family, Mode, RunResult};

/// All runs of one method on one data set and device.
pub(super) struct Method<'a> {
    /// Name of the row, with the device where a method ran on several.
    pub(super) label: String,
    /// Name of the method.
    pub(super) name: &'a str,
    pub(super) family: Family,
    /// One run per seed, in the order of seeds.
    pub(super) runs: Vec<&'a RunResult>,
}

/// A score averaged over seeds.
pub(super) struct Score {
    /// Mean over the seeds in which it is defined.
    pub(super) value: f64,
    /// Interval of the donor bootstrap, of the mean over seeds.
    pub(super) interval: Option<(f64, f64)>,
    /// Value of every seed in which it is defined.
    pub(super) by_seed: Vec<f64>,
    /// Mean over seeds of every replicate, NaN where undefined; empty when there are none.
    pub(super) replicates: Vec<f64>,
    pub(super) cells: usize,
    pub(super) donors: usize,
    /// What to know about it.
    pub(super) note: Option<String>,
}

/// What a method has of a metric.
pub(super) enum Found {
    Score(Score),
    /// Computed and without value; the reason.
    Undefined(String),
    /// Not computed.
    Absent,
}

impl Found {
    pub(super) fn score(self) -> Option<Score> {
        match self {
            Self::Score(s) => Some(s),
            Self::Undefined(_) | Self::Absent => None,
        }
    }
}

impl Score {
    /// Smallest and largest seed, where there are several.
    pub(super) fn spread(&self) -> Option<(f64, f64)> {
        (self.by_seed.len() > 1).then(|| {
            let low = self.by_seed.iter().copied().fold(f64::INFINITY, f64::min);
            let high = self
                .by_seed
                .iter()
                .copied()
                .fold(f64::NEG_INFINITY, f64::max);
            (low, high)
        })
    }
}

impl Method<'_> {
    /// The metric `name` in `mode`, over the seeds.
    pub(super) fn score(&self, name: &str, mode: Mode) -> Found {
        let records: Vec<_> = self
            .runs
            .iter()
            .filter_map(|r| r.metric(name, mode))
            .collect();
        let Some(first) = records.first() else {
            return Found::Absent;
        };
        let defined: Vec<_> = records
            .iter()
            .filter(|m| m.value.is_some_and(f64::is_finite))
            .collect();
        let by_seed: Vec<f64> = defined.iter().filter_map(|m| m.value).collect();
        if by_seed.is_empty() {
            let reason = first.note.as_deref().unwrap_or("no reason was given");
            let reason = reason.strip_prefix("undefined: ").unwrap_or(reason);
            return Found::Undefined(reason.to_owned());
        }
        let n = by_seed.len() as f64;
        let length = defined
            .iter()
            .map(|m| m.replicates.len())
            .min()
            .unwrap_or(0);
        let replicates: Vec<f64> = (0..length)
            .map(|r| {
                let sum: Option<f64> = defined.iter().map(|m| m.replicates[r].map(f64::from)).sum();
                sum.map_or(f64::NAN, |s| s / n)
            })
            .collect();
        let interval = match defined.as_slice() {
            [only] => only.low.zip(only.high),
            _ => percentile_interval(&replicates).or_else(|| {
                let low: Option<f64> = defined.iter().map(|m| m.low).sum();
                let high: Option<f64> = defined.iter().map(|m| m.high).sum();
                low.zip(high).map(|(l, h)| (l / n, h / n))
            }),
        };
        let note = if defined.len() < records.len() {
            Some(format!(
                "defined in {} of {} seeds",
                defined.len(),
                records.len()
            ))
        } else {
            defined[0].note.clone()
        };
        Found::Score(Score {
            value: by_seed.iter().sum::<f64>() / n,
            interval,
            by_seed,
            replicates,
            cells: defined[0].cells,
            donors: defined[0].donors,
            note,
        })
    }

    /// One sentence: what the method is.
    pub(super) fn description(&self) -> &str {
        self.runs.first().map_or("", |r| r.description.as_str())
    }
}

/// Methods of `results`, models before baselines before controls, each in the order given.
pub(super) fn methods<'a>(results: &[&'a RunResult]) -> Vec<Method<'a>> {
    let mut out: Vec<Method<'a>> = Vec::new();
    for &run in results {
        let same = |m: &&mut Method<'a>| {
            m.name == run.method && m.runs.iter().all(|r| r.device == run.device)
        };
        match out.iter_mut().find(same) {
            Some(method) => method.runs.push(run),
            None => out.push(Method {
                label: run.method.clone(),
                name: &run.method,
                family: run.family,
                runs: vec![run],
            }),
        }
    }
    let names: Vec<&str> = out.iter().map(|m| m.name).collect();
    for method in &mut out {
        method.runs.sort_by_key(|r| r.seed);
        if names.iter().filter(|n| **n == method.name).count() > 1 {
            method.label = format!("{} ({})", method.name, method.runs[0].device);
        }
    }
    out.sort_by_key(|m| m.family);
    out
}
