//! From counts to values: normalisation, variable genes, principal components, quality control.

pub mod hvg;
pub mod normalize;
pub mod pca;
pub mod qc;
pub mod quantile;
pub mod spatial;
pub mod thin;
