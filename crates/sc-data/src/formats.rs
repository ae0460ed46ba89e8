//! Files of other formats, seen as AnnData.
//!
//! Each module turns a format into an [`H5Source`](crate::h5::H5Source) that presents the tree of an
//! AnnData file, so that everything above reads it without knowing. Which format a file is shows in
//! its content; its name only helps to say what it might have been.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{DataError, Result};
use crate::h5::{self, H5Source, NodeKind};

mod loom;
mod mtx;
mod mudata;
mod tenx;
mod view;
mod zarr;

/// Opens a file or folder of any known format.
///
/// Files: AnnData `.h5ad`; MuData `.h5mu`, with `FILE.h5mu/rna` for one modality (else `rna`, `gex` or
/// the only one); 10x `.h5`, with `FILE.h5/GENOME` for one of several genomes; loom; `matrix.mtx`,
/// plain or gzip; `.zarr.zip`. Folders: AnnData-Zarr, and 10x triplets.
///
/// # Errors
/// [`DataError::Io`] when the system refuses; [`DataError::File`] when the format is unknown, or the file
/// cut off or damaged.
pub fn open(path: &Path) -> Result<Arc<dyn H5Source>> {
    let (file, part) = split(path);
    if file.is_dir() {
        if mtx::is_folder(&file) {
            return mtx::open(&file);
        }
        return match zarr::is_folder(&file) {
            true => zarr::open(&file),
            false => Err(DataError::file(
                path,
                "is a folder with neither a Zarr group nor a matrix.mtx; name a file",
            )),
        };
    }
    if mtx::is_file(&file) {
        return mtx::open(&file);
    }
    if zarr::is_zip(&file)? {
        return zarr::open(&file);
    }
    let source = h5::open(&file)?;
    let has = |node: &str| source.kind(node).map(|k| k.is_some());
    let is_group = |node: &str| source.kind(node).map(|k| k == Some(NodeKind::Group));
    if has("obs")? && has("var")? && part.is_none() && !is_group("mod")? {
        return Ok(source);
    }
    if is_group("mod")? {
        return mudata::open(source, part.as_deref());
    }
    if has("matrix")? && is_group("row_attrs")? && is_group("col_attrs")? {
        return loom::open(source);
    }
    if let Some(found) = tenx::open(&source, part.as_deref())? {
        return Ok(found);
    }
    match part {
        Some(part) => Err(DataError::file(
            &file,
            format!("has no parts, so there is no '{part}' in it"),
        )),
        None => Ok(source),
    }
}

/// The file on disk of a path that may name a part of it, as in `pbmc.h5mu/rna`.
pub fn file_of(path: &Path) -> PathBuf {
    split(path).0
}

/// Splits a path at the file that is on disk; what follows names a part of it.
fn split(path: &Path) -> (PathBuf, Option<String>) {
    if path.exists() {
        return (path.to_path_buf(), None);
    }
    for parent in path.ancestors().skip(1) {
        if parent.is_file() {
            let part = path.strip_prefix(parent).unwrap_or(Path::new(""));
            return (parent.to_path_buf(), Some(part.display().to_string()));
        }
    }
    (path.to_path_buf(), None)
}
