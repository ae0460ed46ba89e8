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
    let mut names: Vec<&str> = models.iter().map(|m| m.name).collect();
    names.dedup();
    let of = |name: &str| {
        let all = models.iter().zip(compared);
        let own: Vec<_> = all.filter(|(m, _)| m.name == name).collect();
        (own.len() > 1).then(|| sentence(name, &own))
    };
    names.into_iter().filter_map(of).collect()
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

/// Which verdict it is.
fn kind(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Better => 0,
        Outcome::Worse => 1,
        Outcome::Undetected => 2,
        Outcome::Untestable(_) => 3,
    }
}
