//! Any bytes as a row-packed store: refused, or intact.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sc_data::io::rowstore::RowStore;

fuzz_target!(|bytes: &[u8]| {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    if let Ok(store) = RowStore::open(file.path()) {
        let rows: Vec<usize> = (0..store.rows().min(1000)).collect();
        let _ = store.read_rows(&rows);
    }
});
