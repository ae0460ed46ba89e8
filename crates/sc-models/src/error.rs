//! The error type of this crate.

use std::path::PathBuf;

/// Any error in building, loading or saving a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// An invalid configuration, with what to change.
    #[error("{0}")]
    Config(String),
    /// The device was not compiled in, or its name is invalid.
    #[error("{0}")]
    Device(String),
    /// Weights that do not match the model; lists every tensor concerned.
    #[error("{0}")]
    Weights(String),
    /// A file could not be read or written.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
}

impl ModelError {
    /// A [`ModelError::File`] for `path`.
    pub fn file(path: impl Into<PathBuf>, message: impl ToString) -> Self {
        Self::File {
            path: path.into(),
            message: message.to_string(),
        }
    }
}

/// Result of everything in this crate.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;
