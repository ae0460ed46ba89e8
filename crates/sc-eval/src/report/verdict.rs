//! The verdict in plain words. Every sentence is computed; what was not run is "not tested".

use super::catalogue::{self, BALANCED, GEOMETRY, PRIMARY, TOTAL};
use super::format::{interval, score, signed, signed_interval};
use super::paired::{Difference, Outcome};
use super::summary::{Found, Method, Score};
use crate::results::{Family, Mode};

/// How a sentence is to be read at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Neutral,
    Missing,
}

impl Tone {
    /// Class of the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Neutral => "neutral",
            Self::Missing => "missing",
        }
    }

    /// A sign that does not need colour.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Bad => "✗",
            Self::Neutral => "≈",
            Self::Missing => "?",
        }
    }
}

/// A finding and the numbers behind it.
#[derive(Debug)]
pub(super) struct Sentence {
    pub(super) tone: Tone,
    pub(super) lead: String,
    pub(super) evidence: String,
}

impl Sentence {
    fn new(tone: Tone, lead: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self {
            tone,
            lead: lead.into(),
            evidence: evidence.into(),
        }
    }
}

/// Headline and findings about one data set.
pub(super) struct Verdict {
    pub(super) headline: String,
    pub(super) sentences: Vec<Sentence>,
}

pub(super) fn verdict(methods: &[Method<'_>]) -> Verdict {
    let primary = PRIMARY;
    let total = TOTAL;
    let models: Vec<&Method<'_>> = methods
        .iter()
        .filter(|m| m.family == Family::Model)
        .collect();
    let mut sentences = Vec::new();
    let mut outcomes = Vec::new();
    for model in &models {
        let (sentence, outcome) = against_best(model, methods, primary);
        sentences.push(sentence);
        outcomes.push(outcome);
        sentences.push(against_best(model, methods, total).0);
        sentences.push(against_random(model, methods, primary));
    }
    if models.is_empty() {
        let lead = "Foundation models: not tested.";
        sentences.push(Sentence::new(
            Tone::Missing,
            lead,
            "No model is among the results.",
        ));
    }
    sentences.push(shuffled(methods));
    sentences.push(one_hot(methods));
    Verdict {
        headline: headline(&outcomes, &catalogue::title(primary)),
        sentences,
    }
}

fn headline(outcomes: &[Option<Outcome>], metric: &str) -> String {
    let tested: Vec<Outcome> = outcomes.iter().flatten().copied().collect();
    let count = |o: Outcome| tested.iter().filter(|t| **t == o).count();
    let (better, worse, all) = (count(Outcome::Better), count(Outcome::Worse), tested.len());
    let best = format!("the best simple baseline on {metric} of held-out donors");
    let first = match (better, all) {
        (_, 0) => return "No foundation model was compared with a simple baseline.".to_owned(),
        (0, 1) => format!("The foundation model did not detectably beat {best}"),
        (1, 1) => format!("The foundation model beat {best}"),
        (0, all) => format!("None of {all} foundation models detectably beat {best}"),
        (n, all) if n == all => format!("All {all} foundation models beat {best}"),
        (n, all) => format!("{n} of {all} foundation models beat {best}"),
    };
    let rest = match (worse, all) {
        (0, _) if better == all => "",
        (0, _) => ", and none was detectably worse",
        (1, 1) => "; it was detectably worse",
        (n, all) if n == all => "; all were detectably worse",
        (1, _) => "; one was detectably worse",
        (n, _) => return format!("{first}; {n} were detectably worse."),
    };
    format!("{first}{rest}.")
}

/// The baseline with the highest score of `metric`.
pub(super) fn best_baseline<'m, 'a>(
    methods: &'m [Method<'a>],
    metric: &str,
) -> Option<(&'m Method<'a>, Score)> {
    methods
        .iter()
        .filter(|m| m.family == Family::Baseline)
        .filter_map(|m| Some((m, m.score(metric, Mode::Strict).score()?)))
        .max_by(|a, b| a.1.value.total_cmp(&b.1.value))
}

fn tone(outcome: Outcome) -> Tone {
    match outcome {
        Outcome::Better => Tone::Good,
        Outcome::Worse => Tone::Bad,
        Outcome::Undetected => Tone::Neutral,
        Outcome::NoInterval => Tone::Missing,
    }
}

