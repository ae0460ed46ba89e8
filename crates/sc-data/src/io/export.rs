//! Embeddings in separate files: `.npy` for numpy, `.parquet` for tables.

use std::path::Path;

use crate::error::{DataError, Result};

mod npy;
mod output;
mod parquet;

pub use npy::NpyWriter;
pub use output::{ENDINGS, EmbeddingOutput};
pub use parquet::ParquetWriter;

/// A writer of embedding vectors, in the order of the cells.
pub trait VectorWriter {
    /// Appends complete rows, row-major.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when the values are not complete rows, there are more rows than
    /// cells, or a value is NaN or infinite; [`DataError::Io`] when they cannot be written.
    fn push(&mut self, values: &[f32]) -> Result<()>;

    /// Completes the file and moves it to its path, where nothing exists before.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when rows are missing; [`DataError::Io`] when it cannot be written.
    fn finish(self: Box<Self>) -> Result<()>;
}

impl VectorWriter for crate::io::h5ad::ObsmWriter {
    fn push(&mut self, values: &[f32]) -> Result<()> {
        crate::io::h5ad::ObsmWriter::push(self, values)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        crate::io::h5ad::ObsmWriter::finish(*self)
    }
}

/// The error for the first of `values`, rows of `dims` that begin with cell `first`, that is NaN or
/// infinite. A non-finite vector is not a result, and later readers might not notice.
pub(crate) fn require_finite(
    what: &str,
    values: &[f32],
    dims: usize,
    first: usize,
    cell_name: impl Fn(usize) -> Option<String>,
) -> Result<()> {
    let Some(at) = values.iter().position(|v| !v.is_finite()) else {
        return Ok(());
    };
    let dims = dims.max(1);
    let cell = first + at / dims;
    let name = cell_name(cell).map_or(String::new(), |n| format!(" ('{n}')"));
    Err(DataError::invalid(format!(
        "{what}: cell {cell}{name}, dimension {}: {} is not finite, so nothing was written; check for \
         extreme values of this cell, and for weights that are not finite",
        at % dims,
        values[at]
    )))
}

/// Counts rows and refuses those that do not match.
#[derive(Debug)]
struct Rows {
    dims: usize,
    cells: usize,
    done: usize,
}

impl Rows {
    fn add(
        &mut self,
        path: &Path,
        values: &[f32],
        cell_name: impl Fn(usize) -> Option<String>,
    ) -> Result<usize> {
        if self.dims == 0 || !values.len().is_multiple_of(self.dims) {
            return Err(DataError::invalid(format!(
                "{}: {} values are not complete rows of {}",
                path.display(),
                values.len(),
                self.dims
            )));
        }
        let what = path.display().to_string();
        require_finite(&what, values, self.dims, self.done, cell_name)?;
        let rows = values.len() / self.dims;
        self.done += rows;
        if self.done > self.cells {
            return Err(self.wrong(path));
        }
        Ok(rows)
    }

    fn complete(&self, path: &Path) -> Result<()> {
        if self.done == self.cells {
            return Ok(());
        }
        Err(self.wrong(path))
    }

    fn wrong(&self, path: &Path) -> DataError {
        DataError::invalid(format!(
            "{}: {} rows for {} cells",
            path.display(),
            self.done,
            self.cells
        ))
    }
}
