//! Two modalities of the same cells, read as one file: `rna.h5ad+atac.h5ad`, `both.h5mu/rna+atac`.
//!
//! The features of the second file are appended to those of the first; everything else about the
//! cells is that of the first. Both matrices are read into memory once: write them as one file with
//! `scfm convert` when they are large or used often.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::view::View;
use crate::error::{DataError, Result};
use crate::genes::features::{Kind, kind};
use crate::io::h5::{Attribute, DatasetInfo, Extents, FieldValues, H5Source, NodeKind, Numbers};
use crate::io::h5ad::H5ad;
use crate::io::store::{CellStore, CountsPolicy, CountsReader, find_counts};
use crate::sampling::loader::Counts;
use crate::sparse::CsrMatrix;

/// Cells read at a time.
const ROWS: usize = 4096;
/// Nodes replaced by the concatenated matrices, or meaningless for them.
const OWN: [&str; 8] = [
    "X", "var", "varm", "varp", "layers", "raw", "raw.X", "raw.var",
];

/// The two paths of a pair; `None` for any other path. The second may be a modality of the first
/// one's file, or a file next to it.
pub(super) fn split(path: &Path) -> Option<(PathBuf, PathBuf)> {
    if path.exists() {
        return None;
    }
    let text = path.to_str()?;
    let (at, _) = text
        .match_indices('+')
        .find(|(at, _)| super::split_part(Path::new(&text[..*at])).0.exists())?;
    let (first, second) = (PathBuf::from(&text[..at]), PathBuf::from(&text[at + 1..]));
    if super::split_part(&second).0.exists() {
        return Some((first, second));
    }
    let (file, part) = super::split_part(&first);
    Some(match part {
        Some(_) => (first, file.join(second)),
        None => (first, file.with_file_name(second)),
    })
}

/// Both files as one.
pub(super) fn open(first: &Path, second: &Path) -> Result<Arc<dyn H5Source>> {
    let base = super::open(first)?;
    let (a, b) = (
        H5ad::from_source(Arc::clone(&base))?,
        H5ad::from_source(super::open(second)?)?,
    );
    let rows = rows(&a, &b)?;
    let own: Vec<usize> = (0..a.n_obs()).collect();
    let halves = [side(&a, &own)?, side(&b, &rows)?];
    let size = base.size() + b.source().size();
    let mut view = View::new(base.path(), size);
    let mut names = Vec::new();
    let mut types = Vec::new();
    for (features, _) in &halves {
        let peaks = features.iter().filter(|n| kind(n) == Kind::Peak).count();
        let word = match peaks * 2 > features.len() {
            true => "Peaks",
            false => "Gene Expression",
        };
        types.extend(features.iter().map(|_| word.to_owned()));
        names.extend(features.iter().cloned());
    }
    let [(left, x), (_, y)] = &halves;
    view.csr("X", x.rows(), names.len());
    let mut joined = CsrMatrix::empty(0, names.len());
    for ((features, values), (more, others)) in x.iter_rows().zip(y.iter_rows()) {
        let shifted = more.iter().map(|f| f + left.len() as u32);
        let features: Vec<u32> = features.iter().copied().chain(shifted).collect();
        joined.push_row(&features, &[values, others].concat());
    }
    let indptr = joined.indptr().iter().map(|&p| p as i64).collect();
    let indices = joined.indices().iter().map(|&f| f as i32).collect();
    view.hold("X/indptr", Numbers::I64(indptr));
    view.hold("X/indices", Numbers::I32(indices));
    view.hold("X/data", Numbers::F32(joined.values().to_vec()));
    view.frame("var", names);
    view.texts("var/feature_types", types);
    Ok(Arc::new(Pair { base, view, size }))
}

/// Row in `b` of every cell of `a`.
fn rows(a: &H5ad, b: &H5ad) -> Result<Vec<usize>> {
    let (names, others) = (a.obs_names()?, b.obs_names()?);
    let places: HashMap<&str, usize> = others.iter().map(String::as_str).zip(0..).collect();
    if places.len() < others.len() {
        return Err(DataError::file(
            b.path(),
            "has duplicate cell names, so it cannot be paired with another file",
        ));
    }
    let found: Vec<Option<usize>> = names.iter().map(|n| places.get(&n[..]).copied()).collect();
    let missing = found.iter().filter(|f| f.is_none()).count();
    match missing {
        0 => Ok(found.into_iter().flatten().collect()),
        _ => Err(DataError::file(
            b.path(),
            format!(
                "does not contain {missing} of the {} cells of {}; pairs need the same cell names in both \
                 files, so keep only the cells that both have",
                names.len(),
                a.path().display()
            ),
        )),
    }
}

/// Names of the features, and counts of the cells at `rows`.
fn side(file: &H5ad, rows: &[usize]) -> Result<(Vec<String>, CsrMatrix)> {
    let slot = find_counts(file, &CountsPolicy::RequireCounts)?.slot;
    let names = file.gene_names(&slot)?;
    let reader = CountsReader::new(CellStore::of(file, slot)?);
    let mut all = CsrMatrix::empty(0, names.len());
    for rows in rows.chunks(ROWS) {
        all.append(&Counts::read(&reader, rows)?)?;
    }
    Ok((names, all))
}

struct Pair {
    base: Arc<dyn H5Source>,
    view: View,
    size: u64,
}

impl Pair {
    /// Where `node` is read from.
    fn of(&self, node: &str) -> &dyn H5Source {
        match OWN.contains(&node.split('/').next().unwrap_or(node)) {
            true => &self.view,
            false => &*self.base,
        }
    }
}

impl H5Source for Pair {
    fn path(&self) -> &Path {
        self.base.path()
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn format(&self) -> &'static str {
        "two files"
    }

    fn kind(&self, node: &str) -> Result<Option<NodeKind>> {
        self.of(node).kind(node)
    }

    fn children(&self, group: &str) -> Result<Vec<String>> {
        if !group.is_empty() {
            return self.of(group).children(group);
        }
        let mut all = self.base.children(group)?;
        all.retain(|n| !OWN.contains(&&n[..]));
        all.extend(["X".to_owned(), "var".to_owned()]);
        Ok(all)
    }

    fn attribute(&self, node: &str, name: &str) -> Result<Option<Attribute>> {
        self.of(node).attribute(node, name)
    }

    fn info(&self, node: &str) -> Result<DatasetInfo> {
        self.of(node).info(node)
    }

    fn numbers(&self, node: &str, ranges: &[Range<u64>]) -> Result<Numbers> {
        self.of(node).numbers(node, ranges)
    }

    fn strings(&self, node: &str) -> Result<Vec<String>> {
        self.of(node).strings(node)
    }

    fn field(&self, node: &str, field: &str) -> Result<FieldValues> {
        self.of(node).field(node, field)
    }

    fn extents(&self, node: &str) -> Result<Option<Extents>> {
        self.of(node).extents(node)
    }
}
