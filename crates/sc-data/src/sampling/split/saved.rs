//! A split as a file, so that training and evaluation hold out the same cells.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Split, SplitConfig, SplitMethod, sides};
use crate::error::{DataError, Result};
use crate::identity::KeySet;
use crate::io::atomic::write_bytes_atomic;

/// The schema that is written and read here.
const SCHEMA: u32 = 1;

/// The donor column of a split that holds out cells one by one.
const NO_DONOR: &str = "none";

/// The held-out donors or cells, and how they were drawn: `split.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedSplit {
    /// Schema of the file.
    pub schema: u32,
    /// Column of `obs` with the donors; `none` where cells are held out one by one.
    pub donor: String,
    /// Names of the donors that are held out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test_donors: Vec<String>,
    /// Barcode keys of the held-out cells, where they are held out one by one.
    #[serde(default, skip_serializing_if = "KeySet::is_empty")]
    pub test_cells: KeySet,
    /// How it was drawn.
    pub drawn: Drawn,
}

/// How a split was drawn; for the record, not needed to apply it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drawn {
    /// `donors`, `test-donors`, `leave-one-batch-out` or `stratified-random`.
    pub method: String,
    /// Requested share of the cells.
    pub test_fraction: f64,
    /// Seed of the split.
    pub seed: u64,
    /// Label column that steered it, if any.
    pub label: Option<String>,
    /// Batch column within which it was drawn, if any.
    pub batch: Option<String>,
}

/// Columns of `obs` used to draw a split.
#[derive(Clone, Copy, Debug)]
pub struct DrawnBy<'a> {
    /// Column with the donors; `none` where cells are held out one by one.
    pub donor: &'a str,
    /// Column with the labels.
    pub label: Option<&'a str>,
    /// Column with the batches.
    pub batch: Option<&'a str>,
}

/// Identity of the cells of a file when a saved split is applied.
#[derive(Clone, Copy, Debug)]
pub enum Cells<'a> {
    /// The donor of every cell, and the names of the donors.
    Donors {
        /// Donor of every cell.
        codes: &'a [u32],
        /// Names of the donors, by code.
        names: &'a [String],
    },
    /// Barcode keys, see [`crate::identity::CellKeys`].
    Barcodes(&'a [u64]),
}

impl SavedSplit {
    /// The split that was drawn with `config`, by name; its donors are those of [`Cells::Donors`], and
    /// for [`Cells::Barcodes`] every cell is its own donor.
    pub fn new(split: &Split, cells: Cells<'_>, by: DrawnBy<'_>, config: &SplitConfig) -> Self {
        let (test_donors, test_cells) = match cells {
            Cells::Donors { names, .. } => {
                let name = |&d: &u32| names.get(d as usize).cloned();
                let held = split.test_donors.iter().filter_map(name).collect();
                (held, KeySet::default())
            }
            Cells::Barcodes(keys) => (
                Vec::new(),
                KeySet::new(split.test.iter().map(|&row| keys[row])),
            ),
        };
        Self {
            schema: SCHEMA,
            donor: by.donor.to_string(),
            test_donors,
            test_cells,
            drawn: Drawn {
                method: match config.method {
                    SplitMethod::Donors => "donors",
                    SplitMethod::TestDonors(_) => "test-donors",
                    SplitMethod::LeaveOneBatchOut(_) => "leave-one-batch-out",
                    SplitMethod::StratifiedRandom => "stratified-random",
                }
                .into(),
                test_fraction: config.test_fraction,
                seed: config.seed,
                label: by.label.map(str::to_string),
                batch: by.batch.map(str::to_string),
            },
        }
    }

    /// Whether cells are held out one by one, so that [`Self::apply`] needs [`Cells::Barcodes`].
    pub fn is_by_cell(&self) -> bool {
        self.donor == NO_DONOR
    }

    /// Writes the split atomically.
    ///
    /// # Errors
    /// [`DataError::Io`] for system errors.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text =
            serde_json::to_vec_pretty(self).map_err(|e| DataError::file(path, e.to_string()))?;
        write_bytes_atomic(path, &text)
    }

    /// Reads a split that was saved.
    ///
    /// # Errors
    /// [`DataError::Io`] when the file cannot be read, [`DataError::File`] when it is not a split
    /// or has another schema.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| DataError::io(path, e))?;
        let no_split = |e: serde_json::Error| {
            DataError::file(
                path,
                format!("is not a saved split: {e}; use the split.json that training wrote"),
            )
        };
        let value: serde_json::Value = serde_json::from_str(&text).map_err(no_split)?;
        if let Some(other) = value
            .get("schema")
            .filter(|s| s.as_u64() != Some(u64::from(SCHEMA)))
        {
            return Err(DataError::file(
                path,
                format!(
                    "has schema {other}, but this version reads {SCHEMA}; use the version that wrote it"
                ),
            ));
        }
        let split: Self = serde_json::from_value(value).map_err(no_split)?;
        let nothing = match split.is_by_cell() {
            true => split.test_cells.is_empty(),
            false => split.test_donors.is_empty(),
        };
        if nothing {
            return Err(DataError::file(
                path,
                "holds nothing out; set test_donors, or draw a new split",
            ));
        }
        Ok(split)
    }

    /// The rows of a file on each side. Donors and cells that are not in the split are for
    /// training.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when a held-out donor has no cell here, no cell or every cell is
    /// held out, or the kind of `cells` does not match the split.
    pub fn apply(&self, cells: Cells<'_>) -> Result<Split> {
        let fail = |what: String| Err(DataError::invalid(format!("saved split: {what}")));
        let split = match (cells, self.is_by_cell()) {
            (Cells::Donors { codes, names }, false) => {
                let present = |name: &String| {
                    let code = names.iter().position(|n| n == name);
                    code.is_some_and(|c| codes.contains(&(c as u32)))
                };
                if let Some(absent) = self.test_donors.iter().find(|d| !present(d)) {
                    return fail(format!(
                        "donor '{absent}' is held out, but not found in obs['{}'] (there are {}); \
                         use the split of these data, or remove the donor from test_donors",
                        self.donor,
                        some(names)
                    ));
                }
                let held: Vec<bool> = names.iter().map(|n| self.test_donors.contains(n)).collect();
                let is_test = |&code: &u32| held.get(code as usize).copied().unwrap_or(false);
                sides(codes, &codes.iter().map(is_test).collect::<Vec<_>>())
            }
            (Cells::Barcodes(keys), true) => {
                let each: Vec<u32> = (0..keys.len() as u32).collect();
                let is_test = |&key: &u64| self.test_cells.contains(key);
                sides(&each, &keys.iter().map(is_test).collect::<Vec<_>>())
            }
            (Cells::Donors { .. }, true) => {
                return fail("it holds out single cells, so it is applied by their names".into());
            }
            (Cells::Barcodes(_), false) => {
                return fail(format!("it holds out donors of obs['{}']", self.donor));
            }
        };
        if split.test.is_empty() {
            return fail(format!(
                "none of its {} held-out cells is in the data; use the split of these data",
                self.test_cells.len()
            ));
        }
        if split.train.is_empty() {
            return fail("every cell is held out, so none is left for training".into());
        }
        Ok(split)
    }
}

