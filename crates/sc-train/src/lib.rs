//! Training: objectives, the step loop, schedules, checkpoints.
//!
//! An architecture with its tokens and its objective is a [`task::Task`]; the step loop
//! ([`trainer::train`]) knows nothing else. Order of cells, masks, noise, dropout and learning rate
//! are pure functions of the seed and the step, so a checkpoint is weights, moments and a number,
//! and a killed run ends with the weights of one that was not.

pub mod adamw;
pub mod attention;
pub mod checkpoint;
pub mod config;
pub mod corpus;
pub mod error;
pub mod facts;
pub mod features;
pub mod import;
pub mod keys;
pub mod losses;
pub mod places;
pub mod proteins;
pub mod registry;
pub mod size;
pub mod spec;
pub mod task;
pub mod tasks;
pub mod timing;
pub mod trainer;

pub use config::TrainConfig;
pub use corpus::{CellBatch, Corpus, Counts};
pub use error::{Result, TrainError};
pub use facts::{Facts, Obs, Role};
pub use spec::{ModelSpec, Trainable};
