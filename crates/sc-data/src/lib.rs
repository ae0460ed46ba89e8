//! Single-cell data for models: AnnData files, genes, counts, normalisation, tokenisers, splits.
//!
//! Everything here is a plain function over plain data: rows of counts are CSR ([`CsrMatrix`]),
//! what was done to them is in their type ([`RawCounts`], [`LogNormalized`]), and every random
//! draw is a pure function of `(seed, purpose, cell, epoch)` ([`rng::stream`]), so results do not
//! depend on minibatch size, thread count or chunking.

pub mod counts;
pub mod error;
pub mod rng;
pub mod sparse;

pub use counts::{LogNormalized, RawCounts};
pub use error::DataError;
pub use sparse::CsrMatrix;