/// The first of many names, for a message.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names.iter().take(SHOWN).map(String::as_str);
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "none".into(),
        n if n > SHOWN => format!("{shown} and {} more", n - SHOWN),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::barcode_key;
    use crate::sampling::split::{SplitCodes, split_by_donor};

    const CODES: [u32; 6] = [0, 1, 2, 0, 1, 2];

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(|n| n.to_string()).collect()
    }

    fn drawn(method: SplitMethod) -> (Split, SplitConfig) {
        let config = SplitConfig {
            method,
            ..SplitConfig::default()
        };
        let codes = SplitCodes {
            donors: &CODES,
            batches: &[],
            labels: &[],
            keys: &[],
        };
        (split_by_donor(codes, &config).unwrap(), config)
    }

    fn by(donor: &str) -> DrawnBy<'_> {
        DrawnBy {
            donor,
            label: Some("cell_type"),
            batch: None,
        }
    }

    #[test]
    fn donors_are_held_out_by_name_in_any_order_of_codes() {
        let (split, config) = drawn(SplitMethod::TestDonors(vec![1]));
        let names_here = names(&["a", "b", "c"]);
        let cells = Cells::Donors {
            codes: &CODES,
            names: &names_here,
        };
        let saved = SavedSplit::new(&split, cells, by("donor_id"), &config);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("split.json");
        saved.save(&path).unwrap();
        let saved = SavedSplit::load(&path).unwrap();
        assert_eq!(saved.apply(cells).unwrap(), split);
        let other = names(&["b", "new", "a"]);
        let found = saved.apply(Cells::Donors {
            codes: &[2, 0, 1],
            names: &other,
        });
        assert_eq!(found.unwrap().test, [1]);
        // The donor must have cells, not just a name among the categories.
        let refused = saved.apply(Cells::Donors {
            codes: &[2, 1],
            names: &other,
        });
        let error = refused.unwrap_err().to_string();
        assert!(
            error.contains("donor 'b'") && error.contains("b, new, a"),
            "{error}"
        );
    }

    #[test]
    fn single_cells_are_held_out_by_barcode() {
        let (split, config) = drawn(SplitMethod::StratifiedRandom);
        let keys: Vec<u64> = (0..6).map(|c| barcode_key(&format!("cell{c}"))).collect();
        let saved = SavedSplit::new(&split, Cells::Barcodes(&keys), by("none"), &config);
        assert!(saved.is_by_cell());
        let turned: Vec<u64> = keys.iter().rev().copied().collect();
        let found = saved.apply(Cells::Barcodes(&turned)).unwrap();
        let mut expected: Vec<usize> = split.test.iter().map(|r| 5 - r).collect();
        expected.sort_unstable();
        assert_eq!(found.test, expected);
        let strangers: Vec<u64> = (0..3).collect();
        let error = saved.apply(Cells::Barcodes(&strangers)).unwrap_err();
        assert!(error.to_string().contains("none of its"), "{error}");
        let held: Vec<u64> = split.test.iter().map(|&r| keys[r]).collect();
        let error = saved.apply(Cells::Barcodes(&held)).unwrap_err();
        assert!(error.to_string().contains("every cell"), "{error}");
    }

    #[test]
    fn what_is_no_split_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("split.json");
        let drawn = r#""drawn": {"method": "donors", "test_fraction": 0.3, "seed": 0, "label": null,
                      "batch": null}"#;
        for (text, message) in [
            ("{}".to_string(), "missing field"),
            (
                format!(r#"{{"schema": 9, "donor": "d", {drawn}}}"#),
                "schema 9",
            ),
            (
                format!(r#"{{"schema": 1, "donor": "d", {drawn}}}"#),
                "holds nothing out",
            ),
            (
                format!(r#"{{"schema": 1, "donor": "d", "test_donor": ["a"], {drawn}}}"#),
                "test_donor",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = SavedSplit::load(&path).unwrap_err().to_string();
            assert!(
                error.contains("split.json") && error.contains(message),
                "{error}"
            );
        }
    }
}
