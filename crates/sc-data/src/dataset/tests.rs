//! Tests of data sets: names of files and batches, columns over several files.

use super::*;
use crate::io::h5ad::{NewFrame, write_h5ad};
use crate::simulate::{SimConfig, simulate_to_file};

fn simulated(folder: &Path, name: &str, seed: u64) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let config = SimConfig {
        cells: 20,
        genes: 30,
        donors: 2,
        batches: 2,
        seed,
        ..SimConfig::default()
    };
    simulate_to_file(&config, &path, |_| ()).unwrap();
    path
}

fn open(files: &[PathBuf]) -> Result<Dataset> {
    Dataset::open_all(files, &CountsPolicy::RequireCounts)
}

#[test]
fn files_of_one_name_are_told_apart_and_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        simulated(folder.path(), "one/cells.h5ad", 1),
        simulated(folder.path(), "two/cells.h5ad", 2),
    ];
    let all = open(&files).unwrap();
    let by_file = all.batches(None).unwrap();
    assert_eq!(by_file.names(), ["one/cells", "two/cells"]);
    assert_eq!((by_file.codes()[0], by_file.codes()[39]), (0, 1));
    // Each file has batches of the same names, which are not the same batches.
    let columns = all.batches(Some("batch")).unwrap();
    assert_eq!(columns.names().len(), 4);
    assert!(columns.names()[3].starts_with("two/cells/"), "{columns:?}");
    // One of the files alone has the batches that the model knows.
    let alone = open(&files[1..]).unwrap();
    let own = alone.batches(None).unwrap();
    let known = by_file.names();
    assert_eq!(alone.batch_names_as(&own, None, known), ["two/cells"]);
    let own = alone.batches(Some("batch")).unwrap();
    assert_eq!(
        alone.batch_names_as(&own, Some("batch"), columns.names()),
        columns.names()[2..]
    );
    // Distinct batch names are unchanged.
    let other = Categories::one(20, "x");
    assert_eq!(alone.batch_names_as(&other, Some("batch"), known), ["x"]);
}

#[test]
fn labels_mean_the_same_in_all_files() {
    let folder = tempfile::tempdir().unwrap();
    let files = [("a.h5ad", 3), ("b.h5ad", 4)].map(|(n, seed)| simulated(folder.path(), n, seed));
    let all = open(&files).unwrap();
    let shared = all.shared_categories("cell_type").unwrap();
    let own = files.each_ref().map(|file| {
        let alone = open(std::slice::from_ref(file)).unwrap();
        alone.categories("cell_type").unwrap()
    });
    let one_by_one = own.iter().flat_map(|o| o.values());
    assert!(shared.values().eq(one_by_one));
    assert_eq!(all.cell_keys().unwrap().cells(), 40);
    assert_ne!(all.hash().unwrap(), all.hashes().unwrap()[0]);
}

#[test]
fn a_file_given_twice_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), "cells.h5ad", 1);
    let error = open(&[file.clone(), file.clone()]).err().unwrap();
    assert!(error.to_string().contains("is given twice"), "{error}");
    let copy = folder.path().join("copy.h5ad");
    std::fs::copy(&file, &copy).unwrap();
    let error = open(&[file, copy]).err().unwrap().to_string();
    assert!(error.contains("copy.h5ad: is a copy of "), "{error}");
}

#[test]
fn files_that_share_few_genes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str, genes: usize| {
        let path = folder.path().join(name);
        let config = SimConfig {
            cells: 20,
            genes,
            ..SimConfig::default()
        };
        simulate_to_file(&config, &path, |_| ()).unwrap();
        path
    };
    let files = [
        of("few.h5ad", 3),
        of("many.h5ad", 200),
        of("more.h5ad", 201),
    ];
    let said = open(&files).unwrap().few_shared_genes();
    let wanted =
        "many.h5ad: 3 of its 200 genes (2 %) are in the files before it, which have 3 (100 %)";
    assert!(said.len() == 1 && said[0].contains(wanted), "{said:?}");
}

#[test]
fn a_file_without_cells_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.h5ad");
    let frame = |index: &[&str]| NewFrame {
        index: index.iter().map(ToString::to_string).collect(),
        columns: Vec::new(),
    };
    let rows = [Ok(CsrMatrix::from_dense(2, &[]))];
    write_h5ad(&path, &frame(&[]), &frame(&["A", "B"]), rows, &[]).unwrap();
    let error = open(&[path]).err().unwrap().to_string();
    assert!(error.contains("none.h5ad: holds no cells"), "{error}");
}
