//! Embeddings do not depend on where a cell stands in its file.

use crate::common::{SMALL_SCGPT, pretraining, simulated, succeed, text, tiny};
use sc_data::io::h5ad::{Column, H5ad, NewFrame, write_h5ad};
use sc_data::io::store::{CellStore, CountsPolicy, CountsReader, find_counts};
use std::path::{Path, PathBuf};

/// The cells at `rows` of a file, as a file of their own.
fn part(file: &Path, rows: &[usize], barcodes: impl Fn(usize) -> String) -> PathBuf {
    let opened = H5ad::open(file).unwrap();
    let slot = find_counts(&opened, &CountsPolicy::RequireCounts)
        .unwrap()
        .slot;
    let genes = opened.gene_names(&slot).unwrap();
    let reader = CountsReader::new(CellStore::of(&opened, slot).unwrap());
    let counts = sc_data::Counts::read(&reader, rows).unwrap();
    let batch = opened.obs_column("batch").unwrap();
    let batch: Vec<String> = rows.iter().map(|&r| batch.text(r).unwrap()).collect();
    let obs = NewFrame {
        index: rows.iter().map(|&r| barcodes(r)).collect(),
        columns: vec![("batch".into(), Column::from_strings(batch))],
    };
    let var = NewFrame {
        index: genes,
        columns: Vec::new(),
    };
    let path = file.with_file_name("part.h5ad");
    write_h5ad(&path, &obs, &var, [Ok(counts)], &[]).unwrap();
    path
}

fn embedded(file: &Path, model: &Path) -> ndarray::Array2<f32> {
    let out = file.with_extension("out.h5ad");
    let args = [
        "embed",
        text(file),
        "-m",
        text(model),
        "-o",
        text(&out),
        "--force",
    ];
    succeed(&args);
    H5ad::open(&out).unwrap().obsm("X_scgpt").unwrap()
}

#[test]
fn cells_of_scgpt_keep_their_vectors_in_a_turned_and_cut_file() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 100), tiny("scgpt"));
    let model = folder.path().join("model");
    let mut args = pretraining(&file, &config, &model);
    args.extend_from_slice(SMALL_SCGPT);
    succeed(&args);
    let whole = embedded(&file, &model);
    let rows: Vec<usize> = (0..100).rev().step_by(3).collect();
    // Barcodes that repeat, and others than before, change nothing either.
    for barcodes in [|r: usize| format!("cell{r}"), |_: usize| "cell".to_string()] {
        let turned = embedded(&part(&file, &rows, barcodes), &model);
        for (at, &row) in rows.iter().enumerate() {
            assert_eq!(turned.row(at), whole.row(row), "row {row}");
        }
    }
}
