//! Converting a file of any format to a new `.h5ad`.

use std::fs::File;
use std::path::Path;

use rust_hdf5::{FileLocking, H5File, H5Group};

use super::frame::FrameInfo;
use super::write::{NewFrame, check_frame, write_frame};
use super::{Column, H5ad, MatrixSlot, tree};
use crate::error::{DataError, Result};
use crate::genes::features::Kept;
use crate::io::atomic::Temporary;
use crate::io::h5::writer::{OpenFile, Packing, array, encode_group, growing, wrap};
use crate::io::store::CellStore;

/// Bytes of entries in memory at a time.
const BLOCK_BYTES: usize = 64 << 20;
/// Integers below it are exact in single precision.
const EXACT: f32 = 16_777_216.0;

/// Writes everything a file holds as a new `.h5ad`: all matrices in their stored type, `obs`,
/// `var`, `raw`, `obsm`, `obsp`, `varm`, `varp` and `uns`. An `.h5ad` is copied unchanged.
/// `progress` is called with the finished parts of the root and their number.
///
/// Returns what could not be written, each by its path and reason.
///
/// # Errors
/// Any error of the file; [`DataError::Io`] when the new one cannot be written.
pub fn to_h5ad(
    file: &H5ad,
    path: &Path,
    mut progress: impl FnMut(usize, usize),
) -> Result<Vec<String>> {
    let source = &**file.source();
    let mut temp = Temporary::beside(path)?;
    if source.format() == "HDF5" {
        let mut from = File::open(file.path()).map_err(|e| DataError::io(file.path(), e))?;
        std::io::copy(&mut from, temp.file_mut()).map_err(|e| DataError::io(path, e))?;
        temp.publish()?;
        return Ok(Vec::new());
    }
    let options = H5File::options().locking(FileLocking::Disabled);
    let open = OpenFile::new(wrap(path, options.create(temp.path()))?);
    let root = wrap(path, open.get())?.root_group();
    wrap(path, encode_group(&root, "anndata", "0.1.0"))?;
    let mut left_out = Vec::new();
    let parts = source.children("")?;
    for (done, part) in parts.iter().enumerate() {
        progress(done, parts.len());
        match part.as_str() {
            "obs" => {
                let info = file.obs();
                let made = frame(file.obs_names()?, info, "obs", &mut left_out, |c| {
                    file.obs_column(c)
                });
                wrap(path, write_frame(&root, "obs", &made))?;
            }
            "var" => {
                let made = var(file, &MatrixSlot::X, "var", &mut left_out)?;
                wrap(path, write_frame(&root, "var", &made))?;
            }
            "raw" if file.raw_var().is_some() => {
                let group = wrap(path, root.create_group("raw"))?;
                wrap(path, encode_group(&group, "raw", "0.1.0"))?;
                let made = var(file, &MatrixSlot::Raw, "raw/var", &mut left_out)?;
                wrap(path, write_frame(&group, "var", &made))?;
                for member in source.children(part)?.iter().filter(|m| *m != "var") {
                    let node = format!("{part}/{member}");
                    if file.kept(&MatrixSlot::Raw).is_some() {
                        match member.as_str() {
                            "X" => matrix(file, &MatrixSlot::Raw, &group, "X")?,
                            _ => left_out.push(format!("{node} (it has features of other types)")),
                        }
                        continue;
                    }
                    tree::copy(source, &node, &group, member, &mut left_out)?;
                }
            }
            part => match file.kept(&MatrixSlot::X) {
                Some(kept) if ["X", "layers", "varm", "varp"].contains(&part) => {
                    genes_only(file, kept, part, &root, &mut left_out)?;
                }
                _ => tree::copy(source, part, &root, part, &mut left_out)?,
            },
        }
    }
    wrap(path, without(&root, &parts))?;
    progress(parts.len(), parts.len());
    drop(root);
    wrap(path, open.close())?;
    if let Err(e) = H5ad::open(temp.path()).and_then(|new| same_matrices(file, &new)) {
        return Err(DataError::file(
            path,
            format!("was not written: reading it back gave {e}; please report this"),
        ));
    }
    temp.publish()?;
    Ok(left_out)
}

