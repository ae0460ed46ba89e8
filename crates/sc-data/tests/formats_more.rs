//! Parts of files: modalities with the annotation of all, triplets as GEO names them, loom's
//! coordinates, and what is said of files that hold no cells.

use std::path::{Path, PathBuf};

use rust_hdf5::{H5File, H5Group};
use sc_data::io::store::CellStore;
use sc_data::{Column, H5ad, MatrixSlot};

fn group(parent: &H5Group, name: &str) -> H5Group {
    parent.create_group(name).unwrap()
}

fn frame(parent: &H5Group, name: &str, index: &[&str]) -> H5Group {
    let frame = group(parent, name);
    frame.set_attr_string("_index", "_index").unwrap();
    frame.write_vlen_strings("_index", index).unwrap();
    frame
}

fn array<T: rust_hdf5::H5Type>(parent: &H5Group, name: &str, shape: &[usize], values: &[T]) {
    let dataset = parent.new_dataset::<T>().shape(shape).create(name).unwrap();
    dataset.write_raw(values).unwrap();
}

/// Three cells, two of them in `rna` in another order; annotation only of all together.
fn mudata(path: &Path) {
    let file = H5File::create(path).unwrap();
    let root = file.root_group();
    let obs = frame(&root, "obs", &["c1", "c2", "c3"]);
    array(&obs, "score", &[3], &[1.0f64, 2.0, 3.0]);
    array(&obs, "depth", &[3], &[10i64, 20, 30]);
    let cells = group(&obs, "cell_type");
    array(&cells, "codes", &[3], &[1i8, -1, 0]);
    cells.write_vlen_strings("categories", &["B", "T"]).unwrap();
    obs.write_vlen_strings("donor", &["d1", "d2", "d3"])
        .unwrap();
    frame(&root, "var", &["A", "B"]);
    let map = group(&root, "obsmap");
    array(&map, "rna", &[3], &[2u32, 0, 1]);
    let modality = group(&group(&root, "mod"), "rna");
    let own = frame(&modality, "obs", &["c3", "c1"]);
    array(&own, "depth", &[2], &[3i64, 1]);
    frame(&modality, "var", &["A", "B"]);
    array(&modality, "X", &[2, 2], &[1.0f32, 0.0, 2.0, 3.0]);
    file.close().unwrap();
}

#[test]
fn a_modality_has_the_annotation_of_all_for_its_own_cells() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5mu");
    mudata(&path);
    for path in [path.clone(), path.join("rna"), path.join("mod/rna")] {
        let file = H5ad::open(&path).unwrap();
        assert_eq!(file.obs_names().unwrap(), ["c3", "c1"]);
        let mut columns = file.obs().columns().to_vec();
        columns.sort();
        assert_eq!(columns, ["cell_type", "depth", "donor", "score"]);
        let texts = |name: &str| {
            let column = file.obs_column(name).unwrap();
            [column.text(0), column.text(1)].map(Option::unwrap_or_default)
        };
        assert_eq!(texts("cell_type"), ["B", "T"]);
        assert_eq!(texts("donor"), ["d3", "d1"]);
        assert_eq!(
            file.obs_column("score").unwrap(),
            Column::Floats(vec![3.0, 1.0])
        );
        // Its own column comes before that of all.
        assert_eq!(texts("depth"), ["3", "1"]);
        let store = CellStore::of(&file, MatrixSlot::X).unwrap();
        assert_eq!(
            store.read_range(0..2).unwrap().to_dense(),
            [1.0, 0.0, 2.0, 3.0]
        );
    }
}

#[test]
fn triplets_are_found_as_geo_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    put("GSM1_s_barcodes.tsv", "c1\nc2\n");
    put(
        "GSM1_s_features.tsv",
        "ENSG1\tA\tGene Expression\nENSG2\tB\tGene Expression\n",
    );
    put(
        "GSM1_s_matrix.mtx",
        "%%MatrixMarket matrix coordinate integer general\n2 2 2\n1 1 4\n2 2 5\n",
    );
    let file = H5ad::open(folder.path()).unwrap();
    let store = CellStore::of(&file, MatrixSlot::X).unwrap();
    assert_eq!(
        store.read_range(0..2).unwrap().to_dense(),
        [4.0, 0.0, 0.0, 5.0]
    );
    put("GSM2_s_matrix.mtx", "");
    let error = H5ad::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("nor a single matrix.mtx"), "{error}");
}

