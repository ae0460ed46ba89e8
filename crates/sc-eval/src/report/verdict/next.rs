//! Advice on what to do next, from the findings.

use super::exposure;
use super::models::Compared;
use crate::halves::MIN_DONORS;
use crate::report::catalogue::{self, PRIMARY};
use crate::report::format::{count, plural};
use crate::report::paired::Outcome;
use crate::report::summary::Method;
use crate::results::{ClassDetail, Exposure, Recognised};

/// Labels with fewer scored cells are hardly evaluated.
const FEW_CELLS: usize = 10;
/// Maximum number of labels named in a line.
const NAMED: usize = 5;
/// Below this many training steps, more are worth a try.
const FEW_STEPS: u64 = 1000;

/// Advice, the most urgent first.
pub(super) fn next(
    methods: &[Method<'_>],
    models: &[&Method<'_>],
    primary: &[Compared<'_, '_>],
    donors: usize,
) -> Vec<String> {
    let mut out = Vec::new();
    exposures(methods, &mut out);
    if (1..MIN_DONORS).contains(&donors) {
        out.push(format!(
            "Hold out at least {MIN_DONORS} donors: with {} no model can be called better or worse.",
            plural(donors, "donor")
        ));
    }
    if donors == 0 {
        out.push("Give the donor column (--donor): without it intervals are too narrow.".into());
    }
    for (model, compared) in models.iter().zip(primary) {
        out.extend(about_model(model, compared, donors));
    }
    out.extend(rare_labels(methods));
    if models.is_empty() {
        out.push(
            "Compare a foundation model with the baselines: embed the file with one (scfm embed) and \
             evaluate again."
                .into(),
        );
    }
    out
}

/// Models whose scores are invalid or uncertain.
fn exposures(methods: &[Method<'_>], out: &mut Vec<String>) {
    let named = |wanted| exposure::fitted(methods, wanted);
    let given = named(|e| {
        matches!(
            e,
            Exposure::Labels {
                by: Recognised::Batch,
                ..
            }
        )
    });
    if !given.is_empty() {
        out.push(format!(
            "Embed with {} again, with a batch column that does not reveal the label.",
            given.join(", ")
        ));
    }
    let leaked = named(|e| matches!(e, Exposure::Labels { by, .. } if *by != Recognised::Batch));
    if !leaked.is_empty() {
        out.push(format!(
            "Train {} again without the scored donors (scfm pretrain --hold-out).",
            leaked.join(", ")
        ));
    }
    let unknown = named(|e| matches!(e, Exposure::Unknown));
    if !unknown.is_empty() {
        out.push(format!(
            "Find out which cells {} was trained on; if these cells are among them, evaluate on other data.",
            unknown.join(", ")
        ));
    }
}

fn about_model(model: &Method<'_>, compared: &Compared<'_, '_>, donors: usize) -> Option<String> {
    let (best, _, difference) = compared.best.as_ref()?;
    let metric = catalogue::title(PRIMARY);
    let (label, other) = (&model.label, &best.label);
    let steps = model.runs.iter().filter_map(|r| r.cost.steps).max();
    match &compared.outcome {
        Outcome::Better => Some(format!(
            "Use {label} for cells like these, and repeat the comparison on another data set."
        )),
        Outcome::Worse => Some(match steps {
            Some(steps) if steps < FEW_STEPS => format!(
                "Use {other} for now; train {label} for longer than {} steps, or on more cells, before \
                 giving it up.",
                count(steps)
            ),
            _ => format!("Use {other} instead of {label} on cells like these."),
        }),
        Outcome::Undetected => {
            // The standard error of a mean shrinks with the square root of the donors.
            let interval = difference.interval.as_ref().ok()?;
            let needed = (interval.high - interval.low) / 2.0 / difference.value.abs().max(1e-9);
            let needed = (donors as f64 * needed * needed).ceil();
            let more = if donors > 0 && needed > donors as f64 && needed < 1000.0 {
                format!(
                    " To detect a difference of {:.3}, about {needed} scored donors are needed.",
                    difference.value.abs()
                )
            } else {
                String::new()
            };
            Some(format!(
                "{label} and {other} do not differ detectably on {metric}: use the cheaper one.{more}"
            ))
        }
        Outcome::Untestable(_) => None,
    }
}

/// Labels with few scored cells, or no training cell.
fn rare_labels(methods: &[Method<'_>]) -> Option<String> {
    let details = methods.iter().flat_map(|m| &m.runs);
    let detail = details.filter_map(|r| r.probe.as_ref()).next()?;
    let rare = |c: &&ClassDetail| c.cells > 0 && (c.cells < FEW_CELLS || !c.trained);
    let rare: Vec<&str> = detail
        .classes
        .iter()
        .filter(rare)
        .map(|c| c.name.as_str())
        .collect();
    if rare.is_empty() {
        return None;
    }
    let shown = rare
        .iter()
        .take(NAMED)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    let others = match rare.len().saturating_sub(NAMED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    Some(format!(
        "Merge rare labels or add cells of them: {shown}{others} have fewer than {FEW_CELLS} scored cells, \
         or no training cells, and count as much as the others in macro-F1."
    ))
}
