//! Real and broken files: what is read, what is written, and what is said when neither works.

#![allow(clippy::print_stdout, reason = "tests say what they skip and measure")]

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use proptest::prelude::*;
use sc_data::doctor::examine;
use sc_data::io::h5ad::{H5adWriter, NewFrame, ObsmWriter, WriteTarget, write_h5ad, write_obsm};
use sc_data::io::store::{CellStore, CountsPolicy, CountsReader, ValueKind, find_counts};
use sc_data::simulate::{SimConfig, simulate, simulate_to_file};
use sc_data::{Column, CsrMatrix, DataError, H5ad, MatrixSlot, Missing};

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

fn h5ads(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "h5ad"))
        .collect();
    files.sort();
    files
}

/// Everything a file holds, read to the last value; the first thing that cannot be read is the error.
fn read_all(path: &Path) -> sc_data::error::Result<usize> {
    let file = H5ad::open(path)?;
    let mut values = file.obs_names()?.len() + file.var_names()?.len();
    for column in file.obs().columns() {
        values += file.obs_column(column)?.len();
    }
    for column in file.var().columns() {
        values += file.var_column(column)?.len();
    }
    for slot in file.slots() {
        let store = CellStore::of(&file, slot)?;
        for chunk in store.chunks(100) {
            values += chunk?.1.nnz();
        }
    }
    Ok(values)
}

fn frame(names: Vec<String>) -> NewFrame {
    NewFrame {
        index: names,
        columns: Vec::new(),
    }
}

fn numbered(prefix: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{prefix}{i}")).collect()
}

fn write(path: &Path, matrix: &CsrMatrix) {
    let (obs, var) = (
        frame(numbered("c", matrix.rows())),
        frame(numbered("GENE", matrix.cols())),
    );
    write_h5ad(path, &obs, &var, [Ok(matrix.clone())], &[]).unwrap();
}

#[test]
fn every_real_file_is_read_to_the_last_value() {
    let Some(folder) = shared("data") else { return };
    let (mut read, mut refused) = (0, 0);
    for part in ["datasets", "h5ad-variants", "h5ad-variants/generated"] {
        for path in h5ads(&folder.join(part)) {
            match read_all(&path) {
                Ok(_) => read += 1,
                Err(e) => {
                    refused += 1;
                    println!("{e}");
                }
            }
        }
    }
    println!("{read} files read to the last value, {refused} refused");
    assert!(read >= 58, "{read} read, {refused} refused");
}

#[test]
fn layouts_of_one_matrix_agree() {
    let Some(folder) = shared("data/h5ad-variants/generated") else {
        return;
    };
    let open = |name: &str| {
        let store = CellStore::open(&folder.join(name), MatrixSlot::X).unwrap();
        let all = store.read_range(0..store.rows()).unwrap();
        let order = [149, 3, 3, 0, 77];
        assert_eq!(
            store.read_rows(&order).unwrap(),
            all.select_rows(&order),
            "{name}"
        );
        all
    };
    let csr = open("pbmc150_csr_f32_gzip.h5ad");
    assert_eq!(csr, open("pbmc150_csc_f32_lzf.h5ad"));
    assert_eq!(csr, open("pbmc150_csr_u16.h5ad"));
    assert_eq!(csr, open("pbmc150_csr_i64idx.h5ad"));
    let dense = open("pbmc150_dense_f64_contiguous.h5ad");
    assert_eq!((dense.rows(), dense.cols()), (150, 120));
}

