//! Files of other formats, read as AnnData.
//!
//! Each module turns a format into an [`H5Source`] that presents the tree of an
//! AnnData file, so that all other code is independent of the format. The format is detected from
//! the content; the name only helps error messages.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{DataError, Result};
use crate::io::h5::{self, H5Source, NodeKind};

mod loom;
mod mtx;
mod mudata;
mod pair;
mod part;
mod tenx;
mod view;
mod zarr;

/// Opens a file or folder of any known format.
///
/// Files: AnnData `.h5ad`; MuData `.h5mu`, with `FILE.h5mu/rna` for one modality (else `rna`, `gex` or
/// the only one); 10x `.h5`, with `FILE.h5/GENOME` for one of several genomes and `FILE.h5/adt` for
/// features of another type than genes; loom; `matrix.mtx`,
/// plain or gzip; `.zarr.zip`. Folders: AnnData-Zarr, and 10x triplets. Two modalities of the same
/// cells as one: `rna.h5ad+atac.h5ad`, `both.h5mu/rna+atac`, `multiome.h5/gex+peaks`.
///
/// # Errors
/// [`DataError::Io`] for system errors; [`DataError::File`] when the format is unknown, or the file
/// truncated or damaged.
pub fn open(path: &Path) -> Result<Arc<dyn H5Source>> {
    if let Some((first, second)) = pair::split(path) {
        return pair::open(&first, &second);
    }
    let (file, part) = split_part(path);
    if file.is_dir() {
        if mtx::is_folder(&file) {
            return mtx::open(&file);
        }
        return match zarr::is_folder(&file) {
            true => anndata(zarr::open(&file)?, None),
            false => Err(DataError::file(path, unknown_folder(&file))),
        };
    }
    if mtx::is_file(&file) && part.is_none() {
        return mtx::open(&file);
    }
    if zarr::is_zip(&file)? {
        return anndata(zarr::open(&file)?, part.as_deref());
    }
    let source = h5::open(&file)?;
    let is_group = |node: &str| source.kind(node).map(|k| k == Some(NodeKind::Group));
    if source.kind("matrix")?.is_some() && is_group("row_attrs")? && is_group("col_attrs")? {
        return match part {
            None => loom::open(source),
            Some(part) => Err(no_part(&file, &part)),
        };
    }
    if source.kind("obs")?.is_none()
        && let Some(found) = tenx::open(&source, part.as_deref())?
    {
        return Ok(found);
    }
    if is_group("assays")? && source.kind("cell.names")?.is_some() {
        return Err(DataError::file(
            &file,
            "is a Seurat file (.h5seurat); write it as .h5ad in R first (SeuratDisk::Convert)",
        ));
    }
    anndata(source, part.as_deref())
}

/// An AnnData tree, or a modality or other part of one.
fn anndata(source: Arc<dyn H5Source>, part: Option<&str>) -> Result<Arc<dyn H5Source>> {
    if source.kind("mod")? == Some(NodeKind::Group) {
        return mudata::open(source, part);
    }
    match part {
        Some(part) => Err(no_part(source.path(), part)),
        None => Ok(source),
    }
}

fn no_part(file: &Path, part: &str) -> DataError {
    DataError::file(file, format!("has no parts, so '{part}' does not exist"))
}

/// The error for a folder of no known format.
fn unknown_folder(folder: &Path) -> &'static str {
    match folder.join("__tiledb_group.tdb").exists() {
        true => {
            "is a TileDB-SOMA experiment; write it as .h5ad first (tiledbsoma.io.to_anndata, then \
             adata.write_h5ad(path))"
        }
        false => {
            "is a folder with neither a Zarr group nor a single matrix.mtx; give the file or folder with \
             the counts"
        }
    }
}

/// The files on disk of a path that may lead to a part of one, as in `pbmc.h5mu/rna`, or two files.
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    match pair::split(path) {
        Some((first, second)) => {
            let mut files = vec![split_part(&first).0, split_part(&second).0];
            files.dedup();
            files
        }
        None => vec![split_part(path).0],
    }
}

/// The file on disk of a path that may lead to a part of it, as in `pbmc.h5mu/rna`; of two files,
/// the first.
pub fn file_of(path: &Path) -> PathBuf {
    files_of(path).swap_remove(0)
}

/// Splits a path at the file that is on disk; the rest is a part of it.
fn split_part(path: &Path) -> (PathBuf, Option<String>) {
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
