//! Experiments as files: a [`matrix::Matrix`] names data sets, methods, seeds and devices; [`plan`]
//! resolves it to runs; each [`run::Run`] is a file that says all there is to know.
//!
//! No burn here: what plans and collects an experiment need not train. `sc-run` does the runs.

pub mod check;
pub mod error;
pub mod matrix;
pub mod plan;
pub mod run;

pub use error::{ExperimentError, Result};