#[test]
fn counts_are_found_in_the_stated_order() {
    let Some(folder) = shared("data/h5ad-variants/generated") else {
        return;
    };
    let file = H5ad::open(&folder.join("pbmc150_lognorm_raw_layers.h5ad")).unwrap();
    let found = find_counts(&file, &CountsPolicy::RequireCounts).unwrap();
    assert_eq!(found.slot, MatrixSlot::Layer("counts".into()));
    let error = find_counts(&file, &CountsPolicy::Named("X".into()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("log-normalised"), "{error}");
    let named = CountsPolicy::Named("layers/nothing".into());
    let error = find_counts(&file, &named).unwrap_err().to_string();
    assert!(error.contains("has no layers/nothing; it has X"), "{error}");
}

#[test]
fn a_missing_column_names_the_closest() {
    let Some(path) = shared("data/datasets/pancreas_4studies.h5ad") else {
        return;
    };
    let file = H5ad::open(&path).unwrap();
    let error = file.obs_column("donor").unwrap_err().to_string();
    assert!(
        error.contains("did you mean 'donor_id'?") && error.contains("'batch'"),
        "{error}"
    );
    let donors = file
        .obs_column("donor_id")
        .unwrap()
        .to_categories(&Missing::Error)
        .unwrap();
    assert_eq!(donors.names().len(), 20);
    let report = examine(&path).unwrap();
    assert_eq!(report.counts_slot, Some(MatrixSlot::X));
    assert_eq!(report.values.as_ref().unwrap().median_counts, 2538.0);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert!(
        report
            .donor_columns
            .iter()
            .any(|d| d.column == "donor_id" && d.levels == 20)
    );
}

#[test]
fn an_embedding_is_added_replaced_and_copied() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    let config = SimConfig {
        cells: 60,
        genes: 50,
        depth: 100.0,
        ..SimConfig::default()
    };
    simulate_to_file(&config, &path, |_| {}).unwrap();
    let before = CellStore::open(&path, MatrixSlot::X)
        .unwrap()
        .read_range(0..60)
        .unwrap();
    let note = serde_json::json!({"model": "cellplm", "seed": 1});
    for scale in [1.0f32, 2.0] {
        let values = Array2::from_shape_fn((60, 7), |(i, j)| scale * (i * 7 + j) as f32);
        write_obsm(&path, &WriteTarget::InPlace, "X_cellplm", &values, &note).unwrap();
        let file = H5ad::open(&path).unwrap();
        assert_eq!(file.obsm("X_cellplm").unwrap(), values);
        assert_eq!(file.obs_column("cell_type").unwrap().len(), 60);
    }
    let copy = dir.path().join("b.h5ad");
    let other = Array2::zeros((60, 2));
    write_obsm(
        &path,
        &WriteTarget::Copy(copy.clone()),
        "X_scgpt",
        &other,
        &note,
    )
    .unwrap();
    assert_eq!(
        H5ad::open(&copy).unwrap().obsm_keys(),
        ["X_cellplm", "X_scgpt"]
    );
    assert_eq!(H5ad::open(&path).unwrap().obsm_keys(), ["X_cellplm"]);
    let after = CellStore::open(&copy, MatrixSlot::X)
        .unwrap()
        .read_range(0..60)
        .unwrap();
    assert_eq!(before, after);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn an_unfinished_embedding_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    write(&path, &CsrMatrix::from_dense(2, &[1.0, 0.0, 0.0, 2.0]));
    let bytes = std::fs::read(&path).unwrap();
    let null = serde_json::Value::Null;
    let mut writer = ObsmWriter::create(&path, &WriteTarget::InPlace, "X_a", 3, &null).unwrap();
    writer.push(&[1.0, 2.0, 3.0]).unwrap();
    let error = writer.finish().unwrap_err().to_string();
    assert!(error.contains("1 rows for 2 cells"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn embeddings_go_into_real_files_of_every_layout() {
    let Some(folder) = shared("data/h5ad-variants") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let null = serde_json::Value::Null;
    let (mut written, mut refused) = (0, 0);
    for part in [folder.clone(), folder.join("generated")] {
        for path in h5ads(&part) {
            let Ok(file) = H5ad::open(&path) else {
                continue;
            };
            let values = Array2::from_elem((file.n_obs(), 3), 0.5);
            let target = dir.path().join("out.h5ad");
            match write_obsm(
                &path,
                &WriteTarget::Copy(target.clone()),
                "X_t",
                &values,
                &null,
            ) {
                Ok(()) => {
                    assert_eq!(H5ad::open(&target).unwrap().obsm("X_t").unwrap(), values);
                    written += 1;
                }
                Err(e) => {
                    assert!(e.to_string().contains("current anndata"), "{e}");
                    refused += 1;
                }
            }
        }
    }
    println!("{written} files took an embedding, {refused} are too old");
    assert!(written >= 30 && refused <= 5, "{written} {refused}");
}

#[test]
fn values_that_are_no_counts_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    // Beyond the sample of rows that decides what the matrix holds.
    let mut dense = vec![1.0f32; 6000 * 2];
    dense[2 * 5999 - 7] = -3.0;
    write(&path, &CsrMatrix::from_dense(2, &dense));
    let file = H5ad::open(&path).unwrap();
    let reader = CountsReader::open(&file, &CountsPolicy::RequireCounts).unwrap();
    let error = reader
        .chunks(512)
        .find_map(Result::err)
        .unwrap()
        .to_string();
    assert!(
        error.contains("X: cell 5995 ('c5995'), gene 'GENE1': -3 is not a raw count"),
        "{error}"
    );
}

fn logged(dense: &[f32]) -> Vec<f32> {
    dense.iter().map(|v| (v * 1.7).ln_1p()).collect()
}

/// Two matrices of the same cells and two genes: `X` and a layer.
fn two_matrices(path: &Path, layer: &str, values: &[f32], x: &[f32]) {
    let [x, values] = [x, values].map(|v| CsrMatrix::from_dense(2, v));
    let names = |what: &str, n: usize| frame(numbered(what, n));
    let mut writer = H5adWriter::create(path, &names("c", x.rows()), &names("GENE", 2)).unwrap();
    writer.push(&x).unwrap();
    writer.layer(layer, &values).unwrap();
    writer.finish().unwrap();
}

#[test]
fn every_matrix_is_tried_and_one_that_would_do_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    let counts: Vec<f32> = (0..60).map(|k| ((k * 7) % 5) as f32).collect();
    let centred: Vec<f32> = counts.iter().map(|c| c - 1.5).collect();
    let layer = MatrixSlot::Layer("raw_counts".into());
    two_matrices(&path, "raw_counts", &counts, &centred);
    let file = H5ad::open(&path).unwrap();
    for policy in [CountsPolicy::RequireCounts, CountsPolicy::AssumeNormalized] {
        let error = find_counts(&file, &policy).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("layers/raw_counts holds integers"), "{text}");
        let DataError::NoCounts { counts_in, .. } = error else {
            panic!("{text}");
        };
        assert_eq!(counts_in, std::slice::from_ref(&layer));
    }
    // Log-normalised values beside z-scores, as a tutorial leaves them.
    let layer = MatrixSlot::Layer("counts".into());
    two_matrices(&path, "counts", &logged(&counts), &centred);
    let file = H5ad::open(&path).unwrap();
    let found = find_counts(&file, &CountsPolicy::AssumeNormalized).unwrap();
    assert_eq!((&found.slot, found.kind), (&layer, ValueKind::Log1p));
    assert!(find_counts(&file, &CountsPolicy::NamedNormalized("X".into())).is_err());
    let named = CountsPolicy::NamedNormalized("layers/counts".into());
    assert_eq!(find_counts(&file, &named).unwrap().slot, layer);
}

