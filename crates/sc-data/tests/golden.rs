//! Agreement with scanpy, scikit-learn and scGPT on the cases under `shared/golden`.
//!
//! The cases lie outside the repository; `SCFM_SHARED` names the folder. Without it every test prints
//! one line and passes.

#![allow(clippy::print_stdout, reason = "tests say what they skip and measure")]

use std::path::PathBuf;

use safetensors::{Dtype, SafeTensors};
use sc_data::io::store::{CountsPolicy, CountsReader};
use sc_data::preprocess::hvg::{Flavor, HvgConfig, HvgInput, HvgTable, highly_variable_genes};
use sc_data::preprocess::normalize::{NormalizeConfig, size_factors};
use sc_data::preprocess::pca::pca;
use sc_data::{CsrMatrix, H5ad, LogNormalized, RawCounts, tokens};

fn shared(what: &str) -> Option<PathBuf> {
    let folder = std::env::var("SCFM_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").into());
    let path = PathBuf::from(folder).join(what);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: no {what} (set SCFM_SHARED)");
    None
}

struct Tensors(Vec<u8>);

impl Tensors {
    fn open(path: PathBuf) -> Self {
        Self(std::fs::read(path).unwrap())
    }

    fn get(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        let bytes = tensor.data();
        match tensor.dtype() {
            Dtype::F64 => cells(bytes, f64::from_le_bytes),
            Dtype::F32 => cells(bytes, |b| f64::from(f32::from_le_bytes(b))),
            Dtype::I64 => cells(bytes, |b| i64::from_le_bytes(b) as f64),
            Dtype::I32 => cells(bytes, |b| f64::from(i32::from_le_bytes(b))),
            Dtype::I16 => cells(bytes, |b| f64::from(i16::from_le_bytes(b))),
            Dtype::U8 => cells(bytes, |b: [u8; 1]| f64::from(b[0])),
            other => panic!("{name}: {other:?}"),
        }
    }

    fn has(&self, name: &str) -> bool {
        SafeTensors::deserialize(&self.0)
            .unwrap()
            .tensor(name)
            .is_ok()
    }

    fn codes(&self, name: &str) -> Vec<u32> {
        self.get(name).into_iter().map(|x| x as u32).collect()
    }
}

fn cells<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    bytes
        .chunks_exact(N)
        .map(|c| f(c.try_into().unwrap()))
        .collect()
}

fn subset() -> Option<(Tensors, RawCounts, Vec<u32>)> {
    let file = Tensors::open(shared(
        "golden/public/metrics/pancreas/preprocess_subset.safetensors",
    )?);
    let indptr = file
        .get("counts.indptr")
        .into_iter()
        .map(|x| x as usize)
        .collect();
    let data = file
        .get("counts.data")
        .into_iter()
        .map(|x| x as f32)
        .collect();
    let cols = file.get("shape")[1] as usize;
    let matrix = CsrMatrix::new(cols, indptr, file.codes("counts.indices"), data).unwrap();
    let batch = file.codes("batch");
    Some((file, RawCounts::new(matrix).unwrap(), batch))
}

/// Largest relative difference; values below `floor` are compared absolutely, NaN must meet NaN.
fn difference(ours: &[f64], theirs: &[f64], floor: f64) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let mut worst = 0f64;
    for (a, b) in ours.iter().zip(theirs) {
        assert_eq!(a.is_nan(), b.is_nan(), "{a} against {b}");
        if !a.is_nan() {
            worst = worst.max((a - b).abs() / b.abs().max(floor));
        }
    }
    worst
}

fn check_table(file: &Tensors, prefix: &str, table: &HvgTable, ties: usize, tolerance: f64) {
    let v3 = file.has(&format!("{prefix}.variances_norm"));
    let names = if v3 {
        ["variances", "variances_norm"]
    } else {
        ["dispersions", "dispersions_norm"]
    };
    let columns = [
        ("means", &table.means),
        (names[0], &table.dispersions),
        (names[1], &table.normalized),
    ];
    for (name, ours) in columns {
        let name = format!("{prefix}.{name}");
        if file.has(&name) {
            let d = difference(ours, &file.get(&name), 0.1);
            println!("{name} {d:.1e}");
            assert!(d < tolerance, "{name}: {d}");
        }
    }
    let name = format!("{prefix}.highly_variable_rank");
    if file.has(&name) {
        let theirs = file.get(&name);
        let off = table
            .rank
            .iter()
            .zip(&theirs)
            .filter(|(a, b)| a != b && !(a.is_nan() && b.is_nan()));
        println!("{name} different (ties): {}", off.count());
    }
    let theirs = file.get(&format!("{prefix}.highly_variable"));
    let off = table
        .selected
        .iter()
        .zip(&theirs)
        .filter(|(a, b)| f64::from(u8::from(**a)) != **b)
        .count();
    println!("{prefix} selected differently: {off}");
    assert!(off <= ties, "{prefix}: {off} genes selected differently");
    if file.has(&format!("{prefix}.nbatches")) {
        let ours: Vec<f64> = table.n_batches.iter().map(|&n| f64::from(n)).collect();
        let off = ours
            .iter()
            .zip(file.get(&format!("{prefix}.nbatches")))
            .filter(|(a, b)| **a != *b)
            .count();
        println!("{prefix} batches counted differently: {off}");
        assert!(off <= ties + 2, "{prefix}: {off}");
    }
}

