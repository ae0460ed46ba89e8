//! Which columns of `obs` could be batches, donors and cell types: by name and by content.

use serde::Serialize;

use crate::error::{DataError, Result};
use crate::io::h5ad::{Column, H5ad, Missing};

/// More groups than this are rarely cell types of one data set.
pub const MANY_LABELS: usize = 500;

/// A column of `obs` with groups.
#[derive(Clone, Debug, Serialize)]
pub struct LevelsReport {
    /// Its name.
    pub column: String,
    /// Number of groups.
    pub levels: usize,
    /// Cells of the smallest group.
    pub smallest: usize,
    /// Cells without a value.
    pub missing: usize,
    /// Values that mean unknown, and their cells.
    pub unknown: Vec<(String, usize)>,
    /// Whether it was recognised by its values, not its name.
    pub by_values: bool,
}

/// Columns of `obs` by possible use.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) batches: Vec<LevelsReport>,
    pub(super) donors: Vec<LevelsReport>,
    pub(super) labels: Vec<LevelsReport>,
    /// Columns named as labels that hold something else, and what.
    pub(super) odd: Vec<String>,
}

const DONORS: [&str; 7] = [
    "donor",
    "patient",
    "individual",
    "subject",
    "participant",
    "mouse",
    "animal",
];
/// Other words allowed in the name of a donor column; `donor_type` is not one.
const OF_ID: [&str; 12] = [
    "id", "ids", "name", "key", "code", "number", "num", "no", "uuid", "orig", "original", "author",
];
const BATCHES: [&str; 14] = [
    "batch",
    "batches",
    "study",
    "dataset",
    "sample",
    "samples",
    "library",
    "assay",
    "platform",
    "tech",
    "technology",
    "protocol",
    "run",
    "lane",
];
const LABELS: [&str; 8] = [
    "celltype",
    "annotation",
    "label",
    "labels",
    "louvain",
    "leiden",
    "cluster",
    "clusters",
];

impl Groups {
    pub(super) fn of(file: &H5ad) -> Self {
        let mut groups = Self::default();
        for name in file.obs().columns() {
            let words = words(name);
            let has = |list: &[&str]| words.iter().any(|w| list.contains(&w.as_str()));
            if has(&["ontology"]) {
                continue;
            }
            let is_donor = has(&DONORS)
                && words
                    .iter()
                    .all(|w| DONORS.contains(&w.as_str()) || OF_ID.contains(&w.as_str()));
            let is_label = has(&LABELS) || words.windows(2).any(|w| w == ["cell", "type"]);
            let is_batch = has(&BATCHES) || words == ["orig", "ident"];
            if !(is_donor || is_label || is_batch) {
                continue;
            }
            let Ok(column) = file.obs_column(name) else {
                continue;
            };
            if is_label && let Err(e) = check_labels(&column) {
                groups.odd.push(format!("obs['{name}']: {e}"));
                continue;
            }
            let Some((report, values)) = levels(name, &column) else {
                continue;
            };
            let holds_donors = values.len() > 1 && values.iter().all(|v| names_a_donor(v));
            if is_donor {
                groups.donors.push(report);
            } else if is_label {
                groups.labels.push(report);
            } else if is_batch {
                if holds_donors {
                    groups.donors.push(LevelsReport {
                        by_values: true,
                        ..report.clone()
                    });
                }
                groups.batches.push(report);
            }
        }
        groups
    }
}

/// Words of a name, in lower case: `cell_type`, `CellType` and `cell.type` are `cell` and `type`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        let begins = c.is_uppercase() && before.is_lowercase();
        if !c.is_alphanumeric() || begins {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|w| !w.is_empty());
    words
}

/// `donor1`, `Patient_3`, `human2`, `D17`: a word for a person or an animal, or its first letter, and a
/// number.
fn names_a_donor(value: &str) -> bool {
    let lower = value.to_lowercase();
    let stem = lower.trim_end_matches(|c: char| c.is_ascii_digit());
    let word = stem.trim_end_matches(['_', '-', ' ', '.']);
    let has_number = stem.len() < lower.len();
    let people = ["human", "d", "p", "pt", "h"];
    (has_number && (people.contains(&word) || DONORS.contains(&word)))
        || DONORS.iter().any(|d| word.starts_with(&format!("{d}_")))
}

