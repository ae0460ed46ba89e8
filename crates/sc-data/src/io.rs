//! Input and output: files of cells in every format, embeddings, JSON, and atomic writes.

#[cfg(feature = "files")]
pub mod annotations;
pub mod atomic;
#[cfg(feature = "files")]
pub mod export;
#[cfg(feature = "files")]
pub mod formats;
pub(crate) mod gzip;
#[cfg(feature = "files")]
pub mod h5;
#[cfg(feature = "files")]
pub mod h5ad;
pub mod json;
pub mod manifest;
#[cfg(feature = "files")]
pub mod rowstore;
#[cfg(feature = "files")]
pub mod store;

use std::path::PathBuf;

/// The folder of what can be computed again: `SCFM_CACHE`, else the user's cache folder, else the one
/// for temporary files.
pub fn cache_folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    if let Some(folder) = variable("SCFM_CACHE") {
        return folder.into();
    }
    variable("XDG_CACHE_HOME")
        .or_else(|| variable("LOCALAPPDATA"))
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|h| h.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("scfm")
}