#[test]
fn normalisation_matches_scanpy() {
    let Some((file, counts, _)) = subset() else {
        return;
    };
    let totals = counts.matrix().row_sums();
    assert_eq!(totals, file.get("total_counts"));
    let cases = [
        ("normalize_total_1e4", Some(1e4), None),
        ("normalize_total_median", None, None),
        ("normalize_total_1e4_exclude_0.05", Some(1e4), Some(0.05)),
    ];
    for (name, target, exclude_above) in cases {
        let ours = size_factors(
            &counts,
            &NormalizeConfig {
                target,
                exclude_above,
            },
        )
        .unwrap();
        let d = difference(
            &ours.factors,
            &file.get(&format!("{name}.norm_factor")),
            1e-9,
        );
        println!("{name} {d:.1e}");
        assert!(d < 1e-6);
    }
    let log1p = LogNormalized::from_counts(&counts, 1e4);
    let theirs = file.get("log1p_1e4.first100cells.data");
    let worst = log1p
        .matrix()
        .values()
        .iter()
        .zip(&theirs)
        .map(|(a, b)| (f64::from(*a) - b).abs());
    let worst = worst.fold(0f64, f64::max);
    println!("log1p {worst:.1e}");
    assert!(worst < 2e-6);
}

#[test]
fn variable_genes_of_the_subset_match_scanpy() {
    let Some((file, counts, batch)) = subset() else {
        return;
    };
    let log1p = LogNormalized::from_counts(&counts, 1e4);
    for (flavor, name) in [
        (Flavor::Seurat, "seurat"),
        (Flavor::CellRanger, "cell_ranger"),
    ] {
        let config = HvgConfig {
            flavor,
            n_top: 500,
            ..HvgConfig::default()
        };
        for (batches, suffix) in [(None, "nobatch"), (Some(&batch[..]), "batch")] {
            let table =
                highly_variable_genes(HvgInput::LogNormalized(&log1p), batches, &config).unwrap();
            check_table(&file, &format!("hvg.{name}.{suffix}"), &table, 0, 1e-4);
        }
    }
    let config = HvgConfig {
        n_top: 500,
        ..HvgConfig::default()
    };
    let table = highly_variable_genes(HvgInput::Counts(&counts), None, &config).unwrap();
    check_table(&file, "hvg.seurat_v3.nobatch", &table, 2, 3e-3);
    let mask = file.get("hvg.seurat_v3.batch_filtered.gene_mask");
    let kept: Vec<usize> = (0..mask.len()).filter(|&g| mask[g] != 0.0).collect();
    let counts = counts.select_cols(&kept);
    let table = highly_variable_genes(HvgInput::Counts(&counts), Some(&batch), &config).unwrap();
    // Rare genes of equal counts tie exactly within a batch, and numpy's sort orders ties at random.
    check_table(&file, "hvg.seurat_v3.batch_filtered", &table, 15, 3e-3);
}

#[test]
fn components_of_the_subset_match_scanpy() {
    let Some((file, counts, _)) = subset() else {
        return;
    };
    let log1p = LogNormalized::from_counts(&counts, 1e4);
    let chosen = file.get("hvg.seurat_v3.nobatch.highly_variable");
    let genes: Vec<usize> = (0..chosen.len()).filter(|&g| chosen[g] != 0.0).collect();
    let matrix = log1p.into_matrix().select_cols(&genes);
    let pca = pca(&matrix, 20).unwrap();
    let scores = pca.transform(&matrix).unwrap();
    let d = difference(&pca.variance, &file.get("pca.variance_f64"), 1e-9);
    println!("pca variance {d:.1e}");
    assert!(d < 1e-6);
    assert!(difference(&pca.variance_ratio, &file.get("pca.variance_ratio"), 1e-9) < 1e-4);
    let signed = |ours: f64, theirs: f64| (ours - theirs).abs();
    let worst = scores
        .iter()
        .zip(file.get("pca.scores"))
        .map(|(a, b)| signed(f64::from(*a), b))
        .fold(0f64, f64::max);
    println!("pca scores {worst:.1e}");
    assert!(worst < 2e-3);
    let loadings = pca.components.t();
    let worst = loadings
        .iter()
        .zip(file.get("pca.loadings"))
        .map(|(a, b)| signed(*a, b))
        .fold(0f64, f64::max);
    println!("pca loadings {worst:.1e}");
    assert!(worst < 1e-3);
}

