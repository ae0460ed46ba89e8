//! Where an embedding is written: into its file, a copy of it, or a separate file.

use super::{NpyWriter, ParquetWriter, VectorWriter};
use crate::dataset::Dataset;
use crate::error::{DataError, Result};
use crate::io::atomic::Unfinished;
use crate::io::h5ad::{ObsmWriter, WriteTarget, to_h5ad};
use serde_json::Value;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Rows read back at a time.
const ROWS: usize = 4096;

/// An embedding being written, its rows in any order.
///
/// Minibatches come in a model's order but the output is in the file's, so vectors are buffered in
/// a temporary file: memory does not grow with the number of cells.
pub struct EmbeddingOutput {
    writer: Box<dyn VectorWriter>,
    waiting: File,
    cells: usize,
    dims: usize,
    left_out: Vec<String>,
}

/// Supported file extensions of embeddings.
pub const ENDINGS: [&str; 3] = [".h5ad", ".npy", ".parquet"];

impl EmbeddingOutput {
    /// Opens the output for vectors of `dims` for the cells of `dataset`, a single file: a path
    /// with one of the [`ENDINGS`], or the data set's own where none is given. In an `.h5ad` they
    /// become `obsm[key]` with `provenance` in `uns["scfm"]`.
    ///
    /// # Errors
    /// [`DataError`] when it cannot be written; before any work is done.
    pub fn create(
        dataset: &Dataset,
        output: Option<&Path>,
        (key, dims): (&str, usize),
        provenance: &Value,
    ) -> Result<Self> {
        Self::open(dataset, output, (key, dims), provenance, |from, target| {
            ObsmWriter::create(from, target, key, dims, provenance)
        })
    }

    /// The same for `layers[name]`, with a value for every gene of the file.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn layer(
        dataset: &Dataset,
        output: Option<&Path>,
        name: &str,
        provenance: &Value,
    ) -> Result<Self> {
        let genes = dataset.file().var().len();
        Self::open(
            dataset,
            output,
            (name, genes),
            provenance,
            |from, target| ObsmWriter::layer(from, target, name, provenance),
        )
    }

    fn open(
        dataset: &Dataset,
        output: Option<&Path>,
        (key, dims): (&str, usize),
        provenance: &Value,
        begin: impl Fn(&Path, &WriteTarget) -> Result<ObsmWriter>,
    ) -> Result<Self> {
        let file = dataset.file();
        let mut left_out = Vec::new();
        let into = |from: &Path, target: &WriteTarget| -> Result<Box<dyn VectorWriter>> {
            Ok(Box::new(begin(from, target)?))
        };
        let writer: Box<dyn VectorWriter> = match output {
            None => into(file.path(), &WriteTarget::InPlace)?,
            Some(path) => match ending(path).as_str() {
                "npy" => Box::new(NpyWriter::create(path, dataset.cells(), dims, provenance)?),
                "parquet" => {
                    let prefix = format!("{key}_");
                    let columns = (prefix.as_str(), dims);
                    let cells = file.obs_names()?;
                    Box::new(ParquetWriter::create(path, cells, columns, provenance)?)
                }
                _ if file.source().format() == "HDF5" => {
                    into(file.path(), &WriteTarget::Copy(path.to_path_buf()))?
                }
                // Another format is first written as a temporary .h5ad, and the embedding added to
                // it.
                _ => {
                    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
                    let plain = tempfile::Builder::new()
                        .prefix(".scfm-")
                        .suffix(".h5ad")
                        .tempfile_in(folder.unwrap_or(Path::new(".")))
                        .map_err(|e| DataError::io(path, e))?;
                    let _listed = Unfinished::at(plain.path());
                    left_out = to_h5ad(file, plain.path(), |_, _| {})?;
                    into(plain.path(), &WriteTarget::Copy(path.to_path_buf()))?
                }
            },
        };
        let folder = std::env::temp_dir();
        let waiting = tempfile::tempfile_in(&folder).map_err(|e| DataError::io(&folder, e))?;
        Ok(Self {
            writer,
            waiting,
            cells: dataset.cells(),
            dims,
            left_out,
        })
    }

    /// Parts of another format that could not be written into an `.h5ad`.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Adds vectors, row-major, of the cells at `rows`.
    ///
    /// # Errors
    /// [`DataError::Io`] when the temporary file cannot be written.
    pub fn put(&mut self, rows: &[usize], vectors: &[f32]) -> Result<()> {
        for (row, vector) in rows.iter().zip(vectors.chunks_exact(self.dims)) {
            let bytes: Vec<u8> = vector.iter().flat_map(|v| v.to_le_bytes()).collect();
            let place = SeekFrom::Start((row * self.dims * 4) as u64);
            let put = self.waiting.seek(place);
            put.and_then(|_| self.waiting.write_all(&bytes))
                .map_err(waiting_failed)?;
        }
        Ok(())
    }

    /// Completes the output and moves it to its path, where nothing exists before.
    ///
    /// # Errors
    /// [`DataError`] when rows are missing, a value is not finite, or it cannot be written.
    pub fn finish(mut self) -> Result<()> {
        self.waiting
            .seek(SeekFrom::Start(0))
            .map_err(waiting_failed)?;
        let mut reader = BufReader::new(self.waiting);
        for first in (0..self.cells).step_by(ROWS) {
            let count = ROWS.min(self.cells - first);
            let mut bytes = vec![0; count * self.dims * 4];
            reader.read_exact(&mut bytes).map_err(waiting_failed)?;
            let values = bytes.as_chunks::<4>().0.iter();
            let values: Vec<f32> = values.map(|b| f32::from_le_bytes(*b)).collect();
            self.writer.push(&values)?;
        }
        self.writer.finish()
    }
}

fn ending(path: &Path) -> String {
    let ending = path.extension().unwrap_or_default();
    ending.to_string_lossy().to_lowercase()
}

fn waiting_failed(error: std::io::Error) -> DataError {
    DataError::file(
        std::env::temp_dir(),
        format!(
            "the temporary file for the embedding: {error}; free space there, or set another folder in \
             TMPDIR"
        ),
    )
}
