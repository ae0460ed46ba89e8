//! Training: objectives, the step loop, schedules, checkpoints.
//!
//! An architecture with its tokens and its objective is a [`task::Task`]; the step loop
//! ([`trainer::train`]) knows nothing else. Order of cells, masks, noise, dropout and learning rate
//! are pure functions of the seed and the step, so a checkpoint is weights, moments and a number,
//! and a killed run ends with the weights of one that was not.

pub mod adamw;
pub mod attention;
pub mod checkpoint;
mod columns;
pub mod config;
pub mod corpus;
pub mod data_spec;
pub mod embed;
pub mod error;
pub mod features;
pub mod import;
pub mod losses;
pub mod model;
pub mod places;
pub mod presets;
pub mod pretrain;
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
pub use data_spec::{DataSpec, Obs, Role};
pub use error::{Result, TrainError};
pub use model::Model;
pub use spec::{ModelSpec, Trainable};
