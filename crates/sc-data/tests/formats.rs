//! Files of other formats, read as AnnData: the same numbers, or one clear error.
//!
//! Real files lie outside the repository; `SCFM_SHARED` names their folder. Without them those tests
//! print one line and pass.

#![allow(clippy::print_stdout, reason = "tests say what they skip")]

use std::io::Write as _;
use std::path::{Path, PathBuf};

use rand::RngExt as _;
use sc_data::io::store::CellStore;
use sc_data::rng::stream;
use sc_data::{Column, CsrMatrix, DataError, H5ad, MatrixSlot};

fn shared(what: &str) -> Option<PathBuf> {
    let folder = std::env::var("SCFM_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").into());
    let path = PathBuf::from(folder).join("data/h5ad-variants").join(what);
    let file = sc_data::io::formats::file_of(&path);
    if file.exists() {
        return Some(path);
    }
    println!("skipped: no {what} (set SCFM_SHARED)");
    None
}

fn all(file: &H5ad) -> CsrMatrix {
    let store = CellStore::of(file, MatrixSlot::X).unwrap();
    store
        .read_rows(&(0..store.rows()).collect::<Vec<_>>())
        .unwrap()
}

fn sum(matrix: &CsrMatrix) -> f64 {
    matrix.values().iter().map(|&v| f64::from(v)).sum()
}

#[test]
fn real_files_of_every_format_hold_what_their_tools_say() {
    // Cells, features, entries and sum as scanpy 1.11.5, mudata, h5py (loom) and anndata 0.12 read them,
    // but for mtx_int_ids and the Zarr of 0.13.3, which those cannot open.
    for (what, cells, features, entries, total) in [
        (
            "10x/1.2.0_filtered_gene_bc_matrices_h5.h5",
            12,
            343,
            12,
            12.0,
        ),
        (
            "10x/1.2.0_multiple_genomes.h5/another_genome",
            12,
            343,
            12,
            13.0,
        ),
        ("10x/2.1.0_raw_probe_bc_matrix.h5", 4987, 1000, 858, 3372.0),
        (
            "10x/3.0.0_filtered_feature_bc_matrix.h5",
            1107,
            507,
            23_866,
            41_549.0,
        ),
        (
            "10x/visium_filtered_feature_bc_matrix.h5",
            2695,
            100,
            50_355,
            132_231.0,
        ),
        ("10x/mtx_v2", 12, 343, 12, 12.0),
        ("10x/mtx_v3", 1107, 507, 23_866, 41_549.0),
        ("10x/mtx_v3/matrix.mtx.gz", 1107, 507, 23_866, 41_549.0),
        ("10x/mtx_int_ids", 5, 6, 3, 8.0),
        ("loom/mpfc-starmap.loom", 3704, 158, 150_007, 1_616_247.0),
        (
            "loom/osmFISH_SScortex_mouse_all_cell.loom",
            64,
            33,
            1410,
            11_596.0,
        ),
        (
            "generated/a549_150_rna_atac.h5mu",
            150,
            400,
            14_518,
            37_765.0,
        ),
        (
            "generated/a549_150_rna_atac.h5mu/mod/atac",
            150,
            1500,
            2002,
            2002.0,
        ),
        (
            "generated/pbmc150_zarr_v2.zarr.zip",
            150,
            1000,
            63_671,
            282_578.0,
        ),
        (
            "generated/pbmc150_zarr_v3.zarr.zip",
            150,
            1000,
            63_671,
            282_578.0,
        ),
        ("zarr/anndata_v0.7.8.zarr.zip", 30, 20, 239, 302.0),
        ("zarr/anndata_v0.13.3.zarr.zip", 10, 20, 75, 91.0),
    ] {
        let Some(path) = shared(what) else { continue };
        let file = H5ad::open(&path).unwrap();
        assert_eq!((file.n_obs(), file.n_vars()), (cells, features), "{what}");
        let matrix = all(&file);
        assert_eq!((matrix.nnz(), sum(&matrix)), (entries, total), "{what}");
        for column in file.obs().columns() {
            file.obs_column(column).unwrap();
        }
        for column in file.var().columns() {
            file.var_column(column).unwrap();
        }
    }
}

