//! Single-cell data for models: AnnData files, genes, counts, normalisation, tokenisers, splits.
//!
//! Everything here is a plain function over plain data: rows of counts are CSR ([`CsrMatrix`]),
//! transformations are recorded in the type ([`RawCounts`], [`LogNormalized`]), and every random
//! draw is a pure function of `(seed, purpose, cell, epoch)` ([`rng::stream`]), so results do not
//! depend on minibatch size, thread count or chunking.
//!
//! | module | content |
//! |---|---|
//! | [`dataset`](self), `doctor` | the user's data, opened and checked |
//! | `io` | AnnData, HDF5 and the other formats, in and out; row-packed stores; atomic writes |
//! | [`genes`] | names, vocabularies, features, ontologies |
//! | [`preprocess`] | normalisation, variable genes, PCA, quality control |
//! | [`sampling`] | selection and order of cells, splits |
//! | [`tokens`] | a cell as the input of a model |
//! | [`simulate`] | counts with known types, donors and batches |

// Helpers whose callers all read files.
#![cfg_attr(not(feature = "files"), allow(dead_code))]

pub mod categories;
pub mod counts;
#[cfg(feature = "files")]
pub mod dataset;
#[cfg(feature = "files")]
pub mod doctor;
pub mod error;
pub mod genes;
pub mod identity;
pub mod io;
pub mod memory;
pub mod preprocess;
pub mod rng;
pub mod sampling;
pub mod settings;
pub mod simulate;
mod slot;
pub mod sparse;
pub mod tokens;

pub use categories::Categories;
pub use counts::{LogNormalized, RawCounts};
#[cfg(feature = "files")]
pub use dataset::Dataset;
pub use error::DataError;
#[cfg(feature = "files")]
pub use io::h5ad::{Column, H5ad, Missing};
#[cfg(feature = "files")]
pub use io::store::{CellStore, CountsPolicy, CountsReader, find_counts};
pub use sampling::loader::Counts;
pub use slot::MatrixSlot;
pub use sparse::CsrMatrix;
