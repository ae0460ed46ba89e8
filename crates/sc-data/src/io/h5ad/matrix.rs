//! Shape and layout of a stored matrix.

use super::{is_numeric, shape_attribute, sparse_format};
use crate::error::{DataError, Result};
use crate::io::h5::{H5Source, NodeKind};

/// How a matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Compressed sparse rows: cells can be streamed.
    Csr,
    /// Compressed sparse columns: the whole matrix is transposed in memory on first use.
    Csc,
    /// Dense, row by row.
    Dense,
}

/// Where a matrix is, how it is stored, and its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixInfo {
    /// Path inside the file.
    pub node: String,
    /// How it is stored.
    pub layout: Layout,
    /// Number of cells.
    pub rows: usize,
    /// Number of genes.
    pub cols: usize,
    /// Number of columns as stored: genes, and features of other types.
    pub width: usize,
    /// Number of stored entries (`rows · cols` when dense).
    pub stored: u64,
}

/// Reads layout and shape, and checks that the parts are consistent.
pub(super) fn describe(source: &dyn H5Source, node: &str) -> Result<MatrixInfo> {
    let fail = |message: String| DataError::file(source.path(), format!("{node}: {message}"));
    if source.kind(node)? == Some(NodeKind::Dataset) {
        let info = source.info(node)?;
        let &[rows, cols] = &info.shape[..] else {
            return Err(fail(format!(
                "expected two dimensions, found shape {:?}",
                info.shape
            )));
        };
        if !is_numeric(&info.element) {
            return Err(fail(format!("holds {:?}, not numbers", info.element)));
        }
        return Ok(MatrixInfo {
            node: node.to_owned(),
            layout: Layout::Dense,
            rows: to_usize(rows).ok_or_else(|| fail(format!("{rows} rows are too many")))?,
            cols: to_usize(cols).ok_or_else(|| fail(format!("{cols} columns are too many")))?,
            width: to_usize(cols).unwrap_or_default(),
            stored: rows.saturating_mul(cols),
        });
    }
    let layout = match sparse_format(source, node)?.as_deref() {
        Some("csr") => Layout::Csr,
        Some("csc") => Layout::Csc,
        other => {
            return Err(fail(format!(
                "is a group of kind {}, neither csr_matrix nor csc_matrix",
                other.unwrap_or("unknown")
            )));
        }
    };
    let mut lengths = [0u64; 3];
    for (length, part) in lengths.iter_mut().zip(["indptr", "indices", "data"]) {
        let path = format!("{node}/{part}");
        if source.kind(&path)? != Some(NodeKind::Dataset) {
            return Err(fail(format!("has no {part}; the file is damaged")));
        }
        let info = source.info(&path)?;
        let &[n] = &info.shape[..] else {
            return Err(fail(format!(
                "{part}: expected one dimension, found {:?}",
                info.shape
            )));
        };
        if !is_numeric(&info.element) {
            return Err(fail(format!(
                "{part}: holds {:?}, not numbers",
                info.element
            )));
        }
        *length = n;
    }
    let [rows, cols] = shape_attribute(source, node)?
        .ok_or_else(|| fail("has no attribute 'shape'; the file is damaged".into()))?;
    let major = if layout == Layout::Csr { rows } else { cols };
    if lengths[0] != major.saturating_add(1) || lengths[1] != lengths[2] {
        return Err(fail(format!(
            "indptr has {} entries for shape {rows} x {cols}, with {} indices and {} values; \
             the file is damaged",
            lengths[0], lengths[1], lengths[2]
        )));
    }
    Ok(MatrixInfo {
        node: node.to_owned(),
        layout,
        rows: to_usize(rows).ok_or_else(|| fail(format!("{rows} rows are too many")))?,
        cols: to_usize(cols)
            .filter(|&c| u32::try_from(c).is_ok())
            .ok_or_else(|| fail(format!("{cols} columns are too many")))?,
        width: to_usize(cols).unwrap_or_default(),
        stored: lengths[2],
    })
}

fn to_usize(n: u64) -> Option<usize> {
    usize::try_from(n).ok()
}