#[test]
fn zarr_holds_what_the_h5ad_beside_it_holds() {
    for (zarr, h5ad) in [
        (
            "generated/pbmc150_zarr_v2.zarr.zip",
            "generated/pbmc150_csr_f32_gzip.h5ad",
        ),
        (
            "generated/pbmc150_zarr_v3.zarr.zip",
            "generated/pbmc150_csr_f32_gzip.h5ad",
        ),
        ("zarr/anndata_v0.13.3.zarr.zip", "anndata_v0.13.3.h5ad"),
    ] {
        let Some((zarr, h5ad)) = shared(zarr).zip(shared(h5ad)) else {
            continue;
        };
        let (zarr, h5ad) = (H5ad::open(&zarr).unwrap(), H5ad::open(&h5ad).unwrap());
        assert_eq!(all(&zarr), all(&h5ad));
        assert_eq!(zarr.obs_names().unwrap(), h5ad.obs_names().unwrap());
        let mut columns = [zarr.obs().columns().to_vec(), h5ad.obs().columns().to_vec()];
        columns.iter_mut().for_each(|c| c.sort());
        assert_eq!(columns[0], columns[1]);
        for column in &columns[0] {
            let (a, b) = (
                zarr.obs_column(column).unwrap(),
                h5ad.obs_column(column).unwrap(),
            );
            let texts = |c: &Column| (0..c.len()).map(|k| c.text(k)).collect::<Vec<_>>();
            assert_eq!(texts(&a), texts(&b), "{column}");
        }
    }
}

#[test]
fn several_genomes_and_unknown_parts_are_refused_with_their_names() {
    let fails = |what: &str, part: &str| {
        if let Some(path) = shared(what) {
            let error = H5ad::open(&path).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    };
    fails(
        "10x/1.2.0_multiple_genomes.h5",
        "another_genome, hg19_chr21",
    );
    fails("10x/1.2.0_multiple_genomes.h5/mm10", "no genome 'mm10'");
    fails(
        "generated/a549_150_rna_atac.h5mu/protein",
        "no modality 'protein'; it has atac, rna",
    );
    fails("anndata_v0.7.8.h5ad/rna", "no parts");
}

const MTX: &str = "%%MatrixMarket matrix coordinate integer general\n% a comment\n3 2 4\n\
                   1 1 5\n3 1 2\n2 2 7\n1 2 1\n";

fn triplet(folder: &Path, matrix: &str) -> PathBuf {
    std::fs::write(folder.join("barcodes.tsv"), "c1\nc2\n").unwrap();
    std::fs::write(folder.join("genes.tsv"), "ENSG1\tA\nENSG2\tB\nENSG3\tC\n").unwrap();
    std::fs::write(folder.join("matrix.mtx"), matrix).unwrap();
    folder.to_path_buf()
}

#[test]
fn triplets_are_read_and_their_faults_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = H5ad::open(&triplet(folder.path(), MTX)).unwrap();
    assert_eq!(all(&file).to_dense(), [5.0, 0.0, 2.0, 1.0, 7.0, 0.0]);
    assert_eq!(file.var_names().unwrap(), ["A", "B", "C"]);
    assert_eq!(
        file.var_column("gene_ids").unwrap().text(2).as_deref(),
        Some("ENSG3")
    );
    // Cells as rows, as some tools write.
    let turned = "%%MatrixMarket matrix coordinate pattern general\n2 3 2\n1 3\n2 1\n";
    let file = H5ad::open(&triplet(folder.path(), turned)).unwrap();
    assert_eq!(all(&file).to_dense(), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    for (matrix, part) in [
        ("", "line 1: expected '%%MatrixMarket"),
        ("%%MatrixMarket matrix array real general\n", "line 1"),
        (
            &MTX.replace("3 1 2", "3 1"),
            "line 5: expected a value: '3 1'",
        ),
        (
            &MTX.replace("3 1 2", "4 1 2"),
            "line 5: is out of range for 3 x 2",
        ),
        (
            &MTX.replace("3 1 2", "3 1 two"),
            "line 5: expected a number",
        ),
        (&MTX.replace("3 1 2", "0 1 2"), "line 5: is out of range"),
        (
            &MTX.replace("3 2 4", "3 2 5"),
            "declares 5 entries but holds 4",
        ),
        (
            &MTX.replace("3 2 4", "9 2 4"),
            "does not match 3 features and 2 barcodes",
        ),
    ] {
        let error = H5ad::open(&triplet(folder.path(), matrix))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(part) && error.contains("matrix.mtx"),
            "{matrix}: {error}"
        );
    }
    std::fs::remove_file(folder.path().join("genes.tsv")).unwrap();
    let error = H5ad::open(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("has no features.tsv or genes.tsv (or .gz) next to it"),
        "{error}"
    );
}

