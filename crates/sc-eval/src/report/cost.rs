//! What each method cost: mean over its seeds.

use super::format::{bytes, count, seconds};
use super::summary::Method;
use super::tables::{Column, Entry, Table, by_family};
use crate::results::Cost;

/// The table of costs.
pub(super) fn cost(methods: &[Method<'_>]) -> Table {
    let titles = [
        "Train",
        "Embed",
        "Evaluate",
        "Peak memory",
        "Parameters",
        "Steps",
        "Runs",
        "Device",
    ];
    let columns = titles.map(|t| Column {
        title: t.to_owned(),
        meaning: "",
        behind: String::new(),
    });
    let cells = methods.iter().map(row).collect();
    Table {
        title: "Cost",
        question: "Mean over seeds; memory is the peak of the whole process.",
        columns: columns.into(),
        families: by_family(methods, cells),
        footnotes: Vec::new(),
    }
}

fn row(method: &Method<'_>) -> Vec<Entry> {
    let n = method.runs.len().max(1) as f64;
    let mean = |of: fn(&Cost) -> f64| method.runs.iter().map(|r| of(&r.cost)).sum::<f64>() / n;
    let whole = |v: f64| {
        if v > 0.0 {
            count(v.round() as u64)
        } else {
            "–".to_owned()
        }
    };
    let values = [
        seconds(mean(|c| c.train_seconds)),
        seconds(mean(|c| c.embed_seconds)),
        seconds(mean(|c| c.eval_seconds)),
        bytes(mean(|c| c.peak_memory_bytes as f64)),
        whole(mean(|c| c.parameters as f64)),
        whole(mean(|c| c.steps as f64)),
        method.runs.len().to_string(),
        method
            .runs
            .first()
            .map_or_else(String::new, |r| r.device.clone()),
    ];
    values
        .into_iter()
        .map(|value| Entry {
            value,
            ..Entry::default()
        })
        .collect()
}
