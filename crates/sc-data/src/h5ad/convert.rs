//! A new `.h5ad` of a file of any format.

use std::path::Path;

use super::frame::FrameInfo;
use super::write::{H5adWriter, NewFrame};
use super::{Column, H5ad, MatrixSlot};
use crate::error::Result;
use crate::store::CellStore;

/// Bytes of unpacked entries in memory at a time.
const BLOCK_BYTES: usize = 64 << 20;

/// Writes `slot` of a file as `X` of a new `.h5ad`, with the columns of `obs` and `var` and the
/// embeddings, in bounded memory. `progress` is told the cells done.
///
/// # Errors
/// Whatever is wrong with the file; [`crate::DataError::Io`] when the new one cannot be written.
pub fn to_h5ad(
    file: &H5ad,
    slot: &MatrixSlot,
    path: &Path,
    mut progress: impl FnMut(usize),
) -> Result<()> {
    let store = CellStore::of(file, slot.clone())?;
    let genes = file.gene_frame(slot)?;
    let obs = frame(file.obs_names()?, file.obs(), |c| file.obs_column(c))?;
    let var = frame(file.gene_names(slot)?, genes, |c| file.gene_column(slot, c))?;
    let mut writer = H5adWriter::create(path, &obs, &var)?;
    for chunk in store.chunks(store.rows_for_bytes(BLOCK_BYTES)) {
        let (first, rows) = chunk?;
        writer.push(&rows)?;
        progress(first + rows.rows());
    }
    for key in file.obsm_keys() {
        // Tables and sparse arrays in obsm have no place in a plain one.
        if let Ok(values) = file.obsm(key) {
            writer.obsm(key, &values)?;
        }
    }
    writer.finish()
}

fn frame(
    index: Vec<String>,
    info: &FrameInfo,
    column: impl Fn(&str) -> Result<Column>,
) -> Result<NewFrame> {
    let columns = info.columns().iter();
    let columns = columns.map(|name| Ok((name.clone(), column(name)?)));
    Ok(NewFrame {
        index,
        columns: columns.collect::<Result<_>>()?,
    })
}
