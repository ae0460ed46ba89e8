//! The error type of this crate.

use crate::import::PublishedFile;
use sc_data::DataError;
use sc_models::ModelError;
use std::path::{Path, PathBuf};

/// Anything that stops training or embedding.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A setting that cannot be trained with.
    #[error("{0}")]
    Config(String),
    /// The loss is no longer a number.
    #[error(
        "training diverged at step {step}: {term} is {value}; {}; lower train.learning_rate (now \
         {learning_rate:e}) or train.clip", kept(checkpoint.as_deref())
    )]
    Diverged {
        /// The step, from 1.
        step: u64,
        /// The loss term, or `gradient`.
        term: String,
        /// Its value.
        value: f64,
        /// The learning rate of the step.
        learning_rate: f64,
        /// The last checkpoint, if one was written.
        checkpoint: Option<PathBuf>,
    },
    /// Training was stopped from outside; it goes on from its last checkpoint.
    #[error("stopped after step {step} of {steps}; the same command goes on from there")]
    Stopped {
        /// Steps done.
        step: u64,
        /// Steps of the whole run.
        steps: u64,
    },
    /// Published weights that do not say everything themselves.
    #[error("{}: {message}", path.display())]
    Unpublished {
        /// The weights, or a file that is not beside them.
        path: PathBuf,
        /// What is missing.
        message: String,
        /// What has to be named.
        needs: PublishedFile,
    },
    /// A file could not be read or written.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
}

fn kept(checkpoint: Option<&Path>) -> String {
    match checkpoint {
        Some(path) => format!("the last good checkpoint is {}", path.display()),
        None => "no checkpoint was written yet".to_owned(),
    }
}

impl TrainError {
    /// A [`TrainError::File`] for `path`.
    pub fn file(path: impl Into<PathBuf>, message: impl ToString) -> Self {
        Self::File {
            path: path.into(),
            message: message.to_string(),
        }
    }
}

/// Result of everything in this crate.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;