#[test]
fn values_that_were_never_logged_are_not_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    let counts: Vec<f32> = (0..60).map(|k| ((k * 7) % 5) as f32).collect();
    let refuse = |f: &dyn Fn(f32) -> f32, words: &str| {
        let values: Vec<f32> = counts.iter().map(|c| f(*c)).collect();
        write(&path, &CsrMatrix::from_dense(2, &values));
        let file = H5ad::open(&path).unwrap();
        let error = find_counts(&file, &CountsPolicy::AssumeNormalized);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refuse(
        &|c| c * 0.93,
        "scaled or corrected counts, never log-transformed",
    );
    refuse(
        &|c| c * 25_000.5,
        "scaled or corrected counts, never log-transformed",
    );
    refuse(&|c| c + 1e-4, "round them to integers");
    // The first cells were logged, a later one was not.
    let mut values = logged(&vec![1.0; 6000 * 2]);
    values[2 * 5999 - 7] = 480.5;
    write(&path, &CsrMatrix::from_dense(2, &values));
    let reader = CountsReader::new(CellStore::open(&path, MatrixSlot::X).unwrap());
    let error = reader.read_normalized(&[5995]).unwrap_err().to_string();
    assert!(error.contains("480.5 cannot be ln(1 + x)"), "{error}");
}

#[test]
fn normalised_values_are_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    write(&path, &CsrMatrix::from_dense(2, &[0.5, 1.5, 2.25, 0.0]));
    let file = H5ad::open(&path).unwrap();
    let error = find_counts(&file, &CountsPolicy::RequireCounts).unwrap_err();
    assert!(error.to_string().contains("largest 2.25"), "{error}");
    let DataError::NoCounts { logged_in, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(logged_in, [MatrixSlot::X]);
    let found = find_counts(&file, &CountsPolicy::AssumeNormalized).unwrap();
    assert_eq!((found.slot, found.kind), (MatrixSlot::X, ValueKind::Log1p));
    assert_eq!(examine(&path).unwrap().counts_slot, None);
}

#[test]
fn unusable_files_get_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    std::fs::write(&path, b"not hdf5 at all").unwrap();
    let error = H5ad::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("is not an HDF5 file") && !error.contains('\n'),
        "{error}"
    );
    write(&path, &CsrMatrix::from_dense(2, &[1.0; 400]));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = read_all(&path).unwrap_err().to_string();
    assert!(
        error.contains("damaged") && !error.contains('\n'),
        "{error}"
    );
    let absent = dir.path().join("absent.h5ad");
    assert!(
        H5ad::open(&absent)
            .unwrap_err()
            .to_string()
            .contains("absent.h5ad")
    );
}

