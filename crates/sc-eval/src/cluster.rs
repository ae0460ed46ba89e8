//! Clusterings of cells: k-means and Leiden.

pub mod kmeans;
pub mod leiden;
