//! Turns outcomes into records with bootstrap intervals.

use super::{Dataset, Judgement, Options, Predictions};
use crate::bootstrap::{DonorBootstrap, interval};
use crate::metrics::aggregate::{self, Mean};
use crate::probe;
use crate::results::{Group, MetricRecord, Mode};
use crate::scored::Outcome;
use std::collections::BTreeMap;
use std::time::Instant;

/// Value and replicates of a defined metric.
type Known = (f64, Vec<f64>);

/// Collects records and times.
pub(super) struct Recorder {
    bootstrap: DonorBootstrap,
    cells: usize,
    pub(super) judgement: Judgement,
    started: Option<(&'static str, Instant)>,
    /// By mode and name, for the aggregates.
    known: BTreeMap<(Mode, String), Known>,
}

impl Recorder {
    pub(super) fn new(dataset: &Dataset, options: &Options) -> Self {
        let donors = dataset.donors.select(&dataset.test);
        Self {
            bootstrap: DonorBootstrap::new(&donors, options.replicates, options.seed),
            cells: dataset.test.len(),
            judgement: Judgement::default(),
            started: None,
            known: BTreeMap::new(),
        }
    }

    /// Ends the running part and starts the next.
    pub(super) fn part(&mut self, name: &'static str) {
        self.stop();
        self.started = Some((name, Instant::now()));
    }

    fn stop(&mut self) {
        if let Some((name, start)) = self.started.take() {
            self.judgement
                .seconds
                .push((name, start.elapsed().as_secs_f64()));
        }
    }

    pub(super) fn finish(mut self) -> Judgement {
        self.stop();
        self.judgement
    }

    fn record(&self, name: &str, group: Group, mode: Mode, known: Option<&Known>) -> MetricRecord {
        let bounds = known.and_then(|k| interval(&k.1));
        MetricRecord {
            name: name.to_owned(),
            group,
            mode,
            value: known.map(|k| k.0),
            low: bounds.map(|b| b.0),
            high: bounds.map(|b| b.1),
            cells: self.cells,
            donors: self.bootstrap.donors(),
            note: None,
            replicates: known
                .filter(|_| mode == Mode::Strict)
                .map(|k| {
                    k.1.iter()
                        .map(|v| v.is_finite().then_some(*v as f32))
                        .collect()
                })
                .unwrap_or_default(),
        }
    }

    fn note(&self, known: Option<&Known>, note: Option<String>) -> Option<String> {
        let alone = (known.is_some() && self.bootstrap.donors() < 2)
            .then(|| "one donor: no interval".to_owned());
        match (note, alone) {
            (Some(a), Some(b)) => Some(format!("{a}; {b}")),
            (a, b) => a.or(b),
        }
    }

    /// Records one outcome, with its interval or its reason.
    pub(super) fn metric(
        &mut self,
        name: &str,
        group: Group,
        mode: Mode,
        outcome: &Outcome,
        note: Option<String>,
    ) {
        let known = match outcome {
            Ok(scored) => Some((
                scored.value,
                self.bootstrap.scores(scored.resample.as_ref()),
            )),
            Err(_) => None,
        };
        let mut record = self.record(name, group, mode, known.as_ref());
        record.note = match outcome {
            Ok(_) => self.note(known.as_ref(), note),
            Err(reason) => Some(aggregate::reason(reason)),
        };
        if let Some(known) = known {
            self.known.insert((mode, name.to_owned()), known);
        }
        self.judgement.records.push(record);
    }

    /// Records both of a pair, or its one reason twice.
    pub(super) fn pair(
        &mut self,
        names: [&str; 2],
        group: Group,
        mode: Mode,
        outcome: Result<(crate::Scored, crate::Scored), crate::Undefined>,
    ) {
        match outcome {
            Ok((a, b)) => {
                self.metric(names[0], group, mode, &Ok(a), None);
                self.metric(names[1], group, mode, &Ok(b), None);
            }
            Err(e) => {
                self.metric(names[0], group, mode, &Err(e.clone()), None);
                self.metric(names[1], group, mode, &Err(e), None);
            }
        }
    }

    /// Every score of predictions.
    pub(super) fn probe(&mut self, prefix: &str, predictions: &Predictions, truth: &[u32]) {
        for (name, outcome) in probe::scores(predictions, truth) {
            self.metric(
                &format!("{prefix}{name}"),
                Group::Probe,
                Mode::Strict,
                &outcome,
                None,
            );
        }
    }

    /// The record of a probe that could not be fitted.
    pub(super) fn missing(&self, name: &str) -> MetricRecord {
        let mut record = self.record(name, Group::Probe, Mode::Strict, None);
        record.note = Some("undefined: there is no training cell".to_owned());
        record
    }

    /// `bio_conservation`, `batch_correction` and `total` of one mode.
    ///
    /// A metric whose modes agree is recorded once, as strict, and serves both aggregates. A
    /// replicate counts only when every metric behind the point estimate is defined in it.
    pub(super) fn aggregates(&mut self, mode: Mode) {
        let collect = |names: &[&str]| -> (Mean, Option<Vec<f64>>) {
            let own: Vec<Option<&Known>> = names
                .iter()
                .map(|n| {
                    let at = |m| self.known.get(&(m, (*n).to_owned()));
                    // A metric undefined in compat mode must not borrow the strict value.
                    let tried = self
                        .judgement
                        .records
                        .iter()
                        .any(|r| r.mode == mode && r.name == *n);
                    if tried { at(mode) } else { at(Mode::Strict) }
                })
                .collect();
            let values: Vec<Option<f64>> = own.iter().map(|k| k.map(|k| k.0)).collect();
            let defined: Vec<&Known> = own.into_iter().flatten().collect();
            let length = defined.iter().map(|k| k.1.len()).min();
            let replicates = length.map(|l| {
                let mean = |r| defined.iter().map(|k| k.1[r]).sum::<f64>() / defined.len() as f64;
                (0..l).map(mean).collect()
            });
            (aggregate::mean(&values), replicates)
        };
        let (bio, bio_replicates) = collect(&aggregate::BIO);
        let (batch, batch_replicates) = collect(&aggregate::BATCH);
        let total = aggregate::total(bio, batch);
        let both = bio_replicates.as_ref().zip(batch_replicates.as_ref());
        let total_replicates =
            both.map(|(a, b)| a.iter().zip(b).map(|(a, b)| 0.6 * a + 0.4 * b).collect());
        for (name, mean, replicates) in [
            ("bio_conservation", bio, bio_replicates),
            ("batch_correction", batch, batch_replicates),
            ("total", total, total_replicates),
        ] {
            let known = mean.value.map(|v| (v, replicates.unwrap_or_default()));
            let mut record = self.record(name, Group::Aggregate, mode, known.as_ref());
            let count = format!("mean of {} of {} metrics", mean.defined, mean.expected);
            record.note = self.note(known.as_ref(), Some(count));
            self.judgement.records.push(record);
        }
    }
}
