//! Adding embeddings and layers to an AnnData file without changing anything else.

use std::path::Path;

use ndarray::Array2;
use rust_hdf5::H5Dataset;

use super::H5ad;
use super::edit::{self, Draft, WriteTarget};
use crate::error::{DataError, Result};
use crate::identity::{KeySet, vector_key};
use crate::io::export::require_finite;
use crate::io::h5::writer::{
    Made, OpenFile, Packing, encode_dataset, encode_group, ensure_group, growing, text, wrap,
};
use crate::io::h5::{self, NodeKind};

/// Adds or replaces `obsm/<key>` (float32, one row per cell) and `uns/scfm/<key>` (JSON text).
///
/// Works on a temporary copy in the folder of the destination, which is verified, flushed to disk
/// and renamed: whatever happens, the destination is the old file or the complete new one.
///
/// # Errors
/// As [`ObsmWriter::create`], [`ObsmWriter::push`] and [`ObsmWriter::finish`].
pub fn write_obsm(
    source: &Path,
    target: &WriteTarget,
    key: &str,
    rows: &Array2<f32>,
    provenance: &serde_json::Value,
) -> Result<()> {
    let mut writer = ObsmWriter::create(source, target, key, rows.ncols(), provenance)?;
    match rows.as_slice() {
        Some(values) => writer.push(values)?,
        None => {
            for row in rows.rows() {
                writer.push(&row.to_vec())?;
            }
        }
    }
    writer.finish()
}

/// What rows are written into.
#[derive(Clone, Copy, Debug)]
enum Place {
    Obsm,
    Layers,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Obsm => "obsm",
            Self::Layers => "layers",
        }
    }
}

/// An embedding or a layer being written row by row, so that memory does not grow with the file.
///
/// Dropped before [`ObsmWriter::finish`], it leaves nothing behind.
pub struct ObsmWriter {
    // The order of fields is the order of closing: the file before the temporary file.
    file: OpenFile,
    dataset: H5Dataset,
    draft: Draft,
    before: H5ad,
    place: Place,
    key: String,
    dims: usize,
    rows: usize,
    hash: blake3::Hasher,
    provenance: serde_json::Value,
    /// Keys of the rows so far.
    vectors: Vec<u64>,
}

impl std::fmt::Debug for ObsmWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ObsmWriter({}: {})",
            self.draft.destination().display(),
            self.node()
        )
    }
}

impl ObsmWriter {
    /// Copies `source` next to its destination and opens `obsm/<key>` of `dims` columns in the
    /// copy.
    ///
    /// # Errors
    /// As [`Self::layer`].
    pub fn create(
        source: &Path,
        target: &WriteTarget,
        key: &str,
        dims: usize,
        provenance: &serde_json::Value,
    ) -> Result<Self> {
        Self::at(source, target, (Place::Obsm, key), Some(dims), provenance)
    }

    /// The same for `layers/<name>`, with a column for every gene of the file.
    ///
    /// # Errors
    /// [`DataError::Invalid`] for an invalid key or no dimensions; [`DataError::Io`] when a file
    /// cannot be read or written (read-only folder, no space); [`DataError::File`] when `source`
    /// is not an AnnData file or is too old for arrays in `obsm` (anndata 0.6).
    pub fn layer(
        source: &Path,
        target: &WriteTarget,
        name: &str,
        provenance: &serde_json::Value,
    ) -> Result<Self> {
        Self::at(source, target, (Place::Layers, name), None, provenance)
    }

    fn at(
        source: &Path,
        target: &WriteTarget,
        (place, key): (Place, &str),
        dims: Option<usize>,
        provenance: &serde_json::Value,
    ) -> Result<Self> {
        let name = place.name();
        if key.is_empty() || key.contains('/') || key == "." {
            return Err(DataError::invalid(format!(
                "'{key}' is not a valid name in {name}"
            )));
        }
        let lock = edit::lock(source, target)?;
        let before = H5ad::open(source)?;
        if before.source().format() != "HDF5" {
            return Err(DataError::file(
                source,
                "is not an .h5ad, so nothing can be added to it; write a new file with -o \
                 (.h5ad, .npy or .parquet)",
            ));
        }
        let dims = dims.unwrap_or(before.var().len());
        if dims == 0 {
            return Err(DataError::invalid(format!(
                "{name}/{key}: at least one column is needed"
            )));
        }
        for group in [name, "uns", "uns/scfm"] {
            if before.source().kind(group)? == Some(NodeKind::Dataset) {
                return Err(DataError::file(
                    source,
                    format!(
                        "{group} is a table in the format of anndata 0.6, which cannot be extended; save \
                         the file again with a current anndata first"
                    ),
                ));
            }
        }
        let draft = Draft::of(source, target, lock)?;
        let begun = begin(&before, &draft, (name, key), dims);
        let (file, dataset) = wrap(draft.destination(), begun)?;
        Ok(Self {
            dataset,
            file,
            draft,
            before,
            place,
            key: key.to_owned(),
            dims,
            rows: 0,
            hash: blake3::Hasher::new(),
            provenance: provenance.clone(),
            vectors: Vec::new(),
        })
    }

