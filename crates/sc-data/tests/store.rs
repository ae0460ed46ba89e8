//! The row-packed store and direct reads: the same rows as the file, or a clear refusal.

use std::path::Path;

use sc_data::io::h5ad::{NewFrame, write_h5ad};
use sc_data::io::rowstore::{PackedFrom, RowStore, pack};
use sc_data::io::store::{CellStore, CountsReader};
use sc_data::rng::stream;
use sc_data::{Counts, CsrMatrix, H5ad, MatrixSlot};

use rand::RngExt as _;

/// Counts with empty cells, far genes and large values.
fn matrix(cells: usize, genes: usize) -> CsrMatrix {
    let mut rng = stream(1, "test", 0, 0);
    let mut dense = vec![0.0f32; cells * genes];
    for (k, v) in dense.iter_mut().enumerate() {
        let draw: f64 = rng.random();
        let empty_cell = (k / genes).is_multiple_of(7);
        if draw < 0.1 && !empty_cell {
            *v = (1.0 / (draw + 1e-6)).min(1e6).floor() as f32;
        }
    }
    CsrMatrix::from_dense(genes, &dense)
}

fn write(path: &Path, matrix: &CsrMatrix) {
    let names = |n: usize, what: &str| NewFrame {
        index: (0..n).map(|k| format!("{what}{k}")).collect(),
        columns: Vec::new(),
    };
    let rows = std::iter::once(Ok(matrix.clone()));
    let (obs, var) = (names(matrix.rows(), "cell"), names(matrix.cols(), "GENE"));
    write_h5ad(path, &obs, &var, rows, &[]).unwrap();
}

fn open(path: &Path) -> CountsReader {
    CountsReader::new(CellStore::of(&H5ad::open(path).unwrap(), MatrixSlot::X).unwrap())
}

fn from() -> PackedFrom {
    PackedFrom {
        hash: "0".repeat(64),
        slot: "X".into(),
        written_by: "test".into(),
    }
}

#[test]
fn file_direct_reads_and_store_agree() {
    let folder = tempfile::tempdir().unwrap();
    let (file, rows) = (folder.path().join("a.h5ad"), folder.path().join("a.rows"));
    let expected = matrix(500, 900);
    write(&file, &expected);
    let bytes = pack(&open(&file), &rows, &from(), |_| {}).unwrap();
    assert_eq!(bytes, std::fs::metadata(&rows).unwrap().len());
    let store = RowStore::open(&rows).unwrap();
    store.verify().unwrap();
    let packed = open(&file).with_packed(store).unwrap();
    let mut rng = stream(2, "test", 0, 0);
    let mut out = CsrMatrix::default();
    for n in [0, 1, 7, 499] {
        let wanted: Vec<usize> = (0..n).map(|_| rng.random_range(0..500)).collect();
        let expected = expected.select_rows(&wanted);
        assert_eq!(open(&file).read(&wanted).unwrap(), expected);
        packed.read_into(&wanted, &mut out).unwrap();
        assert_eq!(out, expected);
    }
    assert_eq!(
        open(&file).read_range(3..400).unwrap().matrix(),
        &expected.select_rows(&(3..400).collect::<Vec<_>>())
    );
    assert!(
        packed
            .read(&[500])
            .unwrap_err()
            .to_string()
            .contains("no cell 500")
    );
}

#[test]
fn a_store_of_another_shape_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.h5ad"), folder.path().join("b.h5ad"));
    write(&a, &matrix(10, 20));
    write(&b, &matrix(10, 21));
    let rows = folder.path().join("a.rows");
    pack(&open(&a), &rows, &from(), |_| {}).unwrap();
    let error = open(&b)
        .with_packed(RowStore::open(&rows).unwrap())
        .unwrap_err();
    assert!(error.to_string().contains("10 x 20"), "{error}");
}

/// Every byte of a store is under a checksum: no flip and no cut goes unnoticed.
#[test]
fn a_damaged_store_never_gives_wrong_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let (file, rows) = (folder.path().join("a.h5ad"), folder.path().join("a.rows"));
    let expected = matrix(60, 300);
    write(&file, &expected);
    pack(&open(&file), &rows, &from(), |_| {}).unwrap();
    let good = std::fs::read(&rows).unwrap();
    let all: Vec<usize> = (0..60).collect();
    let mut rng = stream(3, "test", 0, 0);
    let read_after = |bytes: &[u8]| {
        let path = folder.path().join("bad.rows");
        std::fs::write(&path, bytes).unwrap();
        RowStore::open(&path).and_then(|s| s.read_rows(&all))
    };
    assert_eq!(read_after(&good).unwrap(), expected);
    for round in 0..1000 {
        let mut bad = good.clone();
        match round % 3 {
            0 => bad.truncate(rng.random_range(0..good.len())),
            1 => bad[rng.random_range(0..good.len())] ^= 1 << rng.random_range(0..8),
            _ => {
                let (a, b) = (
                    rng.random_range(0..good.len()),
                    rng.random_range(0..good.len()),
                );
                bad.swap(a, b);
            }
        }
        if bad != good {
            let error = read_after(&bad);
            // Four reserved bytes of the header are part of its hash, so these are noticed as well.
            assert!(error.is_err(), "round {round} went unnoticed");
        }
    }
}