fn compared(outcome: Outcome, other: &str) -> String {
    match outcome {
        Outcome::Better | Outcome::Worse => format!("{} than {other}", outcome.words()),
        Outcome::Undetected => format!("no detectable difference from {other}"),
        Outcome::NoInterval => {
            format!("compared with {other}, but there are too few replicates for an interval")
        }
    }
}

fn numbers(a: &Score, b_name: &str, b: &Score, d: &Difference) -> String {
    let mut text = format!(
        "{} against {} ({b_name}); difference {}",
        score(a.value),
        score(b.value),
        signed(d.value)
    );
    if let Some(i) = d.interval {
        text.push(' ');
        text.push_str(&signed_interval(i));
    }
    if let Some((low, high)) = a.spread() {
        let (low, high) = (score(low), score(high));
        let n = a.by_seed.len();
        text.push_str(&if low == high {
            format!("; {n} seeds alike")
        } else {
            format!("; {n} seeds from {low} to {high}")
        });
    }
    text.push('.');
    text
}

fn against_best(
    model: &Method<'_>,
    methods: &[Method<'_>],
    metric: &str,
) -> (Sentence, Option<Outcome>) {
    let title = catalogue::title(metric);
    let own = match model.score(metric, Mode::Strict) {
        Found::Score(s) => s,
        Found::Undefined(why) => {
            let lead = format!("{}: {title} is undefined.", model.label);
            return (
                Sentence::new(Tone::Missing, lead, format!("Reason: {why}.")),
                None,
            );
        }
        Found::Absent => {
            let lead = format!("{} on {title}: not tested.", model.label);
            return (
                Sentence::new(Tone::Missing, lead, "The metric was not computed."),
                None,
            );
        }
    };
    let Some((best, theirs)) = best_baseline(methods, metric) else {
        let lead = format!(
            "{} against simple baselines on {title}: not tested.",
            model.label
        );
        return (
            Sentence::new(Tone::Missing, lead, "No baseline has this metric."),
            None,
        );
    };
    let d = Difference::between(&own, &theirs);
    let outcome = d.outcome();
    let lead = format!(
        "{} on {title}: {}.",
        model.label,
        compared(
            outcome,
            &format!("the best simple baseline, {}", best.label)
        )
    );
    (
        Sentence::new(tone(outcome), lead, numbers(&own, &best.label, &theirs, &d)),
        Some(outcome),
    )
}

/// The control named `<model>-random` on the same device.
pub(super) fn random_control<'m, 'a>(
    model: &Method<'_>,
    methods: &'m [Method<'a>],
) -> Option<&'m Method<'a>> {
    let name = format!("{}-random", model.name);
    let device = &model.runs.first()?.device;
    methods
        .iter()
        .find(|m| m.name == name && m.runs.iter().all(|r| r.device == *device))
}

fn against_random(model: &Method<'_>, methods: &[Method<'_>], metric: &str) -> Sentence {
    let title = catalogue::title(metric);
    let pair = random_control(model, methods).and_then(|control| {
        let own = model.score(metric, Mode::Strict).score()?;
        let theirs = control.score(metric, Mode::Strict).score()?;
        Some((control, own, theirs))
    });
    let Some((control, own, theirs)) = pair else {
        let lead = format!(
            "{} against its own random initialisation: not tested.",
            model.label
        );
        let why = format!("It needs {title} of {0} and of {0}-random.", model.name);
        return Sentence::new(Tone::Missing, lead, why);
    };
    let d = Difference::between(&own, &theirs);
    let outcome = d.outcome();
    let what = match outcome {
        Outcome::Better => "training helped: better than the same architecture untrained",
        Outcome::Worse => "training hurt: worse than the same architecture untrained",
        Outcome::Undetected => "no detectable difference from the same architecture untrained",
        Outcome::NoInterval => "too few replicates to compare with the untrained architecture",
    };
    let lead = format!("{} on {title}: {what}.", model.label);
    Sentence::new(
        tone(outcome),
        lead,
        numbers(&own, &control.label, &theirs, &d),
    )
}