#[test]
fn coordinates_and_accessions_of_loom_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.loom");
    let file = H5File::create(&path).unwrap();
    let root = file.root_group();
    // Two genes, three cells.
    array(&root, "matrix", &[2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let columns = group(&root, "col_attrs");
    columns
        .write_vlen_strings("CellID", &["c1", "c2", "c3"])
        .unwrap();
    array(
        &columns,
        "tSNE",
        &[3, 2],
        &[0.5f64, 1.0, 1.5, 2.0, 2.5, 3.0],
    );
    array(&columns, "Cluster", &[3], &[7i32, 8, 9]);
    let rows = group(&root, "row_attrs");
    rows.write_vlen_strings("Gene", &["A", "B"]).unwrap();
    rows.write_vlen_strings("Accession", &["ENSG1", "ENSG2"])
        .unwrap();
    group(&root, "layers");
    file.close().unwrap();
    let file = H5ad::open(&path).unwrap();
    let store = CellStore::of(&file, MatrixSlot::X).unwrap();
    assert_eq!(
        store.read_range(1..3).unwrap().to_dense(),
        [2.0, 5.0, 3.0, 6.0]
    );
    assert_eq!(file.obsm("tSNE").unwrap().row(2).to_vec(), [2.5, 3.0]);
    assert_eq!(file.obs_names().unwrap(), ["c1", "c2", "c3"]);
    assert_eq!(file.var_names().unwrap(), ["A", "B"]);
    let ids = file.var_column("gene_ids").unwrap();
    assert_eq!(ids.text(1).as_deref(), Some("ENSG2"));
    let error = H5ad::open(&path.join("A")).unwrap_err().to_string();
    assert!(error.contains("has no parts"), "{error}");
}

fn zipped(folder: &Path, name: &str, member: &str) -> PathBuf {
    let path = folder.join(name);
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    archive.start_file(member, options).unwrap();
    archive.finish().unwrap();
    path
}

#[test]
fn archives_and_folders_without_cells_are_named_for_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    for (name, member, part) in [
        ("a.pt", "archive/data.pkl", "PyTorch"),
        ("a.npz", "data.npy", "NumPy archive"),
        ("a.zip", "readme.txt", "without a Zarr group"),
    ] {
        let error = H5ad::open(&zipped(folder.path(), name, member)).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    let soma = folder.path().join("soma");
    std::fs::create_dir(&soma).unwrap();
    std::fs::write(soma.join("__tiledb_group.tdb"), "").unwrap();
    let error = H5ad::open(&soma).unwrap_err().to_string();
    assert!(error.contains("TileDB-SOMA"), "{error}");
}

#[test]
fn two_files_of_the_same_cells_are_one() {
    use sc_data::io::h5ad::{NewFrame, write_h5ad};
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, cells: &[&str], genes: &[&str], dense: &[f32]| {
        let path = folder.path().join(name);
        let frame = |names: &[&str]| NewFrame {
            index: names.iter().map(|n| (*n).to_owned()).collect(),
            columns: Vec::new(),
        };
        let matrix = sc_data::CsrMatrix::from_dense(genes.len(), dense);
        write_h5ad(&path, &frame(cells), &frame(genes), [Ok(matrix)], &[]).unwrap();
        path
    };
    let rna = write(
        "rna.h5ad",
        &["c1", "c2"],
        &["A", "B"],
        &[1.0, 0.0, 2.0, 3.0],
    );
    let peaks = ["chr1:1-9", "chr1:20-30", "chr2:5-7"];
    // Cells in another order, and one more.
    let values = [0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
    write("atac.h5ad", &["c2", "c3", "c1"], &peaks, &values);
    let both = PathBuf::from(format!("{}+atac.h5ad", rna.display()));
    let file = H5ad::open(&both).unwrap();
    assert_eq!(
        file.gene_names(&MatrixSlot::X).unwrap()[1..3],
        ["B", "chr1:1-9"]
    );
    let types = file.gene_column(&MatrixSlot::X, "feature_types").unwrap();
    assert_eq!(types.text(0).unwrap(), "Gene Expression");
    assert_eq!(types.text(4).unwrap(), "Peaks");
    let store = CellStore::of(&file, MatrixSlot::X).unwrap();
    let read = store.read_rows(&[1, 0]).unwrap().to_dense();
    assert_eq!(read, [2.0, 3.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
    assert_ne!(
        sc_data::io::atomic::hash_file(&both).unwrap(),
        sc_data::io::atomic::hash_file(&rna).unwrap()
    );
    // The other way round a cell has no partner.
    let other = PathBuf::from(format!(
        "{}+rna.h5ad",
        folder.path().join("atac.h5ad").display()
    ));
    let error = H5ad::open(&other).err().unwrap().to_string();
    assert!(error.contains("1 of the 3 cells"), "{error}");
    // What is written as one file reads the same.
    let joint = folder.path().join("joint.h5ad");
    sc_data::io::h5ad::to_h5ad(&file, &joint, |_, _| {}).unwrap();
    let joint = H5ad::open(&joint).unwrap();
    let again = CellStore::of(&joint, MatrixSlot::X).unwrap();
    assert_eq!(again.read_rows(&[1, 0]).unwrap().to_dense(), read);
}
