//! `scfm doctor`: exit code 1 when something would go wrong later.

use crate::args::{Doctor, Format};
use crate::error::Result;
use sc_data::doctor::{LevelsReport, Report, examine};
use std::process::ExitCode;

pub(crate) fn run(args: &Doctor) -> Result<ExitCode> {
    let report = examine(&args.file)?;
    match args.format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Format::Table => print(&report)?,
    }
    Ok(if report.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn print(report: &Report) -> Result<()> {
    let line = |name: &str, value: String| println!("{name:<16} {value}");
    let word = |v: &dyn erased::Word| v.word();
    line(
        "file",
        format!("{} ({:.1} MB)", report.path, report.bytes as f64 / 1e6),
    );
    line(
        "cells × genes",
        format!("{} × {}", report.cells, report.genes),
    );
    for m in &report.matrices {
        let what = format!(
            "{} × {}, {}, {}, largest {}",
            m.rows,
            m.cols,
            word(&m.layout),
            word(&m.kind),
            m.largest
        );
        line(&m.slot.to_string(), what);
    }
    let counts = report
        .counts_slot
        .as_ref()
        .map_or("none found".to_string(), ToString::to_string);
    line("counts", counts);
    if let Some(v) = &report.values {
        line("density", format!("{:.2} %", 100.0 * v.density));
        line(
            "a cell",
            format!(
                "{} counts, {} genes (medians)",
                v.median_counts, v.median_genes
            ),
        );
        line(
            "empty",
            format!("{} cells, {} genes", v.empty_cells, v.empty_genes),
        );
    }
    line(
        "genes",
        format!("{}, {}", word(&report.gene_ids), word(&report.organism)),
    );
    for (name, columns) in [
        ("batches", &report.batch_columns),
        ("donors", &report.donor_columns),
        ("labels", &report.label_columns),
    ] {
        line(name, levels(columns));
    }
    line("embeddings", or_none(report.embeddings.join(", ")));
    line(
        "memory",
        format!("{:.0} MB for the counts", report.memory_bytes as f64 / 1e6),
    );
    for w in &report.warnings {
        line("warning", w.clone());
    }
    for p in &report.problems {
        line("PROBLEM", p.clone());
    }
    if report.problems.is_empty() {
        line("verdict", "ready for training and evaluation".into());
    }
    Ok(())
}

fn levels(columns: &[LevelsReport]) -> String {
    let each = |c: &LevelsReport| {
        let missing = if c.missing > 0 {
            format!(", {} missing", c.missing)
        } else {
            String::new()
        };
        format!(
            "{} ({} levels, smallest {}{missing})",
            c.column, c.levels, c.smallest
        )
    };
    or_none(columns.iter().map(each).collect::<Vec<_>>().join("; "))
}

fn or_none(text: String) -> String {
    if text.is_empty() {
        "none found".into()
    } else {
        text
    }
}

/// The word a value is written with in JSON.
mod erased {
    pub(super) trait Word {
        fn word(&self) -> String;
    }

    impl<T: serde::Serialize> Word for T {
        fn word(&self) -> String {
            match serde_json::to_value(self) {
                Ok(serde_json::Value::String(s)) => s,
                Ok(other) => other.to_string(),
                Err(_) => String::new(),
            }
        }
    }
}
