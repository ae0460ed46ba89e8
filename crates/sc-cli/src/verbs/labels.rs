//! Labels of cells as columns of `obs`, for the verbs that give some.

use crate::error::{Result, at};
use crate::outputs::{Replace, check_ending, with_json};
use sc_data::Dataset;
use sc_data::io::annotations::{ENDINGS, check_writable, write_columns};
use sc_data::io::atomic::write_bytes_atomic;
use sc_data::io::h5ad::Column;
use sc_train::Model;
use serde_json::Value;
use std::path::Path;

/// The word for a cell without a label.
pub(super) const UNKNOWN: &str = "unknown";

/// Refuses an unsupported format, an input, or an existing file as output.
pub(super) fn may_write(
    output: Option<&Path>,
    replace: Replace,
    inputs: &[&Path],
    model: &Path,
) -> Result<()> {
    let Some(output) = output else {
        return Ok(());
    };
    check_ending(output, &ENDINGS)?;
    replace.check_beside(output, inputs, model)?;
    match is_table(output) {
        true => replace.check_beside(&with_json(output), inputs, model),
        false => Ok(()),
    }
}

/// Refuses columns that are there, without `--force`, and an output that cannot be created.
pub(super) fn may_add(
    dataset: &Dataset,
    output: Option<&Path>,
    replace: Replace,
    columns: &[String],
) -> Result<()> {
    let mut there = columns.iter().filter(|c| dataset.file().obs().has(c));
    let table = output.is_some_and(is_table);
    if let (Some(column), false) = (there.next(), replace.allowed() || table) {
        return Err(at(
            dataset.path(),
            format!(
                "obs['{column}'] already exists; choose another name with --key, or pass --force to \
                 replace it"
            ),
        ));
    }
    Ok(check_writable(dataset, output)?)
}

/// Names in one line: the first twenty, without line breaks.
pub(super) fn listed(names: &[String]) -> String {
    let plain = |name: &String| -> String {
        let plain = name.replace(|c: char| c.is_control(), " ");
        plain.chars().take(60).collect()
    };
    let first: Vec<String> = names.iter().take(20).map(plain).collect();
    match names.len() - first.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Tells of a model whose predictions for a cell depend on the others.
pub(super) fn company(model: &Model) -> Result<()> {
    let known = model.spec.known()?;
    if let Some(what) = known.minibatch_dependence.note(Some(&model.spec)) {
        note!("{what}; labels of a part of the file may differ");
    }
    Ok(())
}

/// Writes the columns, with their provenance beside a table.
pub(super) fn write(
    dataset: &Dataset,
    output: Option<&Path>,
    columns: &[(String, Column)],
    (key, provenance): (&str, &Value),
) -> Result<()> {
    for what in write_columns(dataset, output, columns, (key, provenance))? {
        eprintln!("scfm: left out: {what}");
    }
    if let Some(path) = output.filter(|p| is_table(p)) {
        write_bytes_atomic(&with_json(path), &serde_json::to_vec_pretty(provenance)?)?;
    }
    Ok(())
}

fn is_table(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("tsv"))
}

/// A categorical of the labels that occur, in the order of `names`, and unknown last.
pub(super) fn categorical(found: &[&str], names: &[String]) -> Column {
    let unknown = UNKNOWN.to_owned();
    let mut categories = names.to_vec();
    if !categories.contains(&unknown) {
        categories.push(unknown);
    }
    categories.retain(|name| found.contains(&name.as_str()));
    let place = |label: &&str| {
        let at = categories.iter().position(|c| c == label);
        at.expect("invariant: it occurs") as u32
    };
    Column::from_codes(found.iter().map(place), &categories)
}
