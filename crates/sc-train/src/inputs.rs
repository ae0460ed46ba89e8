//! Inputs of the networks: cells of a data set in the columns of a vocabulary, columns of `obs`,
//! and tables of genes.

pub(crate) mod columns;
pub mod corpus;
pub mod data_spec;
pub mod features;
pub mod places;
pub mod proteins;
