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
