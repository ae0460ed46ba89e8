//! A column of `obs` as codes with names: labels, batches, donors.

use crate::error::{DataError, Result};
use std::collections::BTreeMap;

/// The code of a cell without a value.
pub const MISSING: u32 = u32::MAX;

/// One category per cell, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Categories {
    codes: Vec<u32>,
    names: Vec<String>,
}

impl Categories {
    /// `codes[cell]` is a position in `names`, or [`MISSING`]; names may be unused.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when a code is neither.
    pub fn new(codes: Vec<u32>, names: Vec<String>) -> Result<Self> {
        let outside = |&c: &u32| c != MISSING && c as usize >= names.len();
        match codes.iter().position(outside) {
            Some(cell) => Err(DataError::invalid(format!(
                "cell {cell} has category code {}, but there are {} names",
                codes[cell],
                names.len()
            ))),
            None => Ok(Self { codes, names }),
        }
    }

    /// All `cells` in one category.
    pub fn one(cells: usize, name: &str) -> Self {
        Self {
            codes: vec![0; cells],
            names: vec![name.to_owned()],
        }
    }

    /// Codes in the order of the sorted distinct `values`, by Unicode code point as `numpy.unique`
    /// sorts.
    pub fn from_values<S: AsRef<str>>(values: &[S]) -> Self {
        let mut index: BTreeMap<&str, u32> = values.iter().map(|v| (v.as_ref(), 0)).collect();
        for (k, code) in index.values_mut().enumerate() {
            *code = k as u32;
        }
        let codes = values.iter().map(|v| index[v.as_ref()]).collect();
        Self {
            codes,
            names: index.keys().map(|s| (*s).to_owned()).collect(),
        }
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// Code of every cell; [`MISSING`] for a cell without a value.
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// Name behind every code.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The first cell without a value.
    pub fn first_missing(&self) -> Option<usize> {
        self.codes.iter().position(|&c| c == MISSING)
    }

    /// The category of every cell by name; `None` for a cell without a value.
    pub fn values(&self) -> impl Iterator<Item = Option<&str>> {
        let name = |&c: &u32| self.names.get(c as usize).map(String::as_str);
        self.codes.iter().map(name)
    }

    /// The categories of the cells at `rows`, with the same codes and names.
    pub fn select(&self, rows: &[usize]) -> Self {
        let codes = rows.iter().map(|&r| self.codes[r]).collect();
        Self {
            codes,
            names: self.names.clone(),
        }
    }

    /// Number of distinct codes, [`MISSING`] not counted.
    pub fn distinct(&self) -> usize {
        self.occurring(0..self.len()).len()
    }

    /// Names of the categories of the cells at `rows`, in the order of their codes.
    pub fn occurring(&self, rows: impl IntoIterator<Item = usize>) -> Vec<String> {
        let mut seen = vec![false; self.names.len()];
        for r in rows {
            if let Some(seen) = seen.get_mut(self.codes[r] as usize) {
                *seen = true;
            }
        }
        let kept = self.names.iter().zip(&seen).filter(|(_, s)| **s);
        kept.map(|(n, _)| n.clone()).collect()
    }

    /// Number of cells per name; names without cells are left out.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for name in self.values().flatten() {
            match counts.get_mut(name) {
                Some(n) => *n += 1,
                None => {
                    counts.insert(name.to_owned(), 1);
                }
            }
        }
        counts
    }

    /// The same with sorted names, so that nothing depends on the order in which a file lists
    /// its categories.
    pub fn sorted(&self) -> Self {
        let mut names = self.names.clone();
        names.sort();
        self.recoded(&names)
    }

    /// The same with the codes of `names`; a cell whose category is not among them has none.
    pub fn recoded(&self, names: &[String]) -> Self {
        let place = |n: &String| names.iter().position(|k| k == n);
        let new: Vec<u32> = self
            .names
            .iter()
            .map(|n| place(n).map_or(MISSING, |k| k as u32))
            .collect();
        let code = |&c: &u32| new.get(c as usize).copied().unwrap_or(MISSING);
        Self {
            codes: self.codes.iter().map(code).collect(),
            names: names.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn codes_point_at_names_or_say_missing() {
        let some = Categories::new(vec![1, MISSING, 1], names(&["a", "b"])).unwrap();
        assert_eq!(some.first_missing(), Some(1));
        assert_eq!(
            some.values().collect::<Vec<_>>(),
            [Some("b"), None, Some("b")]
        );
        assert_eq!((some.distinct(), some.counts()["b"]), (1, 2));
        assert_eq!(some.occurring([0, 1]), ["b"]);
        let error = Categories::new(vec![0, 2], names(&["a", "b"])).unwrap_err();
        assert!(error.to_string().starts_with("cell 1 has category code 2"));
    }

    #[test]
    fn names_are_what_categories_are_known_by() {
        let file = Categories::new(vec![0, 1, 2, 1], names(&["new", "second", "first"])).unwrap();
        let recoded = file.recoded(&names(&["first", "second"]));
        assert_eq!(recoded.codes(), [MISSING, 1, 0, 1]);
        let sorted = file.sorted();
        assert_eq!(sorted.names(), ["first", "new", "second"]);
        assert_eq!(
            sorted.values().collect::<Vec<_>>(),
            file.values().collect::<Vec<_>>()
        );
    }
}
