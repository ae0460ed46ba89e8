//! Normalisation, highly variable genes and PCA of sc-data.

use super::{Arrays, codes, gap, largest, matrix64, need, number, optional, positions};
use crate::row::Row;
use sc_data::preprocess::hvg::{Flavor, HvgConfig, HvgInput, HvgTable, highly_variable_genes};
use sc_data::preprocess::normalize::{NormalizeConfig, size_factors};
use sc_data::{CsrMatrix, LogNormalized, RawCounts};
use serde_json::Value;
use std::path::Path;

pub(super) fn run(dir: &Path, expected: &Value) -> Result<Vec<Row>, String> {
    let stored = optional(dir, "preprocess_subset")?;
    let Some(subset) = expected.pointer("/preprocess/subset") else {
        return Ok(Vec::new());
    };
    if stored.is_empty() {
        return Ok(Vec::new());
    }
    let genes = need(&stored, "shape")?
        .data
        .get(1)
        .map_or(0, |&v| v as usize);
    let counts = CsrMatrix::new(
        genes,
        positions(need(&stored, "counts.indptr")?),
        codes(need(&stored, "counts.indices")?),
        need(&stored, "counts.data")?.f32(),
    )
    .and_then(RawCounts::new)
    .map_err(|e| e.to_string())?;
    let mut rows = normalisation(&counts, subset, &stored)?;
    let logged = LogNormalized::from_counts(&counts, 1e4);
    rows.extend(log_values(&logged, &stored));
    rows.extend(variable_genes(&counts, &logged, subset, &stored)?);
    rows.extend(components(&logged, subset, &stored)?);
    Ok(rows)
}

fn normalisation(counts: &RawCounts, subset: &Value, stored: &Arrays) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    if let Some(theirs) = stored.get("total_counts") {
        rows.push(Row::check(
            "total_counts",
            largest(&counts.matrix().row_sums(), &theirs.data),
            0.0,
        ));
    }
    for (name, theirs) in stored {
        let Some(kind) = name
            .strip_prefix("normalize_total_")
            .and_then(|n| n.strip_suffix(".norm_factor"))
        else {
            continue;
        };
        let mut config = NormalizeConfig::default();
        match (kind, kind.strip_prefix("1e4_exclude_").map(str::parse)) {
            (_, Some(Ok(share))) => config.exclude_above = Some(share),
            ("median", _) => config.target = None,
            _ => {}
        }
        let ours = size_factors(counts, &config).map_err(|e| e.to_string())?;
        if let (None, Some(target)) = (config.target, number(subset, "median_target")) {
            rows.push(Row::check("median_target", gap(ours.target, target), 0.0));
        }
        let error = relative(&ours.factors, &theirs.data, 0.0);
        rows.push(Row::check(name.clone(), error, 1e-6));
    }
    Ok(rows)
}

/// Largest relative difference, absolute below `near_zero`.
fn relative(ours: &[f64], theirs: &[f64], near_zero: f64) -> f64 {
    if ours.len() != theirs.len() {
        return f64::INFINITY;
    }
    let one = |(&a, &b): (&f64, &f64)| {
        if gap(a, b) <= near_zero {
            0.0
        } else {
            gap(a, b) / b.abs().max(f64::MIN_POSITIVE)
        }
    };
    ours.iter().zip(theirs).map(one).fold(0.0, f64::max)
}

fn log_values(logged: &LogNormalized, stored: &Arrays) -> Option<Row> {
    let theirs = stored.get("log1p_1e4.first100cells.data")?;
    let ours: Vec<f64> = logged
        .matrix()
        .values()
        .iter()
        .take(theirs.data.len())
        .map(|&v| f64::from(v))
        .collect();
    Some(Row::check("log1p_1e4", largest(&ours, &theirs.data), 2e-6))
}

fn variable_genes(
    counts: &RawCounts,
    logged: &LogNormalized,
    subset: &Value,
    stored: &Arrays,
) -> Result<Vec<Row>, String> {
    let batches = codes(need(stored, "batch")?);
    let n_top = number(subset, "n_top_genes").unwrap_or(500.0) as usize;
    let mut rows = Vec::new();
    let tables: Vec<&String> = stored
        .keys()
        .filter(|k| k.ends_with(".highly_variable"))
        .collect();
    for key in tables {
        let name = key.trim_end_matches(".highly_variable");
        let Some((flavor, variant)) = name.trim_start_matches("hvg.").split_once('.') else {
            continue;
        };
        let flavor = match flavor {
            "seurat" => Flavor::Seurat,
            "cell_ranger" => Flavor::CellRanger,
            "seurat_v3" => Flavor::SeuratV3,
            _ => {
                rows.push(Row::not_built(name));
                continue;
            }
        };
        let kept: Option<Vec<usize>> = stored.get(&format!("{name}.gene_mask")).map(|mask| {
            mask.data
                .iter()
                .enumerate()
                .filter(|m| *m.1 != 0.0)
                .map(|m| m.0)
                .collect()
        });
        let (counts, logged) = match &kept {
            Some(genes) => (counts.select_cols(genes), logged.select_cols(genes)),
            None => (counts.clone(), logged.clone()),
        };
        let input = match flavor {
            Flavor::SeuratV3 => HvgInput::Counts(&counts),
            _ => HvgInput::LogNormalized(&logged),
        };
        let config = HvgConfig {
            flavor,
            n_top,
            ..HvgConfig::default()
        };
        let by_batch = variant.starts_with("batch").then_some(batches.as_slice());
        let table = highly_variable_genes(input, by_batch, &config).map_err(|e| e.to_string())?;
        columns(name, flavor, &table, stored, &mut rows);
        selection(
            name,
            flavor,
            &table,
            subset,
            &need(stored, key)?.data,
            &mut rows,
        );
    }
    Ok(rows)
}

