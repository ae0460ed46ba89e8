//! Whether the verdict on a model depends on the device it was trained on.

use super::super::catalogue::{self, PRIMARY};
use super::super::format::score;
use super::super::paired::Outcome;
use super::super::summary::Method;
use super::models::Compared;
use super::{Sentence, Tone};
use crate::results::Mode;

/// A sentence about every model that ran on several devices.
pub(super) fn sentences(models: &[&Method<'_>], compared: &[Compared<'_, '_>]) -> Vec<Sentence> {
    let first = |(at, model): &(usize, &&Method<'_>)| {
        let earlier = &models[..*at];
        earlier.iter().all(|m| m.name != model.name)
    };
    let of = |(_, model): (usize, &&Method<'_>)| {
        let all = models.iter().zip(compared);
        let own: Vec<_> = all.filter(|(m, _)| m.name == model.name).collect();
        let testable = own.iter().any(|(_, c)| kind(&c.outcome) != UNTESTABLE);
        (own.len() > 1 && testable).then(|| sentence(model.name, &own))
    };
    let models = models.iter().enumerate();
    models.filter(first).filter_map(of).collect()
}

fn sentence(name: &str, own: &[(&&Method<'_>, &Compared<'_, '_>)]) -> Sentence {
    let devices = own.iter().map(|(m, _)| m.runs[0].device.as_str());
    let devices: Vec<&str> = devices.collect();
    let kinds: Vec<u8> = own.iter().map(|(_, c)| kind(&c.outcome)).collect();
    let values: Vec<Option<f64>> = (own.iter())
        .map(|(m, _)| m.score(PRIMARY, Mode::Strict).score().map(|s| s.value()))
        .collect();
    let listed = devices.iter().zip(&values).map(|(device, value)| {
        let value = value.map_or("undefined".to_owned(), score);
        format!("{value} on {device}")
    });
    let listed: Vec<String> = listed.collect();
    let evidence = format!("{} {}.", catalogue::title(PRIMARY), listed.join(", "));
    match kinds.iter().all(|k| *k == kinds[0]) {
        true => Sentence::new(
            Tone::Good,
            format!("{name}: the verdict is the same on {}.", devices.join(", ")),
            evidence,
        ),
        false => Sentence::new(
            Tone::Bad,
            format!("{name}: the verdict depends on the device."),
            evidence,
        ),
    }
}

const UNTESTABLE: u8 = 3;

/// Which verdict it is.
fn kind(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Better => 0,
        Outcome::Worse => 1,
        Outcome::Undetected => 2,
        Outcome::Untestable(_) => UNTESTABLE,
    }
}
