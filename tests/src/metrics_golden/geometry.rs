//! scGraph from the stored per-batch coordinates.

use super::{
    arrays, codes, gap, largest, matrix32, matrix64, names, need, number, optional, positions,
    scalar,
};
use crate::row::Row;
use sc_eval::metrics::scgraph::{
    BatchGeometry, Consensus, Correlation, MIN_CELLS, batch_distances, per_label, scgraph,
};
use sc_eval::results::Mode;
use serde_json::Value;
use std::path::Path;

pub(super) fn run(dir: &Path, expected: &Value) -> Result<Vec<Row>, String> {
    // Of data that scGraph cannot judge (one batch, small ones) the reference has no scores.
    let section = expected.get("scgraph");
    let Some(section) = section.filter(|s| s.get("scores").is_some_and(Value::is_object)) else {
        return Ok(Vec::new());
    };
    if names(section, "batches_used").is_empty() {
        return Ok(Vec::new());
    }
    let stored = optional(dir, "scgraph")?;
    let labels = codes(need(&arrays(dir, "cells")?, "label")?);
    let label_names = names(expected, "label_names");
    let code = |name: &str| label_names.iter().position(|n| n == name).map(|c| c as u32);
    let mut counts = vec![0usize; label_names.len()];
    labels.iter().for_each(|&l| counts[l as usize] += 1);
    let known: Vec<u32> = (0..counts.len() as u32)
        .filter(|&c| counts[c as usize] >= MIN_CELLS)
        .collect();
    let mut rows = Vec::new();
    let mut batches = Vec::new();
    for batch in names(section, "batches_used") {
        let geometry = BatchGeometry {
            rows: positions(need(&stored, &format!("pca10.{batch}.cells"))?),
            coordinates: matrix64(need(&stored, &format!("pca10.{batch}"))?)?,
        };
        let (ours, distances) =
            batch_distances(&geometry, &labels, &known, Mode::Compat).map_err(|e| e.to_string())?;
        if let Some(theirs) = stored.get(&format!("batch_distance.{batch}")) {
            let order: Vec<u32> = section
                .get("types_in_batch")
                .map(|t| names(t, &batch))
                .unwrap_or_default()
                .iter()
                .filter_map(|n| code(n))
                .collect();
            let error = matrices(&ours, &distances, &order, &theirs.data);
            rows.push(Row::check(
                format!("scgraph.batch_distance.{batch}"),
                error,
                1e-6,
            ));
        }
        batches.push(geometry);
    }
    let consensus = Consensus::new(&batches, &labels, Mode::Compat).map_err(|e| e.to_string())?;
    if let Some(theirs) = stored.get("consensus") {
        let order: Vec<u32> = names(section, "consensus_types")
            .iter()
            .filter_map(|n| code(n))
            .collect();
        let error = matrices(
            consensus.labels(),
            &consensus.distances().to_owned(),
            &order,
            &theirs.data,
        );
        rows.push(Row::check("scgraph.consensus", error, 1e-6));
    }
    let embeddings = arrays(dir, "embeddings")?;
    for (name, scores) in section
        .get("scores")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let x = matrix32(need(&embeddings, name)?)?;
        let ours = scgraph(x.view(), &labels, &consensus);
        for (key, outcome, kind) in [
            ("rank", ours.rank, Correlation::Rank),
            ("corr", ours.corr, Correlation::Plain),
            ("corr_weighted", ours.corr_weighted, Correlation::Weighted),
        ] {
            let title = format!("{name}.scgraph.{key}");
            let Some(entry) = scores.get(key) else {
                continue;
            };
            rows.push(scalar(title.clone(), outcome.ok().map(|s| s.value), entry));
            let Some(theirs) = scores.get("per_type").and_then(|p| p.get(key)) else {
                continue;
            };
            let error = per_label(x.view(), &labels, &consensus, kind)
                .map_err(|e| e.to_string())?
                .into_iter()
                .map(|(c, v)| {
                    gap(
                        v,
                        number(theirs, &label_names[c as usize]).unwrap_or(f64::NAN),
                    )
                })
                .fold(0.0, f64::max);
            let tolerance = number(entry, "abs_tol").unwrap_or(0.0);
            rows.push(Row::check(format!("{title}.per_type"), error, tolerance));
        }
    }
    Ok(rows)
}

/// Largest difference of two matrices whose rows and columns follow different orders of labels.
fn matrices(ours: &[u32], m: &ndarray::Array2<f64>, order: &[u32], theirs: &[f64]) -> f64 {
    let places: Option<Vec<usize>> = order
        .iter()
        .map(|c| ours.iter().position(|o| o == c))
        .collect();
    let Some(places) = places else {
        return f64::INFINITY;
    };
    if places.len() != ours.len() {
        return f64::INFINITY;
    }
    let sorted: Vec<f64> = places
        .iter()
        .flat_map(|&a| places.iter().map(move |&b| m[[a, b]]))
        .collect();
    largest(&sorted, theirs)
}
