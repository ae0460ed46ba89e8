//! What a file holds is kept and found: odd names, odd embeddings, features that are no genes, and
//! everything that a conversion must not lose.

use std::path::{Path, PathBuf};

use rust_hdf5::{H5File, H5Group};
use sc_data::io::h5::H5Source;
use sc_data::io::h5ad::{H5adWriter, NewFrame, WriteTarget, to_h5ad, write_h5ad, write_obsm};
use sc_data::io::store::{CellStore, CountsPolicy, find_counts};
use sc_data::{Column, CsrMatrix, H5ad, MatrixSlot};

fn group(parent: &H5Group, name: &str, kind: &str) -> H5Group {
    let group = parent.create_group(name).unwrap();
    if !kind.is_empty() {
        group.set_attr_string("encoding-type", kind).unwrap();
        group.set_attr_string("encoding-version", "0.1.0").unwrap();
    }
    group
}

fn array<T: rust_hdf5::H5Type>(parent: &H5Group, name: &str, shape: &[usize], values: &[T]) {
    let dataset = parent.new_dataset::<T>().shape(shape).create(name).unwrap();
    dataset.write_raw(values).unwrap();
}

fn frame(parent: &H5Group, name: &str, index: &[&str], columns: &[&str]) -> H5Group {
    let frame = group(parent, name, "dataframe");
    frame.set_attr_string("_index", "_index").unwrap();
    frame
        .set_attr_string_array("column-order", columns)
        .unwrap();
    frame.write_vlen_strings("_index", index).unwrap();
    frame
}

fn sparse<T: rust_hdf5::H5Type>(parent: &H5Group, name: &str, shape: [i64; 2], values: &[T]) {
    let matrix = group(parent, name, "csr_matrix");
    matrix.set_attr_array_numeric("shape", &shape).unwrap();
    // One value in the first column of every row.
    let pointers: Vec<i32> = (0..=shape[0] as i32).collect();
    array(&matrix, "indptr", &[pointers.len()], &pointers);
    array(
        &matrix,
        "indices",
        &[values.len()],
        &vec![0i32; values.len()],
    );
    array(&matrix, "data", &[values.len()], values);
}

const CELLS: [&str; 2] = ["c1", "c2"];
const GENES: [&str; 3] = ["A", "B", "C"];
const LARGE: i64 = 20_000_001;

/// The tree of an AnnData file with a member of every kind, under `root`.
fn everything(root: &H5Group) {
    let obs = frame(root, "obs", &CELLS, &["lineage/fine", "depth"]);
    array(&obs, "depth", &[2], &[1i64, 2]);
    let fine = group(&group(&obs, "lineage", ""), "fine", "categorical");
    array(&fine, "codes", &[2], &[1i8, 0]);
    fine.write_vlen_strings("categories", &["B", "T"]).unwrap();
    frame(root, "var", &GENES, &["x"])
        .write_vlen_strings("x", &["u", "v", "w"])
        .unwrap();
    sparse(root, "X", [2, 3], &[LARGE, 7]);
    let layers = group(root, "layers", "dict");
    sparse(&layers, "spliced", [2, 3], &[1.5f32, 2.5]);
    sparse(&group(&layers, "counts", ""), "raw", [2, 3], &[3.0f32, 4.0]);
    let raw = group(root, "raw", "raw");
    sparse(&raw, "X", [2, 2], &[5u16, 6]);
    frame(&raw, "var", &["A", "D"], &["y"])
        .write_vlen_strings("y", &["p", "q"])
        .unwrap();
    let obsm = group(root, "obsm", "dict");
    array(
        &obsm,
        "X_dense",
        &[2, 3],
        &[1.0f64, 2.0, 3.0, 4.0, 5.0, 6.0],
    );
    array(&obsm, "X_nan", &[2, 2], &[1.0f32, f32::NAN, 3.0, 4.0]);
    sparse(&obsm, "X_sparse", [2, 4], &[1.0f32, 2.0]);
    let table = frame(&obsm, "X_table", &CELLS, &["f", "g"]);
    array(&table, "f", &[2], &[0.5f64, 1.5]);
    array(&table, "g", &[2], &[2i32, 3]);
    array(
        &group(&obsm, "X_pca", ""),
        "harmony",
        &[2, 1],
        &[8.0f32, 9.0],
    );
    sparse(
        &group(root, "obsp", "dict"),
        "distances",
        [2, 2],
        &[0.25f32, 0.75],
    );
    array(&group(root, "varm", "dict"), "PCs", &[3, 2], &[1.0f32; 6]);
    sparse(&group(root, "varp", "dict"), "links", [3, 3], &[1.0f32; 3]);
    let uns = group(root, "uns", "dict");
    let nested = group(&uns, "pca", "dict");
    array(&nested, "variance", &[2], &[0.5f64, 0.25]);
    uns.new_dataset::<i64>()
        .scalar()
        .create("seed")
        .unwrap()
        .write_raw(&[11i64])
        .unwrap();
    uns.write_vlen_strings("colors", &["#ff0000"]).unwrap();
}

