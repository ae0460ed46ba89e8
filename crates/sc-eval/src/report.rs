//! One offline HTML page from the results of an experiment.
//!
//! [`render`] computes every statement: the verdict is a set of paired comparisons, donor by donor,
//! and a statement whose rows are missing says "not tested". The page includes its style and draws
//! its plots as SVG, so it opens anywhere, also offline.
//!
//! Methods are paired by name: the control of the model `x` is the control named `x-random`, the
//! label controls are named `shuffled-labels` and `one-hot`.

mod catalogue;
mod classes;
mod cost;
mod csv;
mod curves;
mod forest;
mod format;
mod maps;
mod page;
mod paired;
mod section;
mod summary;
mod svg;
mod tables;
mod terminal;
mod verdict;

#[cfg(test)]
mod tests;

pub use csv::csv;
pub use page::table_page;
pub use terminal::summary;

use crate::results::{Mode, RunResult};
use summary::{Found, methods};

/// Description of the experiment as a whole.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Date of the report, as printed.
    pub generated: String,
    /// How donors were split, in a sentence.
    pub split: String,
    /// Rows of the manifest: versions, hash of the data, host.
    pub facts: Vec<(String, String)>,
    /// The resolved configuration, TOML.
    pub config: String,
    /// Planned runs without a result.
    pub failures: Vec<Failure>,
    /// Further notes for the reader, one sentence each.
    pub notes: Vec<String>,
}

/// A run that left no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Method, seed and device.
    pub run: String,
    /// Its last message.
    pub message: String,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Nothing to report on.
    #[error("no results and no failures to report on; run the experiment first")]
    Empty,
    /// A result file with another schema.
    #[error(
        "result of `{method}` has schema {found}, but this version reads {known}; run it again"
    )]
    Schema {
        /// The method.
        method: String,
        /// Schema of the file.
        found: u32,
        /// Schema this program reads.
        known: u32,
    },
    /// A template failed.
    #[error("template: {0}")]
    Template(#[from] askama::Error),
}

/// Layout of result files that [`render`] reads.
pub const SCHEMA: u32 = 3;

/// Writes the report: one HTML page without any external reference.
///
/// # Errors
/// [`ReportError`] when there is nothing to show or a result has another schema.
pub fn render(
    title: &str,
    results: &[RunResult],
    context: &Context,
) -> Result<String, ReportError> {
    if results.is_empty() && context.failures.is_empty() {
        return Err(ReportError::Empty);
    }
    if let Some(other) = results.iter().find(|r| r.schema != SCHEMA) {
        return Err(ReportError::Schema {
            method: other.method.clone(),
            found: other.schema,
            known: SCHEMA,
        });
    }
    page::render(title, results, context)
}

/// One line of [`primary_scores`].
#[derive(Clone, Debug, PartialEq)]
pub struct PrimaryScore {
    /// Method, with its device where several were used.
    pub method: String,
    /// Data file.
    pub data: String,
    /// Mean over seeds; absent when the metric is undefined or was not computed.
    pub value: Option<f64>,
    /// 95 % interval over donors.
    pub interval: Option<(f64, f64)>,
    /// Seeds behind the mean.
    pub seeds: usize,
}

/// The primary metric of every method, in the order of the report, and its display name.
pub fn primary_scores(results: &[RunResult]) -> (String, Vec<PrimaryScore>) {
    let primary = catalogue::PRIMARY;
    let mut lines = Vec::new();
    for (file, group) in section::by_data(results) {
        for method in methods(&group) {
            let found = method.score(primary, Mode::Strict);
            let seeds = method.runs.len();
            let (value, interval) = match found {
                Found::Score(s) => (Some(s.value()), s.interval()),
                Found::Undefined(_) | Found::Absent => (None, None),
            };
            lines.push(PrimaryScore {
                method: method.label.clone(),
                data: file.clone(),
                value,
                interval,
                seeds,
            });
        }
    }
    (catalogue::title(primary), lines)
}
