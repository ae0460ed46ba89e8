//! Arrays with one entry per cell: neighbours, the fuzzy graph, silhouettes, LISI.

use super::{Arrays, largest, number};
use crate::row::Row;
use ndarray::ArrayView2;
use sc_eval::graph::Graph;
use sc_eval::metrics::lisi;
use sc_eval::metrics::silhouette::{self, BatchSilhouette, Between};
use sc_eval::neighbors::Neighbors;
use sc_eval::results::Mode;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Stored neighbour lists must be equal, stored f32 distances equal up to their rounding.
pub(super) fn neighbours(name: &str, near: &Neighbors, stored: &Arrays) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some(theirs) = stored.get(&format!("{name}.indices")) {
        let ours: Vec<f64> = near.indices.iter().map(|&v| f64::from(v)).collect();
        let wrong = if ours.len() == theirs.data.len() {
            ours.iter()
                .zip(&theirs.data)
                .filter(|(a, b)| a != b)
                .count() as f64
        } else {
            f64::INFINITY
        };
        rows.push(Row::check(format!("{name}.knn.indices"), wrong, 0.0));
    }
    if let Some(theirs) = stored.get(&format!("{name}.distances")) {
        let ours: Vec<f64> = near.distances.iter().map(|&v| f64::from(v)).collect();
        let scale = theirs.data.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
        let error = largest(&ours, &theirs.data) / scale;
        rows.push(Row::check(
            format!("{name}.knn.distances"),
            error,
            f64::from(f32::EPSILON),
        ));
    }
    rows
}

/// Entries of the fuzzy graph agree to 1e-5; one below 1e-7 may be missing on either side.
pub(super) fn umap_graph(name: &str, ours: &Graph, stored: &Arrays) -> Option<Row> {
    let (indptr, indices, data) = (
        stored.get("umap15.indptr")?,
        stored.get("umap15.indices")?,
        stored.get("umap15.data")?,
    );
    let mut error = 0f64;
    for i in 0..ours.nodes() {
        let range = *indptr.data.get(i)? as usize..*indptr.data.get(i + 1)? as usize;
        let theirs: BTreeMap<u32, f64> = indices.data[range.clone()]
            .iter()
            .zip(&data.data[range])
            .map(|(&j, &w)| (j as u32, w))
            .collect();
        let (own, weights) = ours.row(i);
        let mine: BTreeMap<u32, f64> = own
            .iter()
            .copied()
            .zip(weights.iter().map(|&w| f64::from(w)))
            .collect();
        for j in theirs.keys().chain(mine.keys()) {
            let (a, b) = (mine.get(j).copied(), theirs.get(j).copied());
            error = error.max(match (a, b) {
                (Some(a), Some(b)) => (a - b).abs(),
                (a, b) => {
                    let alone = a.or(b).unwrap_or(0.0);
                    if alone < 1e-7 { 0.0 } else { f64::INFINITY }
                }
            });
        }
    }
    Some(Row::check(format!("{name}.umap15"), error, 1e-5))
}

/// Silhouettes and LISI, cell by cell, at the tolerances of the scores made of them.
pub(super) fn scores(
    x: ArrayView2<'_, f32>,
    (labels, batches): (&[u32], &[u32]),
    near: &Neighbors,
    name: &str,
    stored: &Arrays,
    entries: &Map<String, Value>,
) -> Result<Vec<Row>, String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let mut rows = Vec::new();
    for (array, key) in [
        ("silhouette_label", "silhouette_label"),
        ("silhouette_batch", "silhouette_batch"),
        ("bras", "bras"),
        ("lisi_label", "clisi"),
        ("lisi_batch", "ilisi"),
    ] {
        let (Some(theirs), Some(entry)) =
            (stored.get(&format!("{name}.{array}")), entries.get(key))
        else {
            continue;
        };
        let skipped = |v: Vec<Option<f64>>| v.into_iter().map(|v| v.unwrap_or(-1.0)).collect();
        let kind = BatchSilhouette::Bras(Between::MeanOther, Mode::Compat);
        let mut ours: Vec<f64> = match array {
            "silhouette_label" => silhouette::per_cell(x, labels).map_err(|e| text(&e))?,
            "silhouette_batch" => skipped(
                silhouette::batch_per_cell(x, labels, batches, BatchSilhouette::Euclidean)
                    .map_err(|e| text(&e))?,
            ),
            "bras" => {
                skipped(silhouette::batch_per_cell(x, labels, batches, kind).map_err(|e| text(&e))?)
            }
            "lisi_label" => lisi::per_cell(near, labels).map_err(|e| text(&e))?,
            _ => lisi::per_cell(near, batches).map_err(|e| text(&e))?,
        };
        let mut theirs = theirs.data.clone();
        let unstable: BTreeSet<usize> = entry
            .get("percell_unstable_cells")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|v| v.as_u64().map(|v| v as usize))
            .collect();
        for &cell in &unstable {
            if cell < ours.len() && cell < theirs.len() {
                ours[cell] = 0.0;
                theirs[cell] = 0.0;
            }
        }
        let tolerance = number(entry, "percell_abs_tol")
            .or_else(|| number(entry, "abs_tol"))
            .unwrap_or(0.0);
        rows.push(Row::check(
            format!("{name}.percell.{array}"),
            largest(&ours, &theirs),
            tolerance,
        ));
    }
    Ok(rows)
}
