//! Foundation models against baselines, their untrained controls and baselines of equal size.

use super::{Sentence, Tone, numbers, tone};
use crate::report::catalogue::{self, TOTAL};
use crate::report::format::count;
use crate::report::paired::{Difference, Outcome, against_all};
use crate::report::summary::{Found, Method, Score};
use crate::results::{Cost, Family, Mode};

/// Fewer parameters, or fewer training cells, than any published foundation model has.
const SMALL: (f64, f64) = (1e6, 1e5);

/// The control that totals are compared with.
const RANDOM_EMBEDDING: &str = "random-embedding";

/// One model against all baselines on one metric.
pub(super) struct Compared<'m, 'a> {
    pub(super) outcome: Outcome,
    /// p of the outcome; 1 if nothing was detected.
    pub(super) p: f64,
    pub(super) found: Found,
    /// The best baseline and the difference from it.
    pub(super) best: Option<(&'m Method<'a>, Score, Difference)>,
}

/// Baselines of both kinds that are eligible for comparison.
fn comparable<'m, 'a>(methods: &'m [Method<'a>], metric: &str) -> Vec<(&'m Method<'a>, Score)> {
    methods
        .iter()
        .filter(|m| m.is_comparable())
        .filter_map(|m| Some((m, m.score(metric, Mode::Strict).score()?)))
        .collect()
}

/// The best of the baselines.
pub(super) fn best<'m, 'a>(
    methods: &'m [Method<'a>],
    metric: &str,
) -> Option<(&'m Method<'a>, Score)> {
    let all = comparable(methods, metric).into_iter();
    all.max_by(|a, b| a.1.value().total_cmp(&b.1.value()))
}

pub(super) fn compare<'m, 'a>(
    model: &Method<'a>,
    methods: &'m [Method<'a>],
    metric: &str,
) -> Compared<'m, 'a> {
    let found = model.score(metric, Mode::Strict);
    let Found::Score(own) = &found else {
        let why = match &found {
            Found::Undefined(why) => why.clone(),
            _ => "the metric was not computed".to_owned(),
        };
        return Compared {
            outcome: Outcome::Untestable(why),
            p: 1.0,
            found,
            best: None,
        };
    };
    let all = comparable(methods, metric);
    let differences: Vec<Difference> = all.iter().map(|o| Difference::between(own, &o.1)).collect();
    let (mut outcome, mut p) = against_all(&differences);
    if model.saw_labels() {
        (outcome, p) = (
            Outcome::Untestable("it saw the labels it is scored on".to_owned()),
            1.0,
        );
    }
    if metric == TOTAL && outcome == Outcome::Better {
        // Noise mixes batches perfectly, and totals reward that.
        let noise = methods.iter().find(|m| m.name == RANDOM_EMBEDDING);
        let noise = noise.and_then(|m| m.score(metric, Mode::Strict).score());
        let why = match noise.map(|theirs| Difference::between(own, &theirs).outcome()) {
            Some(Outcome::Better) => None,
            Some(_) => Some("a random embedding scores as high"),
            None => Some("the score of a random embedding is missing (random-embedding)"),
        };
        if let Some(why) = why {
            (outcome, p) = (Outcome::Untestable(why.to_owned()), 1.0);
        }
    }
    let best = all
        .into_iter()
        .zip(differences)
        .max_by(|a, b| a.0.1.value().total_cmp(&b.0.1.value()))
        .map(|((method, score), d)| (method, score, d));
    Compared {
        outcome,
        p,
        found,
        best,
    }
}

/// The comparison in words.
pub(super) fn sentence(model: &Method<'_>, compared: &Compared<'_, '_>, metric: &str) -> Sentence {
    let (label, title) = (&model.label, catalogue::title(metric));
    let own = match &compared.found {
        Found::Score(own) => own,
        Found::Undefined(why) => {
            let lead = format!("{label}: {title} is undefined.");
            return Sentence::new(Tone::Missing, lead, format!("Reason: {why}."));
        }
        Found::Absent => {
            let lead = format!("{label} on {title}: not tested.");
            return Sentence::new(Tone::Missing, lead, "The metric was not computed.");
        }
    };
    let Some((best, theirs, difference)) = &compared.best else {
        let lead = format!("{label} against baselines on {title}: not tested.");
        return Sentence::new(Tone::Missing, lead, "No baseline has this metric.");
    };
    let name = &best.label;
    let said = match &compared.outcome {
        Outcome::Better => format!("better than every baseline, including the best, {name}"),
        Outcome::Worse => format!("worse than at least one baseline; the best is {name}"),
        Outcome::Undetected => {
            // The interval of this difference alone may leave out zero.
            let corrected = match difference.outcome() {
                Outcome::Better => "; better than that one alone, but not than every baseline",
                Outcome::Worse => ", after correction for several comparisons",
                Outcome::Undetected | Outcome::Untestable(_) => "",
            };
            format!("no detectable difference from the best baseline, {name}{corrected}")
        }
        Outcome::Untestable(why) => format!("not testable, {why}"),
    };
    Sentence::new(
        tone(&compared.outcome),
        format!("{label} on {title}: {said}."),
        numbers(own, name, theirs, difference),
    )
}