fn h5ad(folder: &Path) -> PathBuf {
    let path = folder.join("a.h5ad");
    let file = H5File::create(&path).unwrap();
    everything(&file.root_group());
    file.close().unwrap();
    path
}

/// Every array and group of a tree, with the texts of texts and the numbers of numbers.
fn contents(source: &dyn H5Source, node: &str, out: &mut Vec<String>) {
    use sc_data::io::h5::{ElementType, NodeKind};
    match source.kind(node).unwrap() {
        Some(NodeKind::Group) => {
            for child in source.children(node).unwrap() {
                let below = if node.is_empty() {
                    child
                } else {
                    format!("{node}/{child}")
                };
                contents(source, &below, out);
            }
        }
        _ => {
            let info = source.info(node).unwrap();
            let ranges: Vec<_> = info.shape.iter().map(|&n| 0..n).collect();
            let values = match info.element {
                ElementType::String => format!("{:?}", source.strings(node).unwrap()),
                _ => format!("{:?}", source.numbers(node, &ranges).unwrap()),
            };
            out.push(format!("{node} {:?} {values}", info.shape));
        }
    }
}

fn sorted(path: &Path, below: &str) -> Vec<String> {
    let source = sc_data::io::h5::open(path).unwrap();
    let mut all = Vec::new();
    contents(&*source, below, &mut all);
    let prefix = format!("{below}/");
    let mut all: Vec<String> = all
        .iter()
        .map(|line| line.strip_prefix(&prefix).unwrap_or(line).to_owned())
        // Codes and indices may take another width.
        .filter(|line| !line.starts_with("obs/lineage") && !line.starts_with("var/__"))
        .collect();
    all.sort();
    all
}

#[test]
fn an_h5ad_is_copied_whole_and_a_modality_loses_only_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = h5ad(folder.path());
    let copy = folder.path().join("copy.h5ad");
    let left_out = to_h5ad(&H5ad::open(&path).unwrap(), &copy, |_, _| {}).unwrap();
    assert!(left_out.is_empty());
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&copy).unwrap());

    let both = folder.path().join("b.h5mu");
    let file = H5File::create(&both).unwrap();
    let root = file.root_group();
    frame(&root, "obs", &CELLS, &["none"]);
    frame(&root, "var", &GENES, &["none"]);
    everything(&group(&group(&root, "mod", ""), "rna", ""));
    file.close().unwrap();
    let left_out = to_h5ad(&H5ad::open(&both).unwrap(), &copy, |_, _| {}).unwrap();
    assert_eq!(left_out.len(), 1, "{left_out:?}");
    assert!(left_out[0].starts_with("obs/lineage/fine"), "{left_out:?}");
    assert_eq!(sorted(&copy, ""), sorted(&both, "mod/rna"));
    let new = H5ad::open(&copy).unwrap();
    let numbers = new
        .source()
        .numbers("X/data", std::slice::from_ref(&(0..2)));
    assert_eq!(numbers.unwrap().into_i64(), [LARGE, 7]);
    assert_eq!(new.raw_var_names().unwrap(), ["A", "D"]);
    assert_eq!(
        new.obsm("X_table").unwrap(),
        ndarray::array![[0.5, 2.0], [1.5, 3.0]]
    );
}

#[test]
fn names_with_a_slash_are_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = H5ad::open(&h5ad(folder.path())).unwrap();
    assert_eq!(file.obs().columns(), ["lineage/fine", "depth"]);
    let fine = file.obs_column("lineage/fine").unwrap();
    assert_eq!([0, 1].map(|k| fine.text(k).unwrap()), ["T", "B"]);
    let mut layers = file.layers().to_vec();
    layers.sort();
    assert_eq!(layers, ["counts/raw", "spliced"]);
    let named = CountsPolicy::Named("layers/counts/raw".into());
    let slot = find_counts(&file, &named).unwrap().slot;
    let rows = CellStore::of(&file, slot).unwrap().read_rows(&[1]).unwrap();
    assert_eq!(rows.to_dense(), [4.0, 0.0, 0.0]);
    assert!(file.obsm_keys().iter().any(|k| k == "X_pca/harmony"));
    assert_eq!(
        file.obsm("X_pca/harmony").unwrap(),
        ndarray::array![[8.0], [9.0]]
    );
}