fn columns(name: &str, flavor: Flavor, table: &HvgTable, stored: &Arrays, rows: &mut Vec<Row>) {
    let theirs = |column: &str| {
        stored
            .get(&format!("{name}.{column}"))
            .map(|a| a.data.as_slice())
    };
    let mut row = |column: &str, error: f64, tolerance: f64| {
        rows.push(Row::check(format!("{name}.{column}"), error, tolerance));
    };
    let spread = if flavor == Flavor::SeuratV3 {
        "variances"
    } else {
        "dispersions"
    };
    for (column, ours) in [("means", &table.means), (spread, &table.dispersions)] {
        if let Some(theirs) = theirs(column) {
            row(column, relative(ours, theirs, 1e-5), 1e-4);
        }
    }
    if let Some(theirs) = theirs("dispersions_norm") {
        row(
            "dispersions_norm",
            relative(&table.normalized, theirs, 1e-5),
            1e-4,
        );
    }
    if let Some(theirs) = theirs("variances_norm") {
        // The bounds of a faithful interpolation of the loess surface.
        let mut errors: Vec<f64> = table
            .normalized
            .iter()
            .zip(theirs)
            .map(|(&a, &b)| {
                if gap(a, b) == 0.0 {
                    0.0
                } else {
                    gap(a, b) / b.abs()
                }
            })
            .collect();
        errors.sort_by(f64::total_cmp);
        row(
            "variances_norm.max",
            errors.last().copied().unwrap_or(f64::INFINITY),
            3e-3,
        );
        row(
            "variances_norm.median",
            errors
                .get(errors.len() / 2)
                .copied()
                .unwrap_or(f64::INFINITY),
            1e-4,
        );
    }
}

/// Genes selected by one side only, ties at the cut left out.
fn selection(
    name: &str,
    flavor: Flavor,
    table: &HvgTable,
    subset: &Value,
    theirs: &[f64],
    rows: &mut Vec<Row>,
) {
    let ties = subset.pointer("/ties").and_then(|t| t.get(name));
    let tied = ties.and_then(|t| number(t, "n_tied_at_cut")).unwrap_or(1.0);
    let chosen = ties
        .and_then(|t| number(t, "n_tied_selected"))
        .unwrap_or(1.0);
    // Tied genes that may be swapped for each other.
    let free = chosen.min(tied - chosen).max(0.0);
    let missed = table
        .selected
        .iter()
        .zip(theirs)
        .filter(|(a, b)| !**a && **b != 0.0)
        .count() as f64;
    let error = (missed - free).max(0.0);
    let total = theirs.iter().filter(|v| **v != 0.0).count() as f64;
    let allowed = if flavor == Flavor::SeuratV3 {
        (1.0 - 0.985) * total
    } else {
        0.0
    };
    rows.push(Row::check(
        format!("{name}.highly_variable"),
        error,
        allowed,
    ));
}

fn components(logged: &LogNormalized, subset: &Value, stored: &Arrays) -> Result<Vec<Row>, String> {
    let (Some(scores), Some(variance), Some(mask)) = (
        stored.get("pca.scores"),
        stored
            .get("pca.variance_f64")
            .or_else(|| stored.get("pca.variance")),
        stored.get("hvg.seurat_v3.nobatch.highly_variable"),
    ) else {
        return Ok(Vec::new());
    };
    let genes: Vec<usize> = mask
        .data
        .iter()
        .enumerate()
        .filter(|m| *m.1 != 0.0)
        .map(|m| m.0)
        .collect();
    let x = logged.select_cols(&genes);
    let theirs = matrix64(scores)?;
    let (variances, own, loadings) = pca(x.matrix(), theirs.ncols())?;
    let mut rows = vec![Row::check(
        "pca.variance",
        relative(&variances, &variance.data, 0.0),
        1e-4,
    )];
    let noise = subset
        .pointer("/pca/max_abs_diff_per_component")
        .and_then(Value::as_array);
    for c in 0..theirs.ncols() {
        let recorded = noise
            .and_then(|n| n.get(c))
            .and_then(Value::as_f64)
            .unwrap_or(0.0);
        let absolute =
            |m: &ndarray::Array2<f64>| m.column(c).iter().map(|v| v.abs()).collect::<Vec<_>>();
        let error = largest(&absolute(&own), &absolute(&theirs));
        rows.push(Row::check(
            format!("pca.scores.{c}"),
            error,
            (3.0 * recorded).max(2e-3),
        ));
    }
    if let Some(theirs) = stored.get("pca.loadings") {
        let theirs = matrix64(theirs)?;
        let ours: Vec<f64> = loadings.t().iter().map(|v| v.abs()).collect();
        let theirs: Vec<f64> = theirs.iter().map(|v| v.abs()).collect();
        rows.push(Row::check("pca.loadings", largest(&ours, &theirs), 1e-3));
    }
    Ok(rows)
}

/// Variances, scores `[cells, components]` and loadings `[components, genes]`.
type Components = (Vec<f64>, ndarray::Array2<f64>, ndarray::Array2<f64>);

fn pca(x: &CsrMatrix, count: usize) -> Result<Components, String> {
    let fit = sc_data::preprocess::pca::pca(x, count).map_err(|e| e.to_string())?;
    let scores = fit.transform(x).map_err(|e| e.to_string())?.mapv(f64::from);
    Ok((fit.variance, scores, fit.components))
}