/// Writes a part with a feature axis, some features of which are not used.
fn genes_only(
    file: &H5ad,
    kept: &Kept,
    part: &str,
    root: &H5Group,
    left_out: &mut Vec<String>,
) -> Result<()> {
    match part {
        "X" => {
            for (types, count) in &kept.left_out {
                left_out.push(format!("X ({count} features of type '{types}')"));
            }
            matrix(file, &MatrixSlot::X, root, "X")
        }
        "layers" => {
            let layers = wrap(file.path(), root.create_group("layers"))?;
            wrap(file.path(), encode_group(&layers, "dict", "0.1.0"))?;
            for name in file.layers() {
                matrix(file, &MatrixSlot::Layer(name.clone()), &layers, name)?;
            }
            Ok(())
        }
        part => {
            let group = wrap(file.path(), root.create_group(part))?;
            wrap(file.path(), encode_group(&group, "dict", "0.1.0"))?;
            left_out.push(format!("{part} (it has features of other types)"));
            Ok(())
        }
    }
}

/// Writes a matrix as CSR in single precision.
fn matrix(file: &H5ad, slot: &MatrixSlot, parent: &H5Group, name: &str) -> Result<()> {
    let store = CellStore::of(file, slot.clone())?;
    let shape = [store.rows() as i64, store.cols() as i64];
    let begin = || {
        let group = parent.create_group(name)?;
        encode_group(&group, "csr_matrix", "0.1.0")?;
        group.set_attr_array_numeric("shape", &shape)?;
        let indices = growing::<i32>(&group, "indices", None, Packing::Gzip)?;
        let data = growing::<f32>(&group, "data", None, Packing::Gzip)?;
        Ok((group, indices, data))
    };
    let (group, indices, data) = wrap(file.path(), begin())?;
    let mut indptr = vec![0i64];
    for chunk in store.chunks(store.rows_for_bytes(BLOCK_BYTES)) {
        let (_, rows) = chunk?;
        if let Some(large) = rows.values().iter().find(|v| v.abs() >= EXACT) {
            return Err(DataError::file(
                file.path(),
                format!(
                    "{slot}: {large} may not be exact in single precision, and its features of several \
                     types would be separated; keep only the genes first (adata[:, \
                     adata.var.feature_types == 'Gene Expression'])"
                ),
            ));
        }
        let base = indptr.last().copied().unwrap_or(0);
        indptr.extend(rows.indptr().iter().skip(1).map(|&p| base + p as i64));
        let columns: Vec<i32> = rows.indices().iter().map(|&j| j as i32).collect();
        if !columns.is_empty() {
            wrap(file.path(), indices.append(&columns))?;
            wrap(file.path(), data.append(rows.values()))?;
        }
    }
    wrap(file.path(), array(&group, "indptr", &indptr)).map(|_| ())
}

/// The groups every `.h5ad` has, where the source lacks them.
fn without(root: &H5Group, parts: &[String]) -> std::result::Result<(), rust_hdf5::Hdf5Error> {
    for name in ["obsm", "uns", "layers", "obsp", "varm", "varp"] {
        if !parts.iter().any(|p| p == name) {
            encode_group(&root.create_group(name)?, "dict", "0.1.0")?;
        }
    }
    Ok(())
}

fn same_matrices(old: &H5ad, new: &H5ad) -> Result<()> {
    for slot in old.slots() {
        let (a, b) = (old.matrix(&slot)?, new.matrix(&slot)?);
        if (a.rows, a.cols) != (b.rows, b.cols) || (a.cols == a.width && a.stored != b.stored) {
            return Err(DataError::invalid(format!("{slot} of another shape")));
        }
    }
    Ok(())
}

fn var(file: &H5ad, slot: &MatrixSlot, node: &str, left_out: &mut Vec<String>) -> Result<NewFrame> {
    let (names, info) = (file.gene_names(slot)?, file.gene_frame(slot)?);
    Ok(frame(names, info, node, left_out, |c| {
        file.gene_column(slot, c)
    }))
}

/// A frame of the columns that can be read and written.
fn frame(
    index: Vec<String>,
    info: &FrameInfo,
    node: &str,
    left_out: &mut Vec<String>,
    column: impl Fn(&str) -> Result<Column>,
) -> NewFrame {
    let mut made = NewFrame {
        index,
        columns: Vec::new(),
    };
    for name in info.columns() {
        match column(name) {
            Ok(values) => made.columns.push((name.clone(), values)),
            Err(e) => left_out.push(format!("{node}/{name} ({e})")),
        }
        if let Err(e) = check_frame(node, &made) {
            made.columns.pop();
            left_out.push(format!("{node}/{name} ({e})"));
        }
    }
    made
}
