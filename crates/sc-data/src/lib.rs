//! Single-cell data for models: AnnData files, genes, counts, normalisation, tokenisers, splits.
//!
//! Everything here is a plain function over plain data: rows of counts are CSR ([`CsrMatrix`]),
//! what was done to them is in their type ([`RawCounts`], [`LogNormalized`]), and every random
//! draw is a pure function of `(seed, purpose, cell, epoch)` ([`rng::stream`]), so results do not
//! depend on minibatch size, thread count or chunking.

pub mod atomic;
pub mod categories;
pub mod collection;
pub mod counts;
#[cfg(feature = "files")]
pub mod dataset;
#[cfg(feature = "files")]
pub mod doctor;
pub mod error;
#[cfg(feature = "files")]
pub mod export;
pub mod features;
#[cfg(feature = "files")]
pub mod formats;
pub mod genes;
mod gzip;
#[cfg(feature = "files")]
pub mod h5;
#[cfg(feature = "files")]
pub mod h5ad;
pub mod hvg;
pub mod identity;
pub mod json;
pub mod keys;
pub mod loader;
pub mod manifest;
pub mod memory;
pub mod normalize;
pub mod ontology;
pub mod pca;
pub mod qc;
pub mod quantile;
pub mod rng;
#[cfg(feature = "files")]
pub mod rowstore;
pub mod sampler;
pub mod settings;
pub mod simulate;
mod slot;
pub mod sparse;
pub mod spatial;
pub mod split;
#[cfg(feature = "files")]
pub mod store;
pub mod tokens;

pub use categories::Categories;
pub use counts::{LogNormalized, RawCounts};
#[cfg(feature = "files")]
pub use dataset::Dataset;
pub use error::DataError;
#[cfg(feature = "files")]
pub use h5ad::{Column, H5ad, Missing};
pub use loader::Counts;
pub use slot::MatrixSlot;
pub use sparse::CsrMatrix;
#[cfg(feature = "files")]
pub use store::{CellStore, CountsPolicy, CountsReader, find_counts};
