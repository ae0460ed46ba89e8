//! `linear DIR`: seconds of the logistic regression that `benches/peers/logistic_sklearn.py`
//! wrote and fitted, at the same optimum, and of the choice of scaling and penalty on top.
//!
//! Prints one JSON line.

// This program prints its results.
#![allow(clippy::print_stdout)]

use sc_data::CsrMatrix;
use sc_data::memory::peak;
use sc_eval::baselines::{Features, LogisticOptions, logistic_l2, tuned_linear};
use scfm_benches::npy;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    sc_data::memory::keep_freed();
    let dir = std::env::args().nth(1).ok_or("usage: linear DIR")?;
    let dir = Path::new(&dir);
    let setting: Value = serde_json::from_str(&std::fs::read_to_string(dir.join("setting.json"))?)?;
    let genes = setting["genes"].as_u64().ok_or("no genes")? as usize;
    let c = setting["c"].as_f64().ok_or("no c")?;
    let tolerance = setting["tolerance"].as_f64().ok_or("no tolerance")?;
    let integers = |name: &str| npy(&dir.join(name), |b| i32::from_le_bytes(b) as u32);
    let starts = integers("starts.npy")?
        .1
        .into_iter()
        .map(|v| v as usize)
        .collect();
    let columns = integers("columns.npy")?.1;
    let values = npy(&dir.join("values.npy"), f32::from_le_bytes)?.1;
    let labels = integers("labels.npy")?.1;
    let matrix = CsrMatrix::new(genes, starts, columns, values)?;
    let features = Features::Sparse(&matrix);
    let options = LogisticOptions {
        c,
        tolerance,
        ..LogisticOptions::default()
    };
    let started = Instant::now();
    let model = logistic_l2(features, &labels, &options)?;
    let seconds = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let rows: Vec<usize> = (0..labels.len()).collect();
    let tuned = tuned_linear(features, &rows, &labels, None)?;
    let line = json!({
        "cells": labels.len(), "genes": genes, "classes": model.classes.len(),
        "seconds": seconds, "iterations": model.iterations, "objective": model.objective,
        "tuned_seconds": started.elapsed().as_secs_f64(), "tuned": tuned.to_string(),
        "threads": rayon::current_num_threads(), "peak_memory_bytes": peak(),
    });
    println!("{line}");
    Ok(())
}
