//! Values of one column of `obs` or `var`.

use crate::categories::{Categories, MISSING};
use crate::error::{DataError, Result};

/// A column, one value per cell or gene.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// A pandas categorical.
    Categorical {
        /// Position in `categories`; −1 where the value is missing.
        codes: Vec<i32>,
        /// The categories as text, in the file's order.
        categories: Vec<String>,
        /// Whether the order is meaningful.
        ordered: bool,
    },
    /// Text; `None` where missing.
    Strings(Vec<Option<String>>),
    /// Booleans; `None` where missing.
    Bools(Vec<Option<bool>>),
    /// Integers; `None` where missing.
    Ints(Vec<Option<i64>>),
    /// Floating-point numbers; NaN where missing.
    Floats(Vec<f64>),
}

/// What to do with missing values when labels are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Return an error.
    Error,
    /// Leave them without a category, [`crate::categories::MISSING`].
    Keep,
    /// Give them a category of this name.
    Level(String),
}

impl Column {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::Categorical { codes, .. } => codes.len(),
            Self::Strings(v) => v.len(),
            Self::Bools(v) => v.len(),
            Self::Ints(v) => v.len(),
            Self::Floats(v) => v.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values at `rows`, in that order; a row out of range is missing.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        fn at<T: Clone>(values: &[Option<T>], rows: &[usize]) -> Vec<Option<T>> {
            rows.iter()
                .map(|&r| values.get(r).cloned().flatten())
                .collect()
        }
        match self {
            Self::Categorical {
                codes,
                categories,
                ordered,
            } => Self::Categorical {
                codes: rows
                    .iter()
                    .map(|&r| codes.get(r).copied().unwrap_or(-1))
                    .collect(),
                categories: categories.clone(),
                ordered: *ordered,
            },
            Self::Strings(v) => Self::Strings(at(v, rows)),
            Self::Bools(v) => Self::Bools(at(v, rows)),
            Self::Ints(v) => Self::Ints(at(v, rows)),
            Self::Floats(v) => Self::Floats(
                rows.iter()
                    .map(|&r| v.get(r).copied().unwrap_or(f64::NAN))
                    .collect(),
            ),
        }
    }

    /// A column of text without missing values.
    pub fn from_strings<S: Into<String>>(values: impl IntoIterator<Item = S>) -> Self {
        Self::Strings(values.into_iter().map(|s| Some(s.into())).collect())
    }

    /// A categorical from codes into `names`.
    pub fn from_codes(codes: impl IntoIterator<Item = u32>, names: &[String]) -> Self {
        Self::Categorical {
            codes: codes.into_iter().map(|c| c as i32).collect(),
            categories: names.to_vec(),
            ordered: false,
        }
    }

    /// One value as text, formatted as in Python; `None` where missing.
    pub fn text(&self, row: usize) -> Option<String> {
        match self {
            Self::Categorical {
                codes, categories, ..
            } => usize::try_from(*codes.get(row)?)
                .ok()
                .and_then(|c| categories.get(c).cloned()),
            Self::Strings(v) => v.get(row)?.clone(),
            Self::Bools(v) => v
                .get(row)?
                .map(|b| if b { "True" } else { "False" }.to_owned()),
            Self::Ints(v) => v.get(row)?.map(|i| i.to_string()),
            Self::Floats(v) => v.get(row).filter(|x| !x.is_nan()).map(|x| format!("{x:?}")),
        }
    }

    /// The values as categories: those that occur, sorted by Unicode code point as `numpy.unique` does.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when values are missing and `missing` is [`Missing::Error`].
    pub fn to_categories(&self, missing: &Missing) -> Result<Categories> {
        let mut values: Vec<Option<String>> = (0..self.len()).map(|row| self.text(row)).collect();
        let absent = values.iter().filter(|v| v.is_none()).count();
        match missing {
            Missing::Error if absent > 0 => {
                return Err(DataError::invalid(format!(
                    "{absent} of {} values are missing; fill them in, or drop those cells",
                    self.len()
                )));
            }
            Missing::Level(name) => {
                let empty = values.iter_mut().filter(|v| v.is_none());
                empty.for_each(|v| *v = Some(name.clone()));
            }
            Missing::Error | Missing::Keep => {}
        }
        // UTF-8 sorts bytewise in code point order.
        let mut names: Vec<String> = values.iter().flatten().cloned().collect();
        names.sort_unstable();
        names.dedup();
        let place = |v: &String| names.binary_search(v).ok().map(|i| i as u32);
        let code = |v: &Option<String>| v.as_ref().and_then(place).unwrap_or(MISSING);
        Categories::new(values.iter().map(code).collect(), names)
    }

    /// The values as numbers, NaN where missing; `None` for text and categories.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        let nan = f64::NAN;
        match self {
            Self::Floats(v) => Some(v.clone()),
            Self::Ints(v) => Some(v.iter().map(|x| x.map_or(nan, |x| x as f64)).collect()),
            Self::Bools(v) => Some(
                v.iter()
                    .map(|x| x.map_or(nan, |x| f64::from(u8::from(x))))
                    .collect(),
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_are_sorted_by_code_point_and_unused_ones_dropped() {
        let column = Column::Categorical {
            codes: vec![2, 0, 2, -1],
            categories: vec!["é".into(), "unused".into(), "Z".into()],
            ordered: true,
        };
        let named = column
            .to_categories(&Missing::Level("missing".into()))
            .unwrap();
        assert_eq!(named.names(), ["Z", "missing", "é"]);
        assert_eq!(named.codes(), [0, 2, 0, 1]);
        let kept = column.to_categories(&Missing::Keep).unwrap();
        assert_eq!(
            (kept.names().len(), kept.codes()),
            (2, &[0, 1, 0, MISSING][..])
        );
        let error = column
            .to_categories(&Missing::Error)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("1 of 4 values are missing"), "{error}");
    }

    #[test]
    fn numbers_are_written_as_python_does() {
        assert_eq!(
            Column::Floats(vec![1.0, f64::NAN]).text(0).as_deref(),
            Some("1.0")
        );
        assert_eq!(Column::Floats(vec![1.0, f64::NAN]).text(1), None);
        assert_eq!(
            Column::Bools(vec![Some(true)]).text(0).as_deref(),
            Some("True")
        );
    }
}
