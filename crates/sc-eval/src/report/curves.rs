//! Training curves: one small panel per loss term, one line per seed.

use super::summary::Method;
use super::svg::{Axis, colour, escape};
use crate::results::{CurvePoint, RunResult};
use std::fmt::Write as _;

const WIDTH: f64 = 250.0;
const HEIGHT: f64 = 170.0;

/// The curves of one method.
pub(super) struct Curves {
    pub(super) label: String,
    /// One plot per loss term, `total` first.
    pub(super) panels: Vec<String>,
    /// Colour and name of every line.
    pub(super) seeds: Vec<(&'static str, String)>,
}

/// Curves of every method that has any.
pub(super) fn curves(methods: &[Method<'_>]) -> Vec<Curves> {
    methods.iter().filter_map(of_method).collect()
}

fn of_method(method: &Method<'_>) -> Option<Curves> {
    let runs: Vec<&RunResult> = method
        .runs
        .iter()
        .copied()
        .filter(|r| r.curve.len() > 1)
        .collect();
    let mut terms: Vec<&str> = Vec::new();
    for point in runs.iter().flat_map(|r| &r.curve) {
        for term in point.losses.keys() {
            if !terms.contains(&term.as_str()) {
                terms.push(term);
            }
        }
    }
    terms.sort_by_key(|t| (*t != "total", *t));
    // A single term is its own total.
    if terms.len() == 2 && terms[0] == "total" {
        terms.truncate(1);
    }
    let panels: Vec<String> = terms.iter().filter_map(|t| panel(&runs, t)).collect();
    let seeds = runs.iter().enumerate();
    (!panels.is_empty()).then(|| Curves {
        label: method.label.clone(),
        panels,
        seeds: seeds
            .map(|(i, r)| (colour(i), format!("seed {}", r.seed)))
            .collect(),
    })
}

fn value(point: &CurvePoint, term: &str) -> Option<f64> {
    point.losses.get(term).copied().filter(|v| v.is_finite())
}

fn panel(runs: &[&RunResult], term: &str) -> Option<String> {
    let points = || runs.iter().flat_map(|r| &r.curve);
    let x = Axis::over(points().map(|p| p.step as f64), 46.0, WIDTH - 10.0, 3)?;
    let y = Axis::over(
        points().filter_map(|p| value(p, term)),
        HEIGHT - 30.0,
        24.0,
        4,
    )?;
    let mut svg = format!(
        "<svg class=\"plot small\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0} over steps\">\
         <text class=\"name\" x=\"46\" y=\"14\">{0}</text>",
        escape(&term.replace('_', " "))
    );
    for (at, label) in y.ticks() {
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M46 {at:.1}H{:.0}\"/>\
             <text class=\"tick\" x=\"41\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            WIDTH - 10.0,
            at + 3.5
        );
    }
    for (at, label) in x.ticks() {
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{label}</text>",
            HEIGHT - 14.0
        );
    }
    for (i, run) in runs.iter().enumerate() {
        let mut path = String::new();
        let mut pen = 'M';
        for point in &run.curve {
            // A non-finite loss leaves a gap.
            let Some(v) = value(point, term) else {
                pen = 'M';
                continue;
            };
            let _ = write!(path, "{pen}{:.1} {:.1}", x.at(point.step as f64), y.at(v));
            pen = 'L';
        }
        let _ = write!(
            svg,
            "<path class=\"line\" stroke=\"{}\" d=\"{path}\"/>",
            colour(i)
        );
    }
    let _ = write!(
        svg,
        "<text class=\"tick\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">step</text></svg>",
        WIDTH - 10.0,
        HEIGHT - 2.0
    );
    Some(svg)
}