#[test]
fn odd_embeddings_are_read_or_refused_by_cell() {
    let folder = tempfile::tempdir().unwrap();
    let path = h5ad(folder.path());
    let file = H5ad::open(&path).unwrap();
    let sparse = file.embedding("X_sparse").unwrap();
    assert_eq!(
        sparse,
        ndarray::array![[1.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0]]
    );
    assert_eq!(file.embedding("X_table").unwrap().dim(), (2, 2));
    for (key, dims) in [
        ("X_dense", 3),
        ("X_table", 2),
        ("X_sparse", 4),
        ("X_pca/harmony", 1),
    ] {
        assert_eq!(file.obsm_dims(key), Some(dims), "{key}");
    }
    let error = file.embedding("X_nan").unwrap_err().to_string();
    assert!(
        error.contains("obsm/X_nan: cell 0 ('c1'), dimension 1"),
        "{error}"
    );
    // What cannot be evaluated can still stand beside what is written.
    let values = ndarray::array![[1.0, 2.0], [3.0, 4.0]];
    let json = serde_json::json!({});
    write_obsm(&path, &WriteTarget::InPlace, "X_new", &values, &json).unwrap();
    let infinite = ndarray::array![[1.0, 2.0], [3.0, f32::INFINITY]];
    let before = std::fs::read(&path).unwrap();
    let error = write_obsm(&path, &WriteTarget::InPlace, "X_new", &infinite, &json);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("obsm/X_new: cell 1 ('c2'), dimension 1: inf"),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A 10x file of two genes, an antibody and a peak.
fn tenx(folder: &Path) -> PathBuf {
    let path = folder.join("a.h5");
    let file = H5File::create(&path).unwrap();
    let matrix = group(&file.root_group(), "matrix", "");
    matrix.write_vlen_strings("barcodes", &CELLS).unwrap();
    array(&matrix, "shape", &[2], &[4i32, 2]);
    array(&matrix, "indptr", &[3], &[0i64, 3, 6]);
    array(&matrix, "indices", &[6], &[0i64, 1, 2, 1, 2, 3]);
    array(&matrix, "data", &[6], &[1i32, 2, 500, 3, 600, 9]);
    let features = group(&matrix, "features", "");
    let text = |name: &str, values: &[&str]| {
        features.write_vlen_strings(name, values).unwrap();
    };
    text("id", &["ENSG1", "CD3", "ENSG2", "chr1:1-9"]);
    text("name", &["A", "CD3_TotalSeqB", "B", "chr1:1-9"]);
    let types = [
        "Gene Expression",
        "Antibody Capture",
        "Gene Expression",
        "Peaks",
    ];
    text("feature_type", &types);
    file.close().unwrap();
    path
}

#[test]
fn only_genes_of_a_10x_file_count_as_genes() {
    let folder = tempfile::tempdir().unwrap();
    let path = tenx(folder.path());
    let read = |path: &Path| {
        let file = H5ad::open(path).unwrap();
        let store = CellStore::of(&file, MatrixSlot::X).unwrap();
        let names = file.gene_names(&MatrixSlot::X).unwrap();
        assert_eq!((store.cols(), file.n_vars()), (names.len(), names.len()));
        (names, store.read_rows(&[1, 0]).unwrap().to_dense())
    };
    assert_eq!(
        read(&path),
        (vec!["A".into(), "B".into()], vec![0.0, 600.0, 1.0, 500.0])
    );
    assert_eq!(read(&path.join("adt")).1, [3.0, 2.0]);
    assert_eq!(read(&path.join("Peaks")).0, ["chr1:1-9"]);
    let both = PathBuf::from(format!("{}/gex+peaks", path.display()));
    assert_eq!(read(&both).0, ["A", "B", "chr1:1-9"]);
    let report = sc_data::doctor::examine(&path).unwrap();
    assert_eq!((report.genes, report.left_out["Antibody Capture"]), (2, 1));
    let error = H5ad::open(&path.join("crispr")).err().unwrap().to_string();
    assert!(
        error.contains("it has Antibody Capture, Gene Expression, Peaks"),
        "{error}"
    );

    let written = folder.path().join("genes.h5ad");
    let left_out = to_h5ad(&H5ad::open(&path).unwrap(), &written, |_, _| {}).unwrap();
    assert_eq!(left_out.len(), 2, "{left_out:?}");
    assert_eq!(read(&written), read(&path));
}

/// A file with a table of features of several types keeps its genes when it is read, too.
#[test]
fn antibodies_in_an_h5ad_are_no_genes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5ad");
    let types = ["Gene Expression", "Antibody Capture", "Gene Expression"];
    let var = NewFrame {
        index: GENES.map(str::to_owned).to_vec(),
        columns: vec![("feature_types".into(), Column::from_strings(types))],
    };
    let obs = NewFrame {
        index: CELLS.map(str::to_owned).to_vec(),
        columns: Vec::new(),
    };
    let mut writer = H5adWriter::create(&path, &obs, &var).unwrap();
    writer
        .push(&CsrMatrix::from_dense(3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
        .unwrap();
    writer.finish().unwrap();
    let store = CellStore::open(&path, MatrixSlot::X).unwrap();
    assert_eq!(store.gene_names().unwrap(), ["A", "C"]);
    assert_eq!(
        store.read_range(0..2).unwrap().to_dense(),
        [1.0, 3.0, 4.0, 6.0]
    );
    let column = store.file().var_column("feature_types").unwrap();
    assert_eq!(column.len(), 2);
}

/// Links to other files are not followed, and the message says that they are there.
#[test]
fn what_lies_in_other_files_is_said_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5ad");
    let file = H5File::create(&path).unwrap();
    let root = file.root_group();
    frame(&root, "obs", &CELLS, &["none"]);
    frame(&root, "var", &GENES, &["none"]);
    root.create_external_link("X", "counts.h5ad", "/X").unwrap();
    file.close().unwrap();
    let file = H5ad::open(&path).unwrap();
    let error = find_counts(&file, &CountsPolicy::RequireCounts)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("links to other files (counts.h5ad)"),
        "{error}"
    );
}

