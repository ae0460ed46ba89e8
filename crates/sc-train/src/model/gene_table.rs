//! `genes.tsv`: the vocabulary of a model.

use crate::error::{Result, TrainError};
use crate::inputs::data_spec::{DataSpec, GenePosition};
use std::sync::Arc;

/// Refuses names that `genes.tsv` cannot store.
///
/// # Errors
/// A name that is empty or contains a tab, a line break or another control character.
pub(crate) fn check_names(names: &[String]) -> Result<()> {
    let bad = |name: &&String| name.is_empty() || name.chars().any(char::is_control);
    match names.iter().find(bad) {
        None => Ok(()),
        Some(name) => Err(TrainError::Config(format!(
            "the gene {name:?} cannot be part of a vocabulary: names must not be empty or contain a tab, \
             line break or other control character; rename it in var"
        ))),
    }
}

/// The table of the genes of `data`.
pub(super) fn to_table(data: &DataSpec) -> String {
    let mut table = String::from("gene\tmean_of_expressing\tlargest\tplace\n");
    for (i, name) in data.genes.iter().enumerate() {
        table.push_str(name);
        for column in [&data.means, &data.largest] {
            table.push('\t');
            if let Some(value) = column.get(i).filter(|m| !m.is_nan()) {
                table.push_str(&value.to_string());
            }
        }
        table.push('\t');
        if let Some(position) = data.positions.get(i).copied().flatten() {
            table.push_str(&format!("{}:{}", position.chromosome, position.start));
        }
        table.push('\n');
    }
    table
}

/// Genes, means, maxima and positions of a table; the rest is left empty.
///
/// # Errors
/// The line and field that is neither empty nor valid.
pub(super) fn from_table(table: &str) -> Result<DataSpec, String> {
    let (mut genes, mut means, mut largest) = (Vec::new(), Vec::new(), Vec::new());
    let mut positions: Vec<Option<GenePosition>> = Vec::new();
    for (line, row) in table.lines().enumerate().skip(1) {
        let at = |what: String| format!("line {}: {what}", line + 1);
        let mut fields = row.split('\t');
        genes.push(fields.next().unwrap_or_default().to_string());
        let mut number = || fields.next().map_or(Ok(None), number);
        means.push(number().map_err(at)?.unwrap_or(f32::NAN));
        // Older models lack this column.
        largest.extend(number().map_err(at)?);
        if let Some(field) = fields.next() {
            positions.push(position(field).map_err(at)?);
        }
    }
    if positions.iter().all(Option::is_none) {
        positions.clear();
    }
    Ok(DataSpec {
        genes: Arc::new(genes),
        means: Arc::new(means),
        largest: Arc::new(largest),
        positions: Arc::new(positions),
        ..DataSpec::default()
    })
}

fn number(text: &str) -> Result<Option<f32>, String> {
    match text.parse::<f32>() {
        _ if text.is_empty() => Ok(None),
        Ok(value) if value.is_finite() => Ok(Some(value)),
        _ => Err(format!("{text:?} is not a finite number")),
    }
}

fn position(text: &str) -> Result<Option<GenePosition>, String> {
    let parsed = || {
        let (chromosome, start) = text.split_once(':')?;
        Some(GenePosition {
            chromosome: chromosome.parse().ok()?,
            start: start.parse().ok()?,
        })
    };
    match parsed() {
        None if !text.is_empty() => Err(format!("{text:?} is not a position such as 3:77")),
        position => Ok(position),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_genes_comes_back() {
        let data = DataSpec {
            genes: Arc::new(["A", "B"].map(String::from).to_vec()),
            means: Arc::new(vec![1.5, 2.0]),
            largest: Arc::new(vec![3.0, 0.25]),
            positions: Arc::new(vec![
                None,
                Some(GenePosition {
                    chromosome: 3,
                    start: 77,
                }),
            ]),
            ..DataSpec::default()
        };
        assert_eq!(from_table(&to_table(&data)), Ok(data.clone()));
        assert!(check_names(&data.genes).is_ok());
        assert!(check_names(&["a\tb".into()]).is_err());
    }

    #[test]
    fn a_field_that_is_no_number_or_place_is_refused() {
        let of = |row: &str| from_table(&format!("gene\tmean\tlargest\tplace\n{row}\n"));
        assert!(of("A\t\t\t").is_ok());
        for (row, wanted) in [
            ("A\tabc\t\t", "line 2: \"abc\" is not a finite number"),
            ("A\t1\tnan\t", "line 2: \"nan\" is not a finite number"),
            (
                "A\t1\t2\tchr3",
                "line 2: \"chr3\" is not a position such as 3:77",
            ),
        ] {
            assert_eq!(of(row), Err(wanted.to_owned()));
        }
    }
}
