//! Controls: rows and numbers whose answer is known in advance.

use super::models::best;
use super::{Sentence, Tone, numbers};
use crate::protocol::SHUFFLED;
use crate::report::catalogue::{GEOMETRY, TOTAL};
use crate::report::format::{signed, signed_interval};
use crate::report::paired::Difference;
use crate::report::summary::{Found, Method, Score};
use crate::results::Mode;

/// Above chance means that the whole interval is this far above it: less is rounding.
const TOLERANCE: f64 = 0.01;

/// The linear probe on shuffled labels, in every row that has one.
pub(super) fn shuffled(methods: &[Method<'_>]) -> Sentence {
    let rows: Vec<(&Method<'_>, Score)> = methods
        .iter()
        .filter_map(|m| Some((m, m.score(SHUFFLED, Mode::Strict).score()?)))
        .collect();
    let highest = rows
        .iter()
        .max_by(|a, b| a.1.value().total_cmp(&b.1.value()));
    let Some((highest, score)) = highest else {
        let why = "No row has a linear probe on shuffled labels.";
        return Sentence::new(Tone::Missing, "Shuffled labels: not tested.", why);
    };
    let shown = |m: &Method<'_>, s: &Score| {
        let interval = s.interval();
        let range = interval.map_or_else(String::new, |i| format!(" {}", signed_interval(i)));
        format!("{} {}{range}", m.label, signed(s.value()))
    };
    let above: Vec<&(&Method<'_>, Score)> = rows
        .iter()
        .filter(|(_, s)| s.interval().is_some_and(|(low, _)| low > TOLERANCE))
        .collect();
    let names = |of: &[&(&Method<'_>, Score)]| {
        let named: Vec<String> = of.iter().map(|(m, s)| shown(m, s)).collect();
        named.join("; ")
    };
    if !above.is_empty() {
        let labels: Vec<&str> = above.iter().map(|(m, _)| m.label.as_str()).collect();
        return Sentence::new(
            Tone::Bad,
            format!(
                "Shuffled labels score above chance in {}: information leaks, do not trust the probes.",
                labels.join(", ")
            ),
            format!("Balanced accuracy above chance: {}.", names(&above)),
        );
    }
    let evidence = format!(
        "Highest balanced accuracy above chance of {} rows: {}.",
        rows.len(),
        shown(highest, score)
    );
    if rows.iter().all(|(_, s)| s.interval().is_none()) {
        return Sentence::new(
            Tone::Missing,
            "Shuffled labels: no interval, so they cannot be compared with chance.",
            evidence,
        );
    }
    Sentence::new(
        Tone::Good,
        "Shuffled labels are at chance level in every row.",
        evidence,
    )
}

/// The labels themselves as an embedding: scIB must score them high, scGraph must not.
pub(super) fn one_hot(methods: &[Method<'_>]) -> Sentence {
    let Some(method) = methods.iter().find(|m| m.name == "one-hot") else {
        let why = "The results have no control one-hot.";
        return Sentence::new(Tone::Missing, "One-hot labels: not tested.", why);
    };
    let own_total = method.score(TOTAL, Mode::Strict).score();
    let pair = own_total.and_then(|s| Some((s, best(methods, TOTAL)?)));
    let Some((own, (other, theirs))) = pair else {
        let why = "It needs the scIB total of one-hot and of a baseline.";
        return Sentence::new(Tone::Missing, "One-hot labels: not tested.", why);
    };
    let on_total = Difference::between(&own, &theirs);
    let high = on_total.value > 0.0;
    let mut evidence = format!(
        "scIB total: {}",
        numbers(&own, &other.label, &theirs, &on_total)
    );
    let (low, geometry_words) = match method.score(GEOMETRY, Mode::Strict) {
        Found::Undefined(why) => {
            evidence.push_str(&format!(" scGraph gives no score: {why}."));
            match best(methods, GEOMETRY) {
                Some(_) => (Some(true), "scGraph is undefined for them"),
                None => (None, "scGraph is undefined for every row"),
            }
        }
        Found::Absent => (None, "scGraph was not computed for them"),
        Found::Score(own) => match best(methods, GEOMETRY) {
            None => (None, "no baseline has scGraph to compare with"),
            Some((other, theirs)) => {
                let d = Difference::between(&own, &theirs);
                let text = numbers(&own, &other.label, &theirs, &d);
                evidence.push_str(&format!(" scGraph: {text}"));
                if d.value < 0.0 {
                    (Some(true), "scGraph ranks them below")
                } else {
                    (Some(false), "scGraph does not rank them below")
                }
            }
        },
    };
    let scib = if high {
        "scIB scores the labels alone above the best baseline"
    } else {
        "scIB does not score the labels alone above the best baseline"
    };
    let tone = match (high, low) {
        (true, Some(true)) => Tone::Good,
        (_, Some(_)) => Tone::Neutral,
        (_, None) => Tone::Missing,
    };
    let end = match (high, low) {
        (true, Some(true)) => ": as expected of this control",
        _ => "",
    };
    Sentence::new(
        tone,
        format!("One-hot labels: {scib}; {geometry_words}{end}."),
        evidence,
    )
}