/// Whether a value means that the cell type is unknown: `unknown`, `Unlabeled`, `NA`.
pub fn is_no_label(value: &str) -> bool {
    let plain: String = value
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    [
        "",
        "unknown",
        "unlabeled",
        "unlabelled",
        "unassigned",
        "unannotated",
        "unclassified",
        "undefined",
        "undetermined",
        "ambiguous",
        "notavailable",
        "notassigned",
        "na",
        "nan",
        "none",
        "null",
    ]
    .contains(&plain.as_str())
}

/// Refuses a column that cannot hold labels of cells: fractions, or a value per cell.
///
/// # Errors
/// [`DataError::Invalid`] says what it holds instead.
pub fn check_labels(column: &Column) -> Result<()> {
    let refuse = |what: String| Err(DataError::invalid(what));
    if let Column::Floats(values) = column
        && let Some(value) = values.iter().find(|v| v.fract() != 0.0 && !v.is_nan())
    {
        return refuse(format!(
            "holds non-integer numbers such as {value}, but labels are names or integers"
        ));
    }
    let names = column
        .to_categories(&Missing::Level(String::new()))?
        .names()
        .len();
    if column.len() > 20 && names * 2 > column.len() {
        return refuse(format!(
            "holds {names} values for {} cells, but labels are groups of cells",
            column.len()
        ));
    }
    Ok(())
}

/// Groups of a column and their names; `None` for fractions and for columns where nearly every cell is
/// its own group.
fn levels(name: &str, column: &Column) -> Option<(LevelsReport, Vec<String>)> {
    let fractions =
        matches!(column, Column::Floats(v) if v.iter().any(|x| x.fract() != 0.0 && !x.is_nan()));
    if fractions || column.is_empty() {
        return None;
    }
    let categories = column.to_categories(&Missing::Keep).ok()?;
    let names = categories.names().to_vec();
    let mut sizes = vec![0usize; names.len()];
    let mut missing = 0;
    for &code in categories.codes() {
        match sizes.get_mut(code as usize) {
            Some(size) => *size += 1,
            None => missing += 1,
        }
    }
    let smallest = sizes.iter().copied().min()?;
    let each = names.iter().cloned().zip(sizes.iter().copied());
    let unknown = each.filter(|(n, _)| is_no_label(n)).collect();
    let groups = sizes.len() * 2 <= column.len() || sizes.len() == 1;
    groups.then(|| {
        let report = LevelsReport {
            column: name.to_owned(),
            levels: sizes.len(),
            smallest,
            missing,
            unknown,
            by_values: false,
        };
        (report, names)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_by_their_words() {
        assert_eq!(words("donor_ID.x"), ["donor", "id", "x"]);
        assert_eq!(words("CellType"), ["cell", "type"]);
        assert_eq!(words("orig.ident"), ["orig", "ident"]);
        for donor in ["donor1", "Patient_3", "human2", "D17", "mouse-4", "donor_a"] {
            assert!(names_a_donor(donor), "{donor}");
        }
        for other in ["run0", "3", "celseq2", "patients", "d", "batch1"] {
            assert!(!names_a_donor(other), "{other}");
        }
    }

    #[test]
    fn unknown_cells_have_no_label() {
        for value in ["unknown", "Unlabeled", "not available", "N/A", "nan", ""] {
            assert!(is_no_label(value), "{value}");
        }
        for value in ["nk", "unconventional T", "other", "naive"] {
            assert!(!is_no_label(value), "{value}");
        }
    }

    #[test]
    fn fractions_and_names_of_cells_are_no_labels() {
        let floats = Column::Floats(vec![0.0, 1.0, f64::NAN]);
        assert!(check_labels(&floats).is_ok());
        let error = check_labels(&Column::Floats(vec![0.5, 1.0])).unwrap_err();
        assert!(error.to_string().contains("such as 0.5"), "{error}");
        let names = Column::from_strings((0..30).map(|k| format!("c{k}")));
        let error = check_labels(&names).unwrap_err().to_string();
        assert!(error.contains("30 values for 30 cells"), "{error}");
    }
}