#[test]
fn mutated_files_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    let original = match shared("data/h5ad-variants/generated/pbmc150_csr_f32_gzip.h5ad") {
        Some(real) => std::fs::read(real).unwrap(),
        None => {
            let config = SimConfig {
                cells: 40,
                genes: 60,
                depth: 50.0,
                ..SimConfig::default()
            };
            simulate_to_file(&config, &path, |_| {}).unwrap();
            std::fs::read(&path).unwrap()
        }
    };
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut refused = 0;
    for round in 0..120 {
        let mut bytes = original.clone();
        if round % 4 == 0 {
            bytes.truncate(random(original.len()));
        } else {
            // Half of the flips hit the first kilobytes, where the structure lies.
            for _ in 0..1 + random(40) {
                let at = if random(2) == 0 {
                    random(8192)
                } else {
                    random(bytes.len())
                };
                bytes[at] ^= 1 << random(8);
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        let outcome = catch_unwind(|| {
            let read = read_all(&path);
            let report = examine(&path);
            read.is_err() || report.is_err()
        });
        refused += usize::from(outcome.unwrap_or_else(|_| panic!("mutation {round} panics")));
    }
    println!("{refused} of 120 mutated files refused, none panicked");
    assert!(refused > 20);
}

/// Writes files for tests/reference/check_roundtrip.py where `SCFM_ROUNDTRIP` names a folder.
#[test]
fn files_for_the_python_check() {
    let Ok(out) = std::env::var("SCFM_ROUNDTRIP") else {
        println!("skipped: SCFM_ROUNDTRIP names no folder");
        return;
    };
    let out = PathBuf::from(out);
    let config = SimConfig {
        cells: 500,
        genes: 300,
        ..SimConfig::default()
    };
    simulate_to_file(&config, &out.join("simulated.h5ad"), |_| {}).unwrap();
    let (counts, _) = simulate(&config).unwrap();
    let n = counts.rows();
    let obs = NewFrame {
        index: numbered("cell", n),
        columns: vec![
            ("text".into(), Column::from_strings(numbered("é", n))),
            (
                "holes".into(),
                Column::Strings((0..n).map(|i| (i % 3 > 0).then(|| "x".into())).collect()),
            ),
            (
                "flag".into(),
                Column::Bools((0..n).map(|i| Some(i % 2 == 0)).collect()),
            ),
            (
                "maybe".into(),
                Column::Bools((0..n).map(|i| (i % 5 > 0).then_some(true)).collect()),
            ),
            (
                "number".into(),
                Column::Ints((0..n).map(|i| Some(i as i64)).collect()),
            ),
            (
                "some".into(),
                Column::Ints((0..n).map(|i| (i % 4 > 0).then_some(7)).collect()),
            ),
            (
                "real".into(),
                Column::Floats((0..n).map(|i| i as f64 / 8.0).collect()),
            ),
        ],
    };
    let umap = Array2::from_shape_fn((n, 2), |(i, j)| (i + j) as f32);
    let genes = frame(numbered("GENE", counts.cols()));
    let obsm = [("X_umap".to_owned(), umap)];
    write_h5ad(&out.join("frame.h5ad"), &obs, &genes, [Ok(counts)], &obsm).unwrap();
    let Some(folder) = shared("data") else { return };
    let note = serde_json::json!({"model": "é", "seed": 1});
    for part in ["datasets", "h5ad-variants", "h5ad-variants/generated"] {
        for path in h5ads(&folder.join(part)) {
            let Ok(file) = H5ad::open(&path) else {
                continue;
            };
            let values = Array2::from_shape_fn((file.n_obs(), 4), |(i, j)| (i * 4 + j) as f32);
            let target = out.join("embedded").join(path.file_name().unwrap());
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            if let Err(e) = write_obsm(&path, &WriteTarget::Copy(target), "X_test", &values, &note)
            {
                println!("{e}");
            }
        }
    }
}

fn matrices() -> impl Strategy<Value = CsrMatrix> {
    (1usize..30, 1usize..20).prop_flat_map(|(rows, cols)| {
        prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => 1u8..200], rows * cols).prop_map(
            move |v| {
                let dense: Vec<f32> = v.into_iter().map(f32::from).collect();
                CsrMatrix::from_dense(cols, &dense)
            },
        )
    })
}

