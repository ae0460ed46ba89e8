//! What the networks are given: cells of a data set in the columns of a vocabulary, what `obs` says of
//! them, and tables of genes.

pub(crate) mod columns;
pub mod corpus;
pub mod data_spec;
pub mod features;
pub mod places;
pub mod proteins;
