//! Adding columns to `obs` of an AnnData file without touching anything else in it.

use std::fs::File;
use std::path::{Path, PathBuf};

use rust_hdf5::{FileLocking, H5File};

use super::obsm::{WriteTarget, compare};
use super::write::write_column;
use super::{Column, H5ad};
use crate::atomic::Temporary;
use crate::error::{DataError, Result};
use crate::h5::NodeKind;
use crate::h5::writer::{OpenFile, wrap};

/// Adds or replaces columns of `obs`, one value a cell.
///
/// Work is done on a temporary copy in the folder of the destination, read back, flushed to the disk
/// and renamed: whatever happens, the destination is the old file or the complete new one.
///
/// # Errors
/// [`DataError::Invalid`] for an unusable name or another number of values; [`DataError::Io`] when a
/// file cannot be read or written; [`DataError::File`] when `source` is no `.h5ad`, is too old to take
/// columns (anndata 0.6), or what was read back differs.
pub fn write_obs(source: &Path, target: &WriteTarget, columns: &[(String, Column)]) -> Result<()> {
    let before = H5ad::open(source)?;
    if before.source().format() != "HDF5" {
        return Err(DataError::file(
            source,
            "is no .h5ad, and columns cannot be added to it; convert it first (scfm convert --to h5ad)",
        ));
    }
    if before.source().kind("obs")? != Some(NodeKind::Group) {
        return Err(DataError::file(
            source,
            "obs is a table, as anndata 0.6 wrote it, and takes no new column; save the file again \
             with a current anndata first",
        ));
    }
    for (name, values) in columns {
        if name.is_empty() || name.contains('/') || name == before.obs().index_name() {
            return Err(DataError::invalid(format!(
                "'{name}' cannot be a column of obs"
            )));
        }
        if values.len() != before.n_obs() {
            return Err(DataError::invalid(format!(
                "obs['{name}']: {} values for {} cells of {}",
                values.len(),
                before.n_obs(),
                source.display()
            )));
        }
    }
    let destination: PathBuf = match target {
        WriteTarget::InPlace => source.to_path_buf(),
        WriteTarget::Copy(path) => path.clone(),
    };
    let mut temp = Temporary::beside(&destination)?;
    let mut from = File::open(source).map_err(|e| DataError::io(source, e))?;
    let permissions = from.metadata().ok().map(|m| m.permissions());
    std::io::copy(&mut from, temp.file_mut()).map_err(|e| DataError::io(&destination, e))?;
    wrap(&destination, edit(&before, temp.path(), columns))?;
    verify(&before, temp.path(), &destination, columns)?;
    if let (WriteTarget::InPlace, Some(permissions)) = (target, permissions) {
        std::fs::set_permissions(temp.path(), permissions)
            .map_err(|e| DataError::io(&destination, e))?;
    }
    temp.publish()
}

fn edit(
    before: &H5ad,
    path: &Path,
    columns: &[(String, Column)],
) -> std::result::Result<(), rust_hdf5::Hdf5Error> {
    let open = OpenFile::new(
        H5File::options()
            .locking(FileLocking::Disabled)
            .open_rw(path)?,
    );
    let file = open.get()?;
    let obs = file.root_group().group("obs")?;
    let mut order = before.obs().columns().to_vec();
    for (name, values) in columns {
        let node = format!("obs/{name}");
        match before.source().kind(&node).ok().flatten() {
            Some(NodeKind::Dataset) => file.delete_dataset(&node)?,
            Some(NodeKind::Group) => file.delete_group(&node)?,
            None => {}
        }
        write_column(&obs, name, values)?;
        if !order.contains(name) {
            order.push(name.clone());
        }
    }
    let order: Vec<&str> = order.iter().map(String::as_str).collect();
    obs.set_attr_string_array("column-order", &order)?;
    drop(obs);
    open.close()
}

/// Reads the copy back: the new columns as given, and every other node as it was.
fn verify(
    before: &H5ad,
    path: &Path,
    destination: &Path,
    columns: &[(String, Column)],
) -> Result<()> {
    let fault = |what: String| {
        DataError::file(
            destination,
            format!("was not written: reading back the copy gave {what}; please report this"),
        )
    };
    let after = H5ad::open(path).map_err(|e| fault(e.to_string()))?;
    for (name, values) in columns {
        let found = after.obs_column(name).map_err(|e| fault(e.to_string()))?;
        if (0..values.len()).any(|k| found.text(k) != values.text(k)) {
            return Err(fault(format!("other values of obs['{name}']")));
        }
    }
    let ours: Vec<String> = columns.iter().map(|c| format!("obs/{}", c.0)).collect();
    let (old, new) = (before.source(), after.source());
    compare(&**old, &**new, "", &ours, 0).map_err(fault)
}