#[test]
fn large_counts_of_triplets_stay_exact() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let header = "%%MatrixMarket matrix coordinate integer general";
    put(
        "matrix.mtx",
        &format!("{header}\n2 2 2\n1 1 {LARGE}\n2 2 3\n"),
    );
    put("barcodes.tsv", "c1\nc2\n");
    put(
        "features.tsv",
        "ENSG1\tA\tGene Expression\nENSG2\tB\tGene Expression\n",
    );
    let copy = folder.path().join("copy.h5ad");
    to_h5ad(&H5ad::open(folder.path()).unwrap(), &copy, |_, _| {}).unwrap();
    let file = H5ad::open(&copy).unwrap();
    let numbers = file
        .source()
        .numbers("X/data", std::slice::from_ref(&(0..2)));
    assert_eq!(numbers.unwrap().into_i64(), [LARGE, 3]);
    let report = sc_data::doctor::examine(&copy).unwrap();
    assert!(
        report.warnings.iter().any(|w| w.contains("seven digits")),
        "{report:?}"
    );
}

#[test]
fn what_an_evaluation_would_refuse_is_lacking() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cells.h5ad");
    let names = ["a", "b"].map(str::to_owned);
    let donors = Column::Categorical {
        codes: vec![0, 1, -1, 0],
        categories: names.to_vec(),
        ordered: false,
    };
    let two = || Column::from_codes([0, 1, 1, 0], &names);
    let columns = vec![
        ("cell_type".to_owned(), two()),
        ("batch".to_owned(), two()),
        ("donor_id".to_owned(), donors),
    ];
    let frame = |of: &str, n: usize, columns| NewFrame {
        index: (0..n).map(|k| format!("{of}{k}")).collect(),
        columns,
    };
    let counts = CsrMatrix::from_dense(3, &[0.0; 12]);
    let (obs, var) = (frame("cell", 4, columns), frame("GENE", 3, Vec::new()));
    write_h5ad(&path, &obs, &var, [Ok(counts)], &[]).unwrap();
    let report = sc_data::doctor::examine(&path).unwrap();
    let lacks = "a value of obs['donor_id'] for 1 cells";
    assert!(
        report.lacks.iter().any(|l| l == lacks),
        "{:?}",
        report.lacks
    );
    let said = |all: &[String], what: &str| all.iter().any(|l| l.contains(what));
    assert!(said(&report.problems, "no cell has any counts"));
    assert!(said(&report.warnings, "obs['donor_id'] holds 2 donors"));
}

#[test]
fn a_link_in_the_root_that_would_be_lost_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("linked.h5ad");
    let before = include_bytes!("reference/linked.h5ad");
    std::fs::write(&path, before).unwrap();
    // What a link leads to is read.
    let found = find_counts(&H5ad::open(&path).unwrap(), &CountsPolicy::RequireCounts).unwrap();
    assert_eq!(found.slot, MatrixSlot::X);
    let values = ndarray::Array2::<f32>::zeros((20, 3));
    let note = serde_json::json!({});
    let written = write_obsm(&path, &WriteTarget::InPlace, "X_a", &values, &note);
    let error = written.unwrap_err().to_string();
    assert!(error.contains("links in its root group"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
