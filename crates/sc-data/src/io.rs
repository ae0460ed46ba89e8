//! Files: of cells in every format, of embeddings, of JSON, and how they are written whole or not at
//! all.

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
