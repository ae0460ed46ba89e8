//! The error type of this crate.

use crate::import::PublishedFile;
use sc_data::DataError;
use sc_models::ModelError;
use std::path::{Path, PathBuf};

/// Any error in training or embedding.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// An error of the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An error of the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A setting that names a column of `obs` that is not there.
    #[error("{source}; {key} names it")]
    NoColumn {
        /// The setting.
        key: String,
        /// Which columns there are.
        source: DataError,
    },
    /// A setting that cannot be trained with.
    #[error("{0}")]
    Config(String),
    /// A setting that the objective does not use.
    #[error("{architecture}: {setting} is not used with objective = '{objective}'; remove it")]
    Unused {
        /// The architecture.
        architecture: String,
        /// The setting, with its table.
        setting: String,
        /// The objective.
        objective: String,
    },
    /// The loss is NaN or infinite.
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
        /// The learning rate that is configured; that of a step may be lower.
        learning_rate: f64,
        /// The last checkpoint, if one was written.
        checkpoint: Option<PathBuf>,
    },
    /// Training was stopped; it resumes from its last checkpoint.
    #[error("stopped after step {step} of {steps}; run the same command again to resume")]
    Stopped {
        /// Steps done.
        step: u64,
        /// Steps of the whole run.
        steps: u64,
    },
    /// Published weights that are incomplete by themselves.
    #[error("{}: {message}", path.display())]
    Unpublished {
        /// The weights, or a missing file next to them.
        path: PathBuf,
        /// What is missing.
        message: String,
        /// What must be given.
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
        None => "no checkpoint has been written yet".to_owned(),
    }
}

impl TrainError {
    /// The same, of a column that the setting `key` names.
    pub(crate) fn of_column(e: DataError, key: impl Into<String>) -> Self {
        match e {
            DataError::NoColumn { .. } => Self::NoColumn {
                key: key.into(),
                source: e,
            },
            other => Self::Data(other),
        }
    }

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
