//! The section of a report on one data set.

use super::catalogue::{self, GEOMETRY, PRIMARY, TOTAL};
use super::classes::{Detail, details};
use super::cost::cost;
use super::curves::{Curves, curves};
use super::forest::forest;
use super::format::count;
use super::maps::{Legend, Maps, maps};
use super::summary::{Method, methods};
use super::tables::{Entry, Table, by_group, defined, differences, table};
use super::verdict::{self, Verdict};
use crate::results::{DataCard, Family, Mode, RunResult};

/// A method and its purpose.
pub(super) struct Described {
    pub(super) label: String,
    pub(super) family: &'static str,
    pub(super) description: String,
    pub(super) purpose: &'static str,
}

/// The part of the page about one data set.
pub(super) struct Section {
    pub(super) file: String,
    pub(super) verdict: Verdict,
    /// Unit of the intervals: donors or cells.
    pub(super) over: &'static str,
    pub(super) summary: Table,
    pub(super) differences: Option<Table>,
    pub(super) forest: Option<String>,
    pub(super) details: Vec<Detail>,
    pub(super) strict: Vec<Table>,
    pub(super) compat: Vec<Table>,
    pub(super) maps: Vec<Maps>,
    pub(super) labels: Legend,
    pub(super) batches: Legend,
    pub(super) curves: Vec<Curves>,
    pub(super) cost: Table,
    pub(super) card: Vec<(String, String)>,
    pub(super) warnings: Vec<String>,
    pub(super) methods: Vec<Described>,
}

/// Results per data file and split, in order of appearance, by the name of the file: scores on
/// other cells are not seeds of the same score.
pub(super) fn by_data(results: &[RunResult]) -> Vec<(String, Vec<&RunResult>)> {
    let scored = |r: &RunResult| {
        let d = &r.data;
        let columns = [
            &d.file,
            &d.hash,
            &d.label_column,
            &d.batch_column,
            &d.donor_column,
        ];
        (
            columns.map(String::clone),
            d.test_donors.clone(),
            d.test_cells,
        )
    };
    let mut out: Vec<Vec<&RunResult>> = Vec::new();
    for run in results {
        match out.iter_mut().find(|runs| scored(runs[0]) == scored(run)) {
            Some(runs) => runs.push(run),
            None => out.push(vec![run]),
        }
    }
    let files: Vec<&str> = out.iter().map(|runs| runs[0].data.file.as_str()).collect();
    let name = |data: &DataCard| match files.iter().filter(|f| **f == data.file).count() {
        1 => data.file.clone(),
        _ if data.test_donors.is_empty() => {
            format!("{}, {} cells held out", data.file, data.test_cells)
        }
        _ => format!("{}, held out: {}", data.file, data.test_donors.join(", ")),
    };
    let names: Vec<String> = out.iter().map(|runs| name(&runs[0].data)).collect();
    names.into_iter().zip(out).collect()
}

pub(super) fn section(file: &str, runs: &[&RunResult]) -> Section {
    let methods = methods(runs);
    let primary = PRIMARY;
    let card = runs.first().map(|r| &r.data);
    let (maps, labels, batches) = maps(&methods);
    Section {
        file: file.to_owned(),
        verdict: verdict::verdict(&methods),
        over: if card.is_some_and(|c| c.test_donors.is_empty()) {
            "cells, donors unknown"
        } else {
            "donors"
        },
        summary: summary(&methods),
        differences: differences(&methods, primary),
        forest: forest(&methods, primary, &catalogue::title(primary)),
        details: details(&methods),
        strict: by_group(&methods, Mode::Strict),
        compat: by_group(&methods, Mode::Compat),
        maps,
        labels,
        batches,
        curves: curves(&methods),
        cost: cost(&methods),
        card: card.map(data_card).unwrap_or_default(),
        warnings: card.map(|c| c.warnings.clone()).unwrap_or_default(),
        methods: methods.iter().map(described).collect(),
    }
}

/// The key numbers.
fn summary(methods: &[Method<'_>]) -> Table {
    let names = [
        PRIMARY,
        TOTAL,
        "bio_conservation",
        "batch_correction",
        GEOMETRY,
    ];
    let question = "Mean over seeds, with its 95 % interval.";
    let mut out = table(methods, &names, Mode::Strict, "Overview", question);
    out.columns.push(super::tables::Column {
        title: "Metrics defined".to_owned(),
        meaning: "Strict metrics that are defined, of those computed for the method.",
        behind: String::new(),
    });
    let mut counts = methods.iter().map(defined);
    for row in out.families.iter_mut().flat_map(|f| &mut f.rows) {
        let (some, all) = counts.next().unwrap_or_default();
        row.entries.push(Entry {
            value: format!("{some} of {all}"),
            ..Entry::default()
        });
    }
    // The tables of single groups give the reasons; repeating them here would be redundant.
    out.footnotes.clear();
    out
}

fn described(method: &Method<'_>) -> Described {
    Described {
        label: method.label.clone(),
        family: match method.family {
            Family::Model => "foundation model",
            Family::Neural => "neural baseline",
            Family::Baseline => "classical baseline",
            Family::Control => "control",
        },
        description: match verdict::mark(method.exposure()) {
            "" => method.description().to_owned(),
            mark => format!("{} ({mark})", method.description()),
        },
        purpose: catalogue::purpose(method.name),
    }
}

fn data_card(card: &DataCard) -> Vec<(String, String)> {
    let listed = |counts: &std::collections::BTreeMap<String, usize>| {
        let mut items: Vec<_> = counts.iter().collect();
        items.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let text: Vec<String> = items
            .iter()
            .map(|(name, n)| format!("{name} ({})", count(**n as u64)))
            .collect();
        text.join(", ")
    };
    let donors = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        match names.len() {
            0 => "unknown; cells were held out at random".to_owned(),
            n => format!("{n}: {}", names.join(", ")),
        }
    };
    let rows = [
        ("File", card.file.clone()),
        ("blake3", card.hash.clone()),
        (
            "Size",
            format!(
                "{} cells × {} genes",
                count(card.cells as u64),
                count(card.genes as u64)
            ),
        ),
        ("Counts from", card.counts.clone()),
        ("Stored entries", format!("{:.1} %", card.density * 100.0)),
        (
            "Median counts per cell",
            count(card.median_counts.max(0.0).round() as u64),
        ),
        (
            "Columns",
            format!(
                "label {}, batch {}, donor {}",
                card.label_column, card.batch_column, card.donor_column
            ),
        ),
        ("Labels", listed(&card.labels)),
        ("Batches", listed(&card.batches)),
        ("Training donors", donors(&card.train_donors)),
        (
            "Scored donors",
            format!(
                "{} ({} cells)",
                donors(&card.test_donors),
                count(card.test_cells as u64)
            ),
        ),
    ];
    rows.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}