#[test]
fn other_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |name: &str, bytes: &[u8], part: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = H5ad::open(&path).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(name), "{error}");
    };
    fails("a.rds", b"\x1f\x8b\x08 packed", "zellkonverter");
    fails("a.csv", b"gene,c1\nA,1\n", "text table");
    fails("a.parquet", b"PAR1....", "Parquet table");
    fails("a.tar.gz", b"\x1f\x8b\x08 packed", "tar -xzf");
    fails("a.ckpt", b"not a zip", "PyTorch");
    fails(
        "a.zip",
        b"PK\x03\x04 and no more",
        "not a readable zip archive",
    );
    fails("a.h5ad", b"", "is empty");
    let error = H5ad::open(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("neither a Zarr group nor a single matrix.mtx"),
        "{error}"
    );
}

/// Reads all that a file offers; only whether it panics matters.
fn read_everything(path: &Path) -> Result<(), DataError> {
    let file = H5ad::open(path)?;
    for slot in file.slots() {
        let store = CellStore::of(&file, slot)?;
        for chunk in store.chunks(64) {
            chunk?;
        }
    }
    file.obs_names()?;
    for column in file.obs().columns() {
        file.obs_column(column)?;
    }
    for column in file.var().columns() {
        file.var_column(column)?;
    }
    for key in file.obsm_keys() {
        file.obsm(key)?;
    }
    Ok(())
}

/// Cuts, flips and swaps bytes of a file.
fn mutate(good: &[u8], round: u64) -> Vec<u8> {
    let mut rng = stream(11, "mutate", good.len() as u64, round);
    let mut bad = good.to_vec();
    match round % 4 {
        0 => bad.truncate(rng.random_range(0..good.len())),
        1 | 2 => {
            for _ in 0..1 << rng.random_range(0..8) {
                bad[rng.random_range(0..good.len())] ^= 1 << rng.random_range(0..8);
            }
        }
        _ => {
            let n = rng.random_range(1..=good.len() / 4);
            let (a, b) = (
                rng.random_range(0..=good.len() - n),
                rng.random_range(0..=good.len() - n),
            );
            let part = good[a..a + n].to_vec();
            bad[b..b + n].copy_from_slice(&part);
        }
    }
    bad
}

/// Mutates every small real file `ROUNDS` times: refused or read, never a panic.
#[test]
fn mutated_files_are_refused_or_read() {
    let rounds: u64 = std::env::var("SCFM_MUTATIONS").map_or(10, |n| n.parse().unwrap());
    let Some(folder) = shared("") else { return };
    let work = tempfile::tempdir().unwrap();
    let mut paths: Vec<PathBuf> = ["", "10x", "10x/mtx_v3", "loom", "generated", "zarr"]
        .iter()
        .flat_map(|f| {
            std::fs::read_dir(folder.join(f))
                .into_iter()
                .flatten()
                .flatten()
        })
        .map(|e| e.path())
        .filter(|p| p.is_file() && p.metadata().unwrap().len() < 300_000)
        .collect();
    paths.sort();
    let (mut refused, mut read) = (0, 0);
    for path in paths {
        let good = std::fs::read(&path).unwrap();
        let bad = work.path().join(path.file_name().unwrap());
        if path.parent().is_some_and(|p| p.ends_with("mtx_v3")) {
            for beside in std::fs::read_dir(path.parent().unwrap()).unwrap().flatten() {
                std::fs::copy(beside.path(), work.path().join(beside.file_name())).unwrap();
            }
        }
        for round in 0..rounds {
            let mut file = std::fs::File::create(&bad).unwrap();
            file.write_all(&mutate(&good, round)).unwrap();
            match read_everything(&bad) {
                Ok(()) => read += 1,
                Err(e) => {
                    refused += 1;
                    assert!(!e.to_string().is_empty());
                }
            }
        }
    }
    println!("mutated files: {refused} refused, {read} read");
    assert!(refused > 0 || rounds == 0);
}
