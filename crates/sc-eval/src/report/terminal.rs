//! A short text report for a terminal.

use super::primary_scores;
use super::section::by_data;
use super::summary::methods;
use super::verdict::verdict;
use crate::results::RunResult;

/// The table of the primary metric and the verdict of every data set.
pub fn summary(results: &[RunResult]) -> String {
    let (metric, lines) = primary_scores(results);
    let known = results
        .iter()
        .any(|r| r.metrics.iter().any(|m| m.donors > 0));
    let over = if known {
        "donors"
    } else {
        "cells, donors unknown"
    };
    let mut out = format!("\n{metric} on held-out cells, 95 % interval over {over}\n");
    let width = lines
        .iter()
        .map(|l| l.method.chars().count())
        .max()
        .unwrap_or(0);
    let several = lines.iter().any(|l| l.data != lines[0].data);
    for line in &lines {
        let value = line
            .value
            .map_or_else(|| "    –".to_owned(), |v| format!("{v:.3}"));
        let range = line
            .interval
            .map_or_else(String::new, |(l, h)| format!("[{l:.3}, {h:.3}]"));
        let seeds = if line.seeds == 1 { "seed" } else { "seeds" };
        let data = if several { line.data.as_str() } else { "" };
        let row = format!(
            "  {:width$}  {value}  {range:16}  {} {seeds}  {data}",
            line.method, line.seeds
        );
        out.push_str(row.trim_end());
        out.push('\n');
    }
    for (file, runs) in by_data(results) {
        let found = verdict(&methods(&runs));
        let of = if several {
            format!(" of {file}")
        } else {
            String::new()
        };
        out.push_str(&format!("\nverdict{of}: {}\n", found.headline));
        for line in found.about {
            out.push_str(&format!("  {line}\n"));
        }
        for s in found.sentences {
            out.push_str(&format!("  {} {} {}\n", s.tone.sign(), s.lead, s.evidence));
        }
        if !found.next.is_empty() {
            out.push_str("\nwhat to do next\n");
        }
        for line in found.next {
            out.push_str(&format!("  {line}\n"));
        }
    }
    out
}
