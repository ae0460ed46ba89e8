//! Single-cell data for models: AnnData files, genes, counts, normalisation, tokenisers, splits.
//!
//! Everything here is a plain function over plain data: rows of counts are CSR ([`CsrMatrix`]),
//! what was done to them is in their type ([`RawCounts`], [`LogNormalized`]), and every random
//! draw is a pure function of `(seed, purpose, cell, epoch)` ([`rng::stream`]), so results do not
//! depend on minibatch size, thread count or chunking.

pub mod atomic;
pub mod collection;
pub mod counts;
pub mod doctor;
pub mod error;
pub mod export;
pub mod features;
pub mod formats;
pub mod genes;
mod gzip;
pub mod h5;
pub mod h5ad;
pub mod hvg;
pub mod identity;
pub mod loader;
pub mod normalize;
pub mod ontology;
pub mod pca;
pub mod qc;
pub mod rng;
pub mod rowstore;
pub mod sampler;
pub mod simulate;
pub mod sparse;
pub mod spatial;
pub mod split;
pub mod store;
pub mod tokens;

pub use counts::{LogNormalized, RawCounts};
pub use error::DataError;
pub use h5ad::{Column, Factor, H5ad, MatrixSlot, Missing};
pub use loader::Counts;
pub use sparse::CsrMatrix;
pub use store::{CellStore, CountsPolicy, CountsReader, find_counts};
