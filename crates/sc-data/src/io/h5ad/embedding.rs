//! Reading embeddings: dense arrays in most files; numeric tables and sparse matrices are
//! converted.

use ndarray::Array2;

use super::{H5ad, Layout, frame, matrix, sparse_format};
use crate::error::{DataError, Result};
use crate::io::h5::{self, NodeKind, text_attribute};

impl H5ad {
    /// A member of `obsm` as `[n_obs, dims]`: a dense array, a sparse matrix, or a table whose columns
    /// are all numbers.
    ///
    /// # Errors
    /// [`DataError::File`] when it does not exist, is of another kind, or cannot be read.
    pub fn obsm(&self, name: &str) -> Result<Array2<f32>> {
        let node = format!("obsm/{name}");
        let source = &**self.source();
        let (shape, values) = match source.kind(&node)? {
            Some(NodeKind::Dataset) => self.array(&node)?,
            Some(NodeKind::Group) if sparse_format(source, &node)?.is_some_and(is_compressed) => {
                self.filled(&node)?
            }
            Some(NodeKind::Group) => self.table(&node)?,
            None => {
                let have = frame::listing(self.obsm_keys());
                return Err(self.odd(&node, format!("not found; obsm has {have}")));
            }
        };
        if shape.0 != self.n_obs() {
            let text = format!("has {} rows for {} cells", shape.0, self.n_obs());
            return Err(self.odd(&node, text));
        }
        Array2::from_shape_vec(shape, values).map_err(|e| self.odd(&node, e.to_string()))
    }

    /// Number of columns of a member of `obsm`; `None` where it is not an embedding or cannot be
    /// read.
    pub fn obsm_dims(&self, name: &str) -> Option<usize> {
        let node = format!("obsm/{name}");
        let source = &**self.source();
        let dims = match source.kind(&node).ok()?? {
            NodeKind::Dataset => match source.info(&node).ok()?.shape[..] {
                [_, cols] => cols as usize,
                _ => return None,
            },
            NodeKind::Group => match matrix::describe(source, &node) {
                Ok(info) => info.cols,
                Err(_) => frame::open(source, &node).ok()?.columns().len(),
            },
        };
        Some(dims)
    }

    /// A member of `obsm` to be evaluated or compared: as above, with all values finite.
    ///
    /// # Errors
    /// As [`H5ad::obsm`]; [`DataError::File`] names the first cell and dimension that is NaN or
    /// infinite.
    pub fn embedding(&self, name: &str) -> Result<Array2<f32>> {
        let values = self.obsm(name)?;
        let dims = values.ncols();
        let flat = values
            .as_slice()
            .expect("invariant: rows one after the other");
        let Some(at) = flat.iter().position(|v| !v.is_finite()) else {
            return Ok(values);
        };
        let cell = at / dims.max(1);
        let names = self.obs_names().unwrap_or_default();
        let called = names.get(cell).map_or("", String::as_str);
        Err(self.odd(
            &format!("obsm/{name}"),
            format!(
                "cell {cell} ('{called}'), dimension {}: {} is not finite; drop such cells or leave \
                 this embedding out",
                at % dims.max(1),
                flat[at]
            ),
        ))
    }

    fn odd(&self, node: &str, message: String) -> DataError {
        DataError::file(self.path(), format!("{node}: {message}"))
    }

    fn array(&self, node: &str) -> Result<((usize, usize), Vec<f32>)> {
        let source = &**self.source();
        let shape = source.info(node)?.shape;
        let &[rows, cols] = &shape[..] else {
            let text = format!("expected two dimensions, found shape {shape:?}");
            return Err(self.odd(node, text));
        };
        let values = source.numbers(node, &[0..rows, 0..cols])?.into_f32();
        Ok(((rows as usize, cols as usize), values))
    }

    fn table(&self, node: &str) -> Result<((usize, usize), Vec<f32>)> {
        let source = &**self.source();
        let kind = text_attribute(source, node, "encoding-type")?;
        if text_attribute(source, node, "_index")?.is_none() {
            let kind = kind.as_deref().unwrap_or("unknown");
            let text = format!(
                "is a group of kind {kind}; an array, a sparse matrix or a table is needed"
            );
            return Err(self.odd(node, text));
        }
        let info = frame::open(source, node)?;
        let (rows, cols) = (info.len(), info.columns().len());
        let mut values = vec![0f32; rows * cols];
        for (k, name) in info.columns().iter().enumerate() {
            let column = frame::column(source, &info, name)?;
            let Some(numbers) = column.to_f64() else {
                let text = format!("its column '{name}' is not numeric, so it is not an embedding");
                return Err(self.odd(node, text));
            };
            for (row, value) in numbers.into_iter().enumerate() {
                values[row * cols + k] = value as f32;
            }
        }
        Ok(((rows, cols), values))
    }

    fn filled(&self, node: &str) -> Result<((usize, usize), Vec<f32>)> {
        let source = &**self.source();
        let info = matrix::describe(source, node)?;
        let cells = info.rows.saturating_mul(info.cols);
        if cells as u64 * 4 > h5::allocation_limit(source.size()) {
            let text = format!(
                "is sparse, and {} x {} values are too many",
                info.rows, info.cols
            );
            return Err(self.odd(node, text));
        }
        let damaged = || self.odd(node, "its indices are damaged".into());
        let part = |name: &str| h5::vector(source, &format!("{node}/{name}"));
        let indptr = part("indptr")?.into_i64();
        let indices = part("indices")?.into_u32().map_err(|_| damaged())?;
        let data = part("data")?.into_f32();
        let mut values = vec![0f32; cells];
        for (major, bounds) in indptr.windows(2).enumerate() {
            let range = usize::try_from(bounds[0])
                .ok()
                .zip(usize::try_from(bounds[1]).ok());
            let (first, last) = range.ok_or_else(damaged)?;
            let entries = indices.get(first..last).zip(data.get(first..last));
            let (minors, found) = entries.ok_or_else(damaged)?;
            for (&minor, &value) in minors.iter().zip(found) {
                let (row, col) = match info.layout {
                    Layout::Csc => (minor as usize, major),
                    _ => (major, minor as usize),
                };
                if row >= info.rows || col >= info.cols {
                    return Err(damaged());
                }
                values[row * info.cols + col] = value;
            }
        }
        Ok(((info.rows, info.cols), values))
    }
}

fn is_compressed(format: String) -> bool {
    matches!(format.as_str(), "csr" | "csc")
}
