//! Honest evaluation of cell embeddings.
//!
//! No burn and no trainer here: embeddings are plain arrays `[cells, dims]`, labels are plain
//! codes, and everything is judged by the same metrics, probes and intervals, whatever made it.
//!
//! [`protocol`] runs everything; [`metrics`], [`probe`], [`baselines`] and [`halves`] are its
//! parts and can be used alone.

pub mod baselines;
pub mod benchmark;
pub mod categories;
pub mod cluster;
pub mod controls;
mod eigen;
pub mod error;
pub mod exposure;
pub mod graph;
pub mod grn;
pub mod halves;
pub mod layout;
pub mod metrics;
pub mod neighbors;
mod pairs;
pub mod perturbation;
pub mod probe;
pub mod protocol;
pub mod report;
pub mod results;
pub mod scib;

pub use categories::Categories;
pub use error::{EvalError, Outcome, Undefined};
