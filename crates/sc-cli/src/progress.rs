//! Progress on standard error: bars on a terminal, a few lines elsewhere, nothing where only results are
//! wanted.

use crate::printing::is_quiet;
use indicatif::{ProgressBar, ProgressStyle};
use sc_train::training::trainer::StepReport;
use std::io::IsTerminal;

/// Smoothing of the displayed rate.
const SMOOTH: f64 = 0.1;
/// Number of log lines of a training run without a terminal.
const LINES: u64 = 10;

fn bar(length: u64, template: &str) -> ProgressBar {
    if is_quiet() || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

/// A progress bar for training steps: loss terms, cells per second, time left. It starts with the
/// first step.
#[derive(Default)]
pub(crate) struct Steps {
    bar: Option<ProgressBar>,
    rate: f64,
}

impl Steps {
    pub(crate) fn show(&mut self, report: &StepReport) {
        let bar = self
            .bar
            .get_or_insert_with(|| bar(report.steps, "{bar:24} {pos}/{len} {msg} · {eta} left"));
        let now = report.cells as f64 / report.seconds.max(1e-9);
        self.rate = if self.rate == 0.0 {
            now
        } else {
            self.rate + SMOOTH * (now - self.rate)
        };
        let losses: Vec<String> = report
            .losses
            .iter()
            .map(|(n, v)| format!("{n} {v:.4}"))
            .collect();
        // A log file gets ten lines.
        let every = (report.steps / LINES).max(1);
        if bar.is_hidden() && (report.step.is_multiple_of(every) || report.step == 1) {
            let (step, of, rate) = (report.step, report.steps, self.rate);
            note!(
                "step {step} of {of}: {}, {rate:.0} cells/s",
                losses.join(", ")
            );
        }
        bar.set_position(report.step);
        bar.set_message(format!("{} · {:.0} cells/s", losses.join(" "), self.rate));
        if report.step == report.steps {
            self.finish();
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A progress bar for packing cells, file by file. It starts with the first cell.
#[derive(Default)]
pub(crate) struct Packing(Option<(usize, Cells)>);

impl Packing {
    pub(crate) fn show(&mut self, done: usize, of: usize) {
        let (shown, cells) = self.0.get_or_insert_with(|| (0, Cells::new(of, "packing")));
        cells.add(done - *shown);
        *shown = done;
        if done == of {
            cells.finish();
            self.0 = None;
        }
    }
}

/// A progress bar for cells.
pub(crate) struct Cells(ProgressBar);

impl Cells {
    pub(crate) fn new(cells: usize, what: &str) -> Self {
        let bar = bar(
            cells as u64,
            "{msg} {bar:24} {pos}/{len} cells · {per_sec} · {eta} left",
        );
        bar.set_message(what.to_string());
        Self(bar)
    }

    pub(crate) fn add(&self, cells: usize) {
        self.0.inc(cells as u64);
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// A progress bar for the parts of a file.
pub(crate) struct Parts(ProgressBar);

impl Parts {
    pub(crate) fn new(what: &str) -> Self {
        let bar = bar(1, "{msg} {bar:24} {pos}/{len} · {elapsed}");
        bar.set_message(what.to_string());
        Self(bar)
    }

    pub(crate) fn show(&self, done: usize, of: usize) {
        self.0.set_length(of as u64);
        self.0.set_position(done as u64);
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// Progress over the rows of a table: a bar on a terminal, otherwise one line each.
pub(crate) struct Rows {
    bar: ProgressBar,
    rows: usize,
}

impl Rows {
    pub(crate) fn new(rows: usize, what: &str) -> Self {
        let bar = bar(rows as u64, "{prefix} {bar:24} {pos}/{len} {msg}");
        bar.set_prefix(what.to_string());
        Self { bar, rows }
    }

    /// The row called `name` begins.
    pub(crate) fn next(&mut self, name: &str) {
        if self.bar.is_hidden() {
            let at = self.bar.position() + 1;
            note!("{at}/{} {name}", self.rows);
        }
        self.bar.set_message(name.to_string());
        self.bar.inc(1);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