/// The control named `<model>-random` on the same device.
fn random_control<'m, 'a>(model: &Method<'_>, methods: &'m [Method<'a>]) -> Option<&'m Method<'a>> {
    let name = format!("{}-random", model.name);
    let device = &model.runs.first()?.device;
    methods
        .iter()
        .find(|m| m.name == name && m.runs.iter().all(|r| r.device == *device))
}

/// Did training help?
pub(super) fn against_random(model: &Method<'_>, methods: &[Method<'_>], metric: &str) -> Sentence {
    let title = catalogue::title(metric);
    let pair = random_control(model, methods).and_then(|control| {
        let own = model.score(metric, Mode::Strict).score()?;
        let theirs = control.score(metric, Mode::Strict).score()?;
        Some((control, own, theirs))
    });
    let Some((control, own, theirs)) = pair else {
        let lead = format!("{} against its untrained control: not tested.", model.label);
        let why = format!(
            "It needs {title} of the row and of the control with the same name and -random."
        );
        return Sentence::new(Tone::Missing, lead, why);
    };
    let d = Difference::between(&own, &theirs);
    let outcome = d.outcome();
    let what = match &outcome {
        Outcome::Better => "training helped, better than the same architecture untrained".into(),
        Outcome::Worse => "training hurt, worse than the same architecture untrained".into(),
        Outcome::Undetected => {
            "no detectable difference from the same architecture untrained".into()
        }
        Outcome::Untestable(why) => {
            format!("not testable against the untrained architecture, {why}")
        }
    };
    Sentence::new(
        tone(&outcome),
        format!("{} on {title}: {what}.", model.label),
        numbers(&own, &control.label, &theirs, &d),
    )
}

/// Every baseline that was sized to match this model.
pub(super) fn against_size_matched(
    model: &Method<'_>,
    methods: &[Method<'_>],
    metric: &str,
) -> Vec<Sentence> {
    let title = catalogue::title(metric);
    let preset = |m: &Method<'_>| m.runs.first().and_then(|r| r.preset.clone());
    let Some(own_preset) = preset(model) else {
        return Vec::new();
    };
    let of_size = |m: &&Method<'_>| {
        let same = m.runs.first().and_then(|r| r.same_size_as.as_ref());
        m.family == Family::Neural && same == Some(&own_preset)
    };
    let mut out = Vec::new();
    for other in methods.iter().filter(of_size) {
        let scores = model.score(metric, Mode::Strict).score();
        let Some((own, theirs)) = scores.zip(other.score(metric, Mode::Strict).score()) else {
            continue;
        };
        let d = Difference::between(&own, &theirs);
        let outcome = d.outcome();
        let said = match &outcome {
            Outcome::Better | Outcome::Worse => format!("{} than", outcome.words()),
            Outcome::Undetected => "no detectable difference from".to_owned(),
            Outcome::Untestable(why) => format!("not testable ({why}) against"),
        };
        let lead = format!(
            "{} on {title}: {said} {} of equal size.",
            model.label, other.label
        );
        out.push(Sentence::new(
            tone(&outcome),
            lead,
            numbers(&own, &other.label, &theirs, &d),
        ));
    }
    out
}

/// Size of the models, and whether it is comparable to published ones.
pub(super) fn about(models: &[&Method<'_>]) -> Vec<String> {
    let (mut out, mut unknown, mut small) = (Vec::new(), Vec::new(), Vec::new());
    for model in models {
        let label = model.label.as_str();
        let costs = || model.runs.iter().map(|r| &r.cost);
        let largest = |of: fn(&Cost) -> Option<u64>| costs().filter_map(of).max();
        let cells = largest(|c| c.training_cells);
        let Some(parameters) = largest(|c| c.parameters) else {
            unknown.push(label);
            continue;
        };
        let mut text = format!("{label}: {} parameters", count(parameters));
        if let Some(steps) = largest(|c| c.steps) {
            text.push_str(&format!(", {} training steps", count(steps)));
        }
        if let Some(cells) = cells {
            text.push_str(&format!(", {} training cells", count(cells)));
        }
        out.push(format!("{text}."));
        let few = cells.is_some_and(|c| (c as f64) < SMALL.1);
        if (parameters as f64) < SMALL.0 || few {
            small.push(label);
        }
    }
    if !unknown.is_empty() {
        out.push(format!(
            "{}: parameters, steps and training cells are not recorded.",
            unknown.join(", ")
        ));
    }
    if !small.is_empty() {
        let which = match small.len() == models.len() {
            true => String::new(),
            false => format!("{}: ", small.join(", ")),
        };
        out.push(format!(
            "{which}Published models are larger and saw far more cells; these results say nothing about \
             them."
        ));
    }
    out
}