#[test]
fn variable_genes_and_components_of_the_whole_file_match_scanpy() {
    let Some(file) = shared("data/datasets/pancreas_4studies.h5ad") else {
        return;
    };
    let Some(golden) = shared("golden/public/metrics/pancreas") else {
        return;
    };
    let table = Tensors::open(golden.join("hvg_full.safetensors"));
    let cells = Tensors::open(golden.join("cells.safetensors"));
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden.join("expected.json")).unwrap()).unwrap();
    let reader =
        CountsReader::open(&H5ad::open(&file).unwrap(), &CountsPolicy::RequireCounts).unwrap();
    let rows: Vec<usize> = cells
        .codes("h5ad_row")
        .into_iter()
        .map(|r| r as usize)
        .collect();
    // The case keeps genes seen in ten cells or more, in the order of the file.
    let counts = reader.read_rows(&rows).unwrap();
    let mut seen = vec![0; counts.matrix().cols()];
    for (genes, _) in counts.matrix().iter_rows() {
        genes.iter().for_each(|&g| seen[g as usize] += 1);
    }
    let genes: Vec<usize> = (0..seen.len()).filter(|&g| seen[g] >= 10).collect();
    let counts = counts.select_cols(&genes);
    let batch = cells.codes("batch");
    let log1p = LogNormalized::from_counts(&counts, 1e4);
    for (flavor, name) in [
        (Flavor::Seurat, "seurat"),
        (Flavor::CellRanger, "cell_ranger"),
    ] {
        let config = HvgConfig {
            flavor,
            ..HvgConfig::default()
        };
        for (batches, suffix) in [(None, "nobatch"), (Some(&batch[..]), "batch")] {
            let ours =
                highly_variable_genes(HvgInput::LogNormalized(&log1p), batches, &config).unwrap();
            check_table(&table, &format!("{name}.{suffix}"), &ours, 0, 1e-4);
        }
    }
    let config = HvgConfig::default();
    let ours = highly_variable_genes(HvgInput::Counts(&counts), None, &config).unwrap();
    check_table(&table, "seurat_v3.nobatch", &ours, 2, 3e-3);
    let chosen = ours.selected_genes();
    let ours = highly_variable_genes(HvgInput::Counts(&counts), Some(&batch), &config).unwrap();
    check_table(&table, "seurat_v3.batch", &ours, 4, 3e-3);
    let pca = pca(&log1p.into_matrix().select_cols(&chosen), 50).unwrap();
    let theirs: Vec<f64> = expected["preprocess"]["pca"]["variance_f64"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect();
    let d = difference(&pca.variance, &theirs, 1e-9);
    println!("pca variance of the whole file {d:.1e}");
    assert!(d < 1e-5);
}

#[test]
fn bins_match_scgpt() {
    let Some(folder) = shared("golden/public/scgpt/binning") else {
        return;
    };
    let inputs = Tensors::open(folder.join("inputs.safetensors"));
    let outputs = Tensors::open(folder.join("outputs.safetensors"));
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let n_bins = config["n_bins"].as_u64().unwrap_or(51) as usize;
    let find = |name: &str| {
        if inputs.has(name) {
            inputs.get(name)
        } else {
            outputs.get(name)
        }
    };
    let x: Vec<f32> = inputs.get("x").into_iter().map(|v| v as f32).collect();
    let (u, edges) = (find("u"), find("edges"));
    let (lo, hi, fragile) = (find("lo"), find("hi"), find("fragile"));
    let (digits, highest, valid) = (
        find("digits_u"),
        find("scformer_digits"),
        find("scformer_valid"),
    );
    let cells = edges.len() / (n_bins - 1);
    let genes = x.len() / cells;
    let (mut wrong, mut wrong_fragile) = (0, 0);
    for cell in 0..cells {
        let range = cell * genes..(cell + 1) * genes;
        let row = &x[range.clone()];
        let sets = tokens::admissible(row, n_bins).unwrap();
        let expected = &edges[cell * (n_bins - 1)..(cell + 1) * (n_bins - 1)];
        assert!(
            sets.edges.is_empty() || sets.edges == expected,
            "cell {cell}: edges"
        );
        let mut draws = range.clone().filter(|&i| x[i] != 0.0).map(|i| u[i]);
        let bins = tokens::bin_row(row, n_bins, &mut || draws.next().unwrap()).unwrap();
        let top = tokens::bin_row_highest(row, n_bins).ok();
        for (k, i) in range.enumerate() {
            let bad = f64::from(bins[k]) != digits[i]
                || f64::from(sets.lo()[k]) != lo[i]
                || f64::from(sets.hi()[k]) != hi[i]
                || valid[if valid.len() == cells { cell } else { i }] != 0.0
                    && top.as_ref().is_none_or(|t| f64::from(t[k]) != highest[i]);
            wrong += usize::from(bad && fragile[i] == 0.0);
            wrong_fragile += usize::from(bad && fragile[i] != 0.0);
        }
    }
    println!(
        "bins: {wrong} wrong, {wrong_fragile} of the fragile ones wrong, of {}",
        x.len()
    );
    assert_eq!(wrong + wrong_fragile, 0);
}