    /// Appends complete rows, row-major, in the order of the cells.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when the values are not complete rows, there are more rows than
    /// cells, or a value is NaN or infinite; [`DataError::Io`] when they cannot be written.
    pub fn push(&mut self, values: &[f32]) -> Result<()> {
        if !values.len().is_multiple_of(self.dims) {
            return Err(DataError::invalid(format!(
                "{}: {} values are not complete rows of {}",
                self.node(),
                values.len(),
                self.dims
            )));
        }
        require_finite(
            &self.node(),
            values,
            self.dims,
            self.rows,
            // Only for the message, which also works without.
            |cell| self.before.obs_names().ok()?.get(cell).cloned(),
        )?;
        self.vectors
            .extend(values.chunks_exact(self.dims).map(vector_key));
        self.rows += values.len() / self.dims;
        if self.rows > self.before.n_obs() {
            return Err(self.wrong_rows());
        }
        // Blocks keep the copies for the writer and the hash small.
        for block in values.chunks(self.dims * (65_536 / self.dims).max(1)) {
            for value in block {
                self.hash.update(&value.to_le_bytes());
            }
            wrap(self.draft.destination(), self.dataset.append(block))?;
        }
        Ok(())
    }

    /// Closes the copy, verifies it, and moves it to its destination.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when rows are missing; [`DataError::Io`] when the file cannot be written;
    /// [`DataError::File`] when it does not read back identically.
    pub fn finish(self) -> Result<()> {
        if self.rows != self.before.n_obs() {
            return Err(self.wrong_rows());
        }
        let Self {
            dataset,
            file,
            draft,
            before,
            place,
            key,
            dims,
            hash,
            mut provenance,
            vectors,
            ..
        } = self;
        drop(dataset);
        if let Some(said) = provenance.as_object_mut() {
            // The provenance is of these vectors, not of others that may replace them.
            let vectors = serde_json::to_value(KeySet::new(vectors));
            let vectors = vectors.expect("invariant: keys are text in JSON");
            said.insert("vectors".into(), vectors);
        }
        let noted = note(&file, &key, &provenance.to_string());
        wrap(draft.destination(), noted)?;
        wrap(draft.destination(), file.close())?;
        verify(
            &before,
            &draft,
            (place.name(), &key),
            dims,
            &hash.finalize(),
        )?;
        draft.publish()
    }

    fn node(&self) -> String {
        format!("{}/{}", self.place.name(), self.key)
    }

    fn wrong_rows(&self) -> DataError {
        DataError::invalid(format!(
            "{}: {} rows for {} cells of {}",
            self.node(),
            self.rows,
            self.before.n_obs(),
            self.before.path().display()
        ))
    }
}

fn begin(
    before: &H5ad,
    draft: &Draft,
    (group, key): (&str, &str),
    dims: usize,
) -> std::result::Result<(OpenFile, H5Dataset), rust_hdf5::Hdf5Error> {
    let open = draft.open()?;
    let file = open.get()?;
    let root = file.root_group();
    let (obsm, made) = ensure_group(&root, group)?;
    if made == Made::New {
        encode_group(&obsm, "dict", "0.1.0")?;
    }
    edit::notes(file)?;
    for node in [format!("{group}/{key}"), format!("uns/scfm/{key}")] {
        edit::delete(file, before, &node)?;
    }
    let dataset = growing::<f32>(&obsm, key, Some(dims), Packing::None)?;
    encode_dataset(&dataset, "array", "0.2.0")?;
    Ok((open, dataset))
}

/// Writes the provenance of an embedding.
fn note(
    file: &OpenFile,
    key: &str,
    provenance: &str,
) -> std::result::Result<(), rust_hdf5::Hdf5Error> {
    text(&edit::notes(file.get()?)?, key, provenance)
}

/// Verifies the finished copy: the rows must hash as written, and every other node must exist
/// with its shape and type.
fn verify(
    before: &H5ad,
    draft: &Draft,
    (group, key): (&str, &str),
    dims: usize,
    expected: &blake3::Hash,
) -> Result<()> {
    let fault = |what: String| draft.fault(&what);
    let after = h5::open(draft.path()).map_err(|e| fault(e.to_string()))?;
    let node = format!("{group}/{key}");
    let rows = before.n_obs() as u64;
    let shape = after.info(&node).map_err(|e| fault(e.to_string()))?.shape;
    if shape != [rows, dims as u64] {
        return Err(fault(format!("shape {shape:?} of {node}")));
    }
    let mut hash = blake3::Hasher::new();
    let step = ((4usize << 20) / dims).max(1);
    for first in (0..rows).step_by(step) {
        let last = (first + step as u64).min(rows);
        let values = after.numbers(&node, &[first..last, 0..dims as u64]);
        for value in values.map_err(|e| fault(e.to_string()))?.into_f32() {
            hash.update(&value.to_le_bytes());
        }
    }
    if hash.finalize() != *expected {
        return Err(fault(format!("other values of {node}")));
    }
    let ours = [node, format!("uns/scfm/{key}")];
    draft.compare(before, &*after, &ours)
}
