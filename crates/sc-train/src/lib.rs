//! Training: objectives, the step loop, schedules, checkpoints.
//!
//! An architecture with its tokeniser and its objective is a [`task::Task`]; the step loop
//! ([`training::trainer::train`]) is independent of the rest. Order of cells, masks, noise,
//! dropout and learning rate are pure functions of the seed and the step, so a checkpoint is
//! weights, moments and a number, and a resumed run ends with the same weights as an uninterrupted
//! one.
//!
//! A program that trains or embeds on the CPU calls [`sc_data::memory::keep_freed`] first; on Linux
//! some architectures are then several times as fast.

pub mod attention;
pub mod embed;
pub mod error;
pub mod finetune;
pub mod gene_vectors;
pub mod import;
pub mod inputs;
pub mod losses;
pub mod model;
pub mod perturbation;
pub mod predict;
pub mod presets;
pub mod pretrain;
pub mod registry;
pub mod size;
pub mod spec;
pub mod task;
pub mod tasks;
pub mod training;

pub use error::{Result, TrainError};
pub use inputs::corpus::{CellBatch, Corpus, Counts};
pub use inputs::data_spec::{DataSpec, Obs, Role};
pub use model::Model;
pub use spec::{ModelSpec, Trainable};
pub use training::config::TrainConfig;