fn shuffled(methods: &[Method<'_>]) -> Sentence {
    let metric = BALANCED;
    let found = methods.iter().find(|m| m.name == "shuffled-labels");
    let Some(s) = found.and_then(|m| m.score(metric, Mode::Strict).score()) else {
        let lead = "Shuffled labels: not tested.";
        let why = "It needs the control shuffled-labels and its balanced accuracy.";
        return Sentence::new(Tone::Missing, lead, why);
    };
    let labels = scored_labels(methods);
    let chance = 1.0 / labels.max(1) as f64;
    let evidence = |s: &Score| {
        let range = s
            .interval
            .map_or_else(String::new, |i| format!(" {}", interval(i)));
        format!(
            "Balanced accuracy {}{range}; chance is 1/{labels} = {}.",
            score(s.value),
            score(chance)
        )
    };
    match s.interval {
        None => Sentence::new(
            Tone::Missing,
            "Shuffled labels: no interval, so chance cannot be judged.",
            evidence(&s),
        ),
        Some((low, _)) if low > chance => Sentence::new(
            Tone::Bad,
            "Shuffled labels score above chance: something leaks, distrust the probes.",
            evidence(&s),
        ),
        Some((_, high)) if high < chance => Sentence::new(
            Tone::Good,
            "Shuffled labels are below chance: nothing leaks.",
            evidence(&s),
        ),
        Some(_) => Sentence::new(Tone::Good, "Shuffled labels sit at chance.", evidence(&s)),
    }
}

/// Labels among the scored cells, or in the whole file when no map says which cells were scored.
fn scored_labels(methods: &[Method<'_>]) -> usize {
    let runs = || methods.iter().flat_map(|m| &m.runs);
    let map = runs()
        .filter_map(|r| r.map.as_ref())
        .find(|m| !m.labels.is_empty());
    match map {
        Some(map) => {
            let mut seen = map.labels.clone();
            seen.sort_unstable();
            seen.dedup();
            seen.len()
        }
        None => runs().next().map_or(0, |r| r.data.labels.len()),
    }
}

fn one_hot(methods: &[Method<'_>]) -> Sentence {
    let (total, geometry) = (TOTAL, GEOMETRY);
    let Some(method) = methods.iter().find(|m| m.name == "one-hot") else {
        let why = "The control one-hot is not among the results.";
        return Sentence::new(Tone::Missing, "One-hot labels: not tested.", why);
    };
    let own_total = method.score(total, Mode::Strict).score();
    let pair = own_total.and_then(|s| Some((s, best_baseline(methods, total)?)));
    let Some((own, (best, theirs))) = pair else {
        let why = "It needs the scIB total of one-hot and of a baseline.";
        return Sentence::new(Tone::Missing, "One-hot labels: not tested.", why);
    };
    let on_total = Difference::between(&own, &theirs);
    let high = on_total.value > 0.0;
    let mut evidence = format!(
        "scIB total: {}",
        numbers(&own, &best.label, &theirs, &on_total)
    );
    let (low, geometry_words) = match method.score(geometry, Mode::Strict) {
        Found::Undefined(why) => {
            evidence.push_str(&format!(" scGraph gives no score: {why}."));
            (Some(true), "scGraph gives them none")
        }
        Found::Absent => (None, "scGraph was not computed for them"),
        Found::Score(own) => match best_baseline(methods, geometry) {
            None => (None, "no baseline has scGraph to compare with"),
            Some((best, theirs)) => {
                let d = Difference::between(&own, &theirs);
                let text = numbers(&own, &best.label, &theirs, &d);
                evidence.push_str(&format!(" scGraph: {text}"));
                if d.value < 0.0 {
                    (Some(true), "scGraph puts them below")
                } else {
                    (Some(false), "scGraph does not put them below")
                }
            }
        },
    };
    let scib = if high {
        "scIB rates the bare labels above the best simple baseline"
    } else {
        "scIB does not rate the bare labels above the best simple baseline"
    };
    let tone = match (high, low) {
        (true, Some(true)) => Tone::Good,
        (_, Some(_)) => Tone::Neutral,
        (_, None) => Tone::Missing,
    };
    let end = match (high, low) {
        (true, Some(true)) => ": the control is unmasked",
        _ => "",
    };
    Sentence::new(
        tone,
        format!("One-hot labels: {scib}; {geometry_words}{end}."),
        evidence,
    )
}
