//! Statements on whether a method was trained on the scored cells.

use super::{Sentence, Tone};
use crate::report::format::count;
use crate::report::summary::Method;
use crate::results::{Exposure, Family, Recognised};

/// Labels of the models and neural baselines whose exposure is `wanted`.
pub(super) fn fitted<'m>(methods: &'m [Method<'_>], wanted: fn(&Exposure) -> bool) -> Vec<&'m str> {
    let fitted = methods.iter().filter(|m| m.family <= Family::Neural);
    let found = fitted.filter(|m| wanted(m.exposure()));
    found.map(|m| m.label.as_str()).collect()
}

/// What must be stated before any comparison.
pub(super) fn headline(methods: &[Method<'_>]) -> String {
    let named = |wanted| fitted(methods, wanted);
    let mut out = String::new();
    let leaked = named(|e| matches!(e, Exposure::Labels { .. }));
    if !leaked.is_empty() {
        out.push_str(&format!(
            "Leak: {} saw labels of the scored cells, so {} nothing about new cells. ",
            leaked.join(", "),
            if leaked.len() == 1 {
                "its scores say"
            } else {
                "their scores say"
            }
        ));
    }
    let transductive = named(|e| matches!(e, Exposure::Cells { .. }));
    if !transductive.is_empty() {
        out.push_str(&format!(
            "Transductive: {} saw the scored cells in training, without labels. ",
            transductive.join(", ")
        ));
    }
    let unknown = named(|e| matches!(e, Exposure::Unknown));
    if !unknown.is_empty() {
        out.push_str(&format!(
            "Training cells unknown: {} may have seen the scored cells. ",
            unknown.join(", ")
        ));
    }
    out
}

/// The finding on one method; none where it saw no scored cell.
pub(super) fn sentence(method: &Method<'_>) -> Option<Sentence> {
    let recognised = |by: &Recognised| match by {
        Recognised::Counts => "recognised by their counts",
        Recognised::Barcode => "recognised by their barcodes; their counts differ",
        Recognised::Batch => "given as batches",
    };
    let label = &method.label;
    Some(match method.exposure() {
        Exposure::Nothing => return None,
        Exposure::Labels {
            cells,
            by: Recognised::Batch,
            columns,
        } => Sentence::new(
            Tone::Bad,
            format!("{label}: leak, its batches reveal the labels of the scored cells."),
            format!(
                "obs {}, the batches it was conditioned on, reveals the label of {} scored cells. \
                 Embed again with another column (scfm embed --batch).",
                columns.join(", "),
                count(*cells as u64)
            ),
        ),
        Exposure::Labels { cells, by, columns } => Sentence::new(
            Tone::Bad,
            format!("{label}: leak, it was trained on labels of scored cells."),
            format!(
                "{} scored cells were among its training cells ({}), with obs {}. Train again without \
                 the donors that are held out (scfm pretrain --hold-out).",
                count(*cells as u64),
                recognised(by),
                columns.join(", ")
            ),
        ),
        Exposure::Cells { cells, by } => Sentence::new(
            Tone::Neutral,
            format!("{label}: transductive, it was trained on scored cells without their labels."),
            format!(
                "{} scored cells were among its training cells ({}).",
                count(*cells as u64),
                recognised(by)
            ),
        ),
        Exposure::Unknown => Sentence::new(
            Tone::Missing,
            format!("{label}: what it was trained on is not recorded."),
            "Whether it saw the scored cells or their labels cannot be checked; its numbers are an \
             upper bound for new cells.",
        ),
    })
}

/// The mark of a row in tables.
pub(in crate::report) fn mark(exposure: &Exposure) -> &'static str {
    match exposure {
        Exposure::Nothing => "",
        Exposure::Cells { .. } => "transductive",
        Exposure::Labels { .. } => "saw these labels",
        Exposure::Unknown => "training cells unknown",
    }
}
