//! The page: templates filled with the results of the other modules.

use super::section::{Section, by_data, section};
use super::{Context, ReportError};
use crate::results::RunResult;
use askama::Template;

#[derive(Template)]
#[template(path = "report/page.html", whitespace = "minimize")]
struct Page<'a> {
    title: &'a str,
    context: &'a Context,
    sections: Vec<Section>,
    runs: usize,
}

pub(super) fn render(
    title: &str,
    results: &[RunResult],
    context: &Context,
) -> Result<String, ReportError> {
    let by_data = by_data(results);
    let sections = by_data
        .iter()
        .map(|(file, runs)| section(file, runs))
        .collect();
    Ok(Page {
        title,
        context,
        sections,
        runs: results.len(),
    }
    .render()?)
}

#[derive(Template)]
#[template(path = "report/plain.html", whitespace = "minimize")]
struct TablePage<'a> {
    title: &'a str,
    notes: &'a [String],
    columns: &'a [&'a str],
    rows: &'a [Vec<String>],
}

/// A page with one table in the style of the report, for measurements that are no evaluation.
///
/// # Errors
/// [`ReportError::Empty`] without rows.
pub fn table_page(
    title: &str,
    notes: &[String],
    columns: &[&str],
    rows: &[Vec<String>],
) -> Result<String, ReportError> {
    if rows.is_empty() {
        return Err(ReportError::Empty);
    }
    Ok(TablePage {
        title,
        notes,
        columns,
        rows,
    }
    .render()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_escaped_and_an_empty_one_refused() {
        let rows = [vec!["<vae>".to_owned(), "12.3".into()]];
        let page = table_page("Devices", &[], &["model", "cells/s"], &rows).unwrap();
        assert!(
            page.contains("&#60;vae&#62;") || page.contains("&lt;vae&gt;"),
            "{page}"
        );
        assert!(page.contains("<th scope=\"col\">cells/s</th>"));
        assert!(!page.contains("http"), "offline");
        assert!(table_page("Devices", &[], &[], &[]).is_err());
    }
}
