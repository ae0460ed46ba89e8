//! Honest evaluation of cell embeddings.
//!
//! No burn and no trainer here: embeddings are plain arrays `[cells, dims]`, labels are plain
//! codes, and everything is judged by the same metrics, probes and intervals, whatever made it.
//!
//! [`protocol`] runs everything; [`metrics`], [`probe`], [`baselines`] and [`bootstrap`] are its
//! parts and can be used alone.

pub mod baselines;
pub mod categories;
pub mod controls;
pub mod error;
pub mod metrics;
pub mod protocol;
pub mod results;
pub mod scored;

pub use categories::Categories;
pub use error::{EvalError, Undefined};
pub use scored::{Outcome, Scored};
