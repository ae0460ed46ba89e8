//! Runs of one method, summarised over seeds.

use crate::halves::Estimate;
use crate::results::{Exposure, Family, Mode, RunResult, range};

/// All runs of one method on one data set and device.
pub(super) struct Method<'a> {
    /// Name of the row, with the device where a method ran on several.
    pub(super) label: String,
    /// Name of the method.
    pub(super) name: &'a str,
    pub(super) family: Family,
    /// One run per seed, ordered by seed.
    pub(super) runs: Vec<&'a RunResult>,
}

/// A score averaged over seeds.
pub(super) struct Score {
    /// Mean over the seeds in which it is defined, with its halves of the donors.
    pub(super) estimate: Estimate,
    /// Value of every seed in which it is defined.
    pub(super) by_seed: Vec<f64>,
    /// Of an aggregate: the metrics behind it.
    pub(super) of: Vec<String>,
    /// The values the metric can have.
    pub(super) range: (f64, f64),
    pub(super) cells: usize,
    pub(super) donors: usize,
    /// A note for the reader.
    pub(super) note: Option<String>,
}

/// State of a metric for a method.
pub(super) enum Found {
    Score(Score),
    /// Computed but undefined; the reason.
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
    pub(super) fn value(&self) -> f64 {
        self.estimate.value
    }

    /// Ends of the 95 % interval.
    pub(super) fn interval(&self) -> Option<(f64, f64)> {
        let ends = self.estimate.interval_within(self.range).ok()?;
        Some((ends.low, ends.high))
    }

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
            let reason = first.note.as_deref().unwrap_or("unknown reason");
            let reason = reason.strip_prefix("undefined: ").unwrap_or(reason);
            return Found::Undefined(reason.to_owned());
        }
        let estimates: Vec<Estimate> = defined.iter().filter_map(|m| m.estimate()).collect();
        let estimate = Estimate::mean(&estimates, 1.0).unwrap_or_else(|| Estimate {
            value: by_seed.iter().sum::<f64>() / by_seed.len() as f64,
            ..Estimate::default()
        });
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
            estimate,
            by_seed,
            of: defined[0].of.clone(),
            range: range(name),
            cells: defined[0].cells,
            donors: defined[0].donors,
            note,
        })
    }

    /// The worst exposure of any of its runs to the scored cells.
    pub(super) fn exposure(&self) -> &Exposure {
        let rank = |e: &&Exposure| match e {
            Exposure::Nothing => 0,
            Exposure::Unknown => 1,
            Exposure::Cells { .. } => 2,
            Exposure::Labels { .. } => 3,
        };
        let all = self.runs.iter().map(|r| &r.exposure);
        all.max_by_key(rank).unwrap_or(&Exposure::Unknown)
    }

    /// Whether it was trained on labels of scored cells, so that its score is meaningless.
    pub(super) fn saw_labels(&self) -> bool {
        matches!(self.exposure(), Exposure::Labels { .. })
    }

    /// Whether it is a baseline that models are compared with: not one trained on labels of scored
    /// cells, nor one of unknown training cells.
    pub(super) fn is_comparable(&self) -> bool {
        matches!(self.family, Family::Neural | Family::Baseline)
            && !matches!(self.exposure(), Exposure::Labels { .. } | Exposure::Unknown)
    }

    /// Description in one sentence.
    pub(super) fn description(&self) -> &str {
        self.runs.first().map_or("", |r| r.description.as_str())
    }
}

/// Methods of `results`, models before baselines before controls, each in order of appearance.
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
