//! Any bytes as a matrix of triplets.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("barcodes.tsv", "c1\nc2\n"), ("genes.tsv", "g1\ng2\ng3\n")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    std::fs::write(folder.path().join("matrix.mtx"), bytes).unwrap();
    if let Ok(file) = sc_data::H5ad::open(folder.path()) {
        let store = sc_data::CellStore::of(&file, sc_data::MatrixSlot::X).unwrap();
        let _ = store.read_rows(&[0, 1]);
    }
});
