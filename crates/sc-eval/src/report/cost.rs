//! Cost of each method: mean over its seeds.

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
        "Training cells",
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
        question: "Mean over seeds; work shared by methods is counted in each. Memory is the peak of the whole process; a dash means unknown.",
        columns: columns.into(),
        families: by_family(methods, cells),
        footnotes: Vec::new(),
    }
}

fn row(method: &Method<'_>) -> Vec<Entry> {
    // Unknown in one run makes the mean unknown.
    let mean = |of: fn(&Cost) -> Option<f64>| {
        let all: Option<Vec<f64>> = method.runs.iter().map(|r| of(&r.cost)).collect();
        let all = all.filter(|v| !v.is_empty())?;
        Some(all.iter().sum::<f64>() / all.len() as f64)
    };
    let or_dash = |v: Option<f64>, print: fn(f64) -> String| v.map_or("–".to_owned(), print);
    let integer = |v: f64| count(v.round() as u64);
    let values = [
        or_dash(mean(|c| c.train_seconds), seconds),
        or_dash(mean(|c| c.embed_seconds), seconds),
        or_dash(mean(|c| c.eval_seconds), seconds),
        or_dash(mean(|c| c.peak_memory_bytes.map(|v| v as f64)), bytes),
        or_dash(mean(|c| c.parameters.map(|v| v as f64)), integer),
        or_dash(mean(|c| c.steps.map(|v| v as f64)), integer),
        or_dash(mean(|c| c.training_cells.map(|v| v as f64)), integer),
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
