//! Reading everything in a file.

use sc_data::H5ad;
use sc_data::io::store::CellStore;

pub fn read_file(name: &str, bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let Ok(file) = H5ad::open(&path) else { return };
    for slot in file.slots() {
        if let Ok(store) = CellStore::of(&file, slot) {
            let _ = store.chunks(64).try_for_each(|c| c.map(|_| ()));
        }
    }
    for column in file.obs().columns() {
        let _ = file.obs_column(column);
    }
    let _ = file.obs_names();
    for key in file.obsm_keys() {
        let _ = file.obsm(key);
    }
}