fn columns(rows: usize) -> impl Strategy<Value = Column> {
    let text = || "[a-cé ]{0,3}";
    prop_oneof![
        prop::collection::vec(text().prop_map(Some), rows).prop_map(Column::Strings),
        prop::collection::vec(prop::option::of(any::<bool>()), rows).prop_map(Column::Bools),
        prop::collection::vec(prop::option::of(any::<i64>()), rows).prop_map(Column::Ints),
        prop::collection::vec(-1e6f64..1e6, rows).prop_map(Column::Floats),
        prop::collection::vec(-1i32..3, rows).prop_map(|codes| Column::Categorical {
            codes,
            categories: vec!["b".into(), "a".into(), "".into()],
            ordered: true,
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_again(
        (matrix, column) in matrices().prop_flat_map(|m| {
            let rows = m.rows();
            (Just(m), columns(rows))
        }),
        chunk in 1usize..40,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5ad");
        let mut obs = frame(numbered("c", matrix.rows()));
        obs.columns.push(("column".into(), column.clone()));
        let var = frame(numbered("g", matrix.cols()));
        let blocks: Vec<_> = (0..matrix.rows())
            .step_by(chunk)
            .map(|s| {
                let rows: Vec<usize> = (s..(s + chunk).min(matrix.rows())).collect();
                Ok(matrix.select_rows(&rows))
            })
            .collect();
        write_h5ad(&path, &obs, &var, blocks, &[]).unwrap();
        let file = H5ad::open(&path).unwrap();
        prop_assert_eq!(file.obs_column("column").unwrap(), column);
        prop_assert_eq!(file.obs_names().unwrap(), obs.index);
        let store = CellStore::of(&file, MatrixSlot::X).unwrap();
        let mut read = CsrMatrix::empty(0, matrix.cols());
        for part in store.chunks(chunk) {
            read.append(&part.unwrap().1).unwrap();
        }
        prop_assert_eq!(&read, &matrix);
        prop_assert_eq!(read.transpose().transpose(), matrix);
    }
}

/// Columns come and go in `obs` of old and new files; the rest stays, and anndata's order is kept.
#[test]
fn columns_are_added_to_obs_and_nothing_else_changes() {
    use sc_data::io::h5ad::write_obs;
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("a.h5ad");
    let obs = sc_data::io::h5ad::NewFrame {
        index: vec!["c1".into(), "c2".into(), "c3".into()],
        columns: vec![("batch".into(), Column::from_strings(["a", "b", "a"]))],
    };
    let var = sc_data::io::h5ad::NewFrame {
        index: vec!["G1".into()],
        columns: Vec::new(),
    };
    let rows = std::iter::once(Ok(CsrMatrix::from_dense(1, &[1.0, 0.0, 2.0])));
    sc_data::io::h5ad::write_h5ad(&plain, &obs, &var, rows, &[]).unwrap();
    let columns = [
        ("score".to_owned(), Column::Floats(vec![0.5, 1.0, 2.0])),
        (
            "rank".to_owned(),
            Column::Ints(vec![Some(3), None, Some(1)]),
        ),
        ("batch".to_owned(), Column::from_strings(["x", "x", "y"])),
        (
            "label".to_owned(),
            Column::Strings(vec![Some("t".into()), None, None]),
        ),
    ];
    write_obs(&plain, &WriteTarget::InPlace, &columns, None).unwrap();
    let file = H5ad::open(&plain).unwrap();
    assert_eq!(file.obs().columns(), ["batch", "score", "rank", "label"]);
    assert_eq!(
        file.obs_column("batch").unwrap().text(2).as_deref(),
        Some("y")
    );
    assert_eq!(file.obs_column("label").unwrap().text(1), None);
    let before = std::fs::read(&plain).unwrap();
    let short = [("score".to_owned(), Column::Floats(vec![1.0]))];
    let error = write_obs(&plain, &WriteTarget::InPlace, &short, None).unwrap_err();
    assert!(
        error.to_string().contains("1 values for 3 cells"),
        "{error}"
    );
    assert!(
        write_obs(
            &plain,
            &WriteTarget::InPlace,
            &[("a/b".into(), columns[0].1.clone())],
            None
        )
        .is_err()
    );
    let damaged = [("score".to_owned(), Column::Floats(vec![0.5, f64::NAN, 2.0]))];
    let error = write_obs(&plain, &WriteTarget::InPlace, &damaged, None).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("obs['score']: cell 1: NaN"), "{error}");
    assert_eq!(std::fs::read(&plain).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
