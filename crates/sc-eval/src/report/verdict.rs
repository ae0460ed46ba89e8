//! The verdict in words. Every sentence is computed; what was not run is "not tested".

mod controls;
mod devices;
mod exposure;
mod models;
mod next;

use super::catalogue::{self, PRIMARY, TOTAL};
use super::format::{plural, score, signed, signed_interval};
use super::paired::{Difference, Outcome};
use super::summary::{Method, Score};
use crate::halves::{LEVEL, MIN_DONORS, holm};
use crate::results::Family;
pub(super) use exposure::mark;
use models::Compared;

/// How a sentence is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Neutral,
    Missing,
}

impl Tone {
    /// CSS class.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Neutral => "neutral",
            Self::Missing => "missing",
        }
    }

    /// A sign, so that colour is not needed.
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
    /// The headline: leaks first, then the comparison.
    pub(super) headline: String,
    /// Size of the models.
    pub(super) about: Vec<String>,
    pub(super) sentences: Vec<Sentence>,
    /// What to do next.
    pub(super) next: Vec<String>,
}

pub(super) fn verdict(methods: &[Method<'_>]) -> Verdict {
    let models: Vec<&Method<'_>> = methods
        .iter()
        .filter(|m| m.family == Family::Model)
        .collect();
    let primary = corrected(&models, methods, PRIMARY);
    let total = corrected(&models, methods, TOTAL);
    let mut sentences = Vec::new();
    for (k, model) in models.iter().enumerate() {
        sentences.extend(exposure::sentence(model));
        sentences.push(models::sentence(model, &primary[k], PRIMARY));
        sentences.push(models::sentence(model, &total[k], TOTAL));
        sentences.push(models::against_random(model, methods, PRIMARY));
        sentences.extend(models::against_size_matched(model, methods, PRIMARY));
    }
    sentences.extend(devices::sentences(&models, &primary));
    if models.is_empty() {
        let lead = "Foundation models: not tested.";
        sentences.push(Sentence::new(
            Tone::Missing,
            lead,
            "There is no model among the results.",
        ));
    }
    for other in methods.iter().filter(|m| m.family == Family::Neural) {
        sentences.extend(exposure::sentence(other));
    }
    sentences.push(controls::shuffled(methods));
    sentences.push(controls::one_hot(methods));
    Verdict {
        headline: headline(&models, &primary, methods),
        about: models::about(&models),
        sentences: once(sentences, methods),
        next: next::next(methods, &models, &primary, scored(methods).1),
    }
}

/// Merges sentences that are the same for several rows.
fn once(sentences: Vec<Sentence>, methods: &[Method<'_>]) -> Vec<Sentence> {
    // The row a sentence begins with: the longest matching label, since one may be a prefix of
    // another.
    let labels = |lead: &str| {
        let begins = methods.iter().map(|m| m.label.as_str());
        begins
            .filter(|l| lead.starts_with(*l))
            .max_by_key(|l| l.len())
            .map(str::to_owned)
    };
    let mut out: Vec<(Vec<String>, Sentence)> = Vec::new();
    for mut sentence in sentences {
        let label = labels(&sentence.lead).filter(|_| sentence.tone == Tone::Missing);
        let Some(label) = label else {
            out.push((Vec::new(), sentence));
            continue;
        };
        sentence.lead = sentence.lead[label.len()..].to_owned();
        let same = |(of, s): &&mut (Vec<String>, Sentence)| {
            !of.is_empty() && s.lead == sentence.lead && s.evidence == sentence.evidence
        };
        match out.iter_mut().find(same) {
            Some((of, _)) => of.push(label),
            None => out.push((vec![label], sentence)),
        }
    }
    let whole = |(of, s): (Vec<String>, Sentence)| Sentence {
        lead: format!("{}{}", of.join(", "), s.lead),
        ..s
    };
    out.into_iter().map(whole).collect()
}

/// Every model against all its baselines, with Holm's correction over the models.
fn corrected<'m, 'a>(
    models: &[&Method<'a>],
    methods: &'m [Method<'a>],
    metric: &str,
) -> Vec<Compared<'m, 'a>> {
    let mut all: Vec<Compared<'m, 'a>> = models
        .iter()
        .map(|model| models::compare(model, methods, metric))
        .collect();
    let adjusted = holm(&all.iter().map(|c| c.p).collect::<Vec<_>>());
    for (one, p) in all.iter_mut().zip(adjusted) {
        one.p = p;
        if p >= LEVEL && matches!(one.outcome, Outcome::Better | Outcome::Worse) {
            one.outcome = Outcome::Undetected;
        }
    }
    all
}

/// Description of the scored cells, and their number of donors; 0 where unknown.
fn scored(methods: &[Method<'_>]) -> (String, usize) {
    let records = methods
        .iter()
        .flat_map(|m| &m.runs)
        .flat_map(|r| &r.metrics);
    let donors = records.map(|m| m.donors).max().unwrap_or(0);
    if donors == 0 {
        ("of held-out cells, donors unknown".to_owned(), 0)
    } else {
        (format!("of {}", plural(donors, "held-out donor")), donors)
    }
}

fn headline(
    models: &[&Method<'_>],
    compared: &[Compared<'_, '_>],
    methods: &[Method<'_>],
) -> String {
    let (cells, donors) = scored(methods);
    let mut out = exposure::headline(methods);
    if models.is_empty() {
        out.push_str("No foundation model was compared with a baseline.");
        return out;
    }
    let counts = |wanted: &dyn Fn(&Outcome) -> bool| {
        let fair = models.iter().zip(compared).filter(|(m, _)| !m.saw_labels());
        fair.filter(|(_, c)| wanted(&c.outcome)).count()
    };
    let better = counts(&|o| *o == Outcome::Better);
    let worse = counts(&|o| *o == Outcome::Worse);
    let tested = better + worse + counts(&|o| *o == Outcome::Undetected);
    let fair = models.iter().filter(|m| !m.saw_labels()).count();
    let metric = catalogue::title(PRIMARY);
    if fair == 0 {
        return out;
    }
    if tested == 0 {
        out.push_str(&untestable(compared, donors));
        return out;
    }
    let best = format!("the best baseline on {metric} {cells}");
    let first = match (better, tested) {
        (0, 1) => format!("The foundation model did not detectably beat {best}"),
        (1, 1) => format!("The foundation model beat {best}"),
        (0, all) => format!("None of {all} foundation models detectably beat {best}"),
        (n, all) if n == all => format!("All {all} foundation models beat {best}"),
        (n, all) => format!("{n} of {all} foundation models beat {best}"),
    };
    let rest = match (worse, tested) {
        (0, _) if better == tested => String::new(),
        (0, _) => ", and none was detectably worse".to_owned(),
        (1, 1) => "; it was detectably worse".to_owned(),
        (n, all) if n == all => "; all were detectably worse".to_owned(),
        (1, _) => "; one was detectably worse".to_owned(),
        (n, _) => format!("; {n} were detectably worse"),
    };
    out.push_str(&format!("{first}{rest}."));
    out
}

/// Why nothing can be concluded, and what it would take.
fn untestable(compared: &[Compared<'_, '_>], donors: usize) -> String {
    if (1..MIN_DONORS).contains(&donors) {
        let are = if donors == 1 { "is" } else { "are" };
        return format!(
            "Not testable: {} {are} held out, and a comparison needs {MIN_DONORS}. Choose another donor \
             column, hold out more donors (--test-fraction), or hold out cells at random (--donor none).",
            plural(donors, "donor")
        );
    }
    let reasons = compared.iter().filter_map(|c| match &c.outcome {
        Outcome::Untestable(why) => Some(why.as_str()),
        _ => None,
    });
    let why = reasons.min().unwrap_or("no baseline has the metric");
    format!("Not testable: {why}.")
}

fn tone(outcome: &Outcome) -> Tone {
    match outcome {
        Outcome::Better => Tone::Good,
        Outcome::Worse => Tone::Bad,
        Outcome::Undetected => Tone::Neutral,
        Outcome::Untestable(_) => Tone::Missing,
    }
}

fn numbers(a: &Score, b_name: &str, b: &Score, d: &Difference) -> String {
    let mut text = format!(
        "{} against {} ({b_name}); difference {}",
        score(a.value()),
        score(b.value()),
        signed(d.value)
    );
    match &d.interval {
        Ok(i) => {
            text.push(' ');
            text.push_str(&signed_interval((i.low, i.high)));
        }
        Err(why) => text.push_str(&format!(", no interval: {why}")),
    }
    if let Some((low, high)) = a.spread() {
        let (low, high) = (score(low), score(high));
        let n = a.by_seed.len();
        text.push_str(&if low == high {
            format!("; all {n} seeds equal")
        } else {
            format!("; {n} seeds from {low} to {high}")
        });
    }
    text.push('.');
    text
}
