//! The one error type of this crate: what was wrong, where, and the way out.

use std::path::PathBuf;

use crate::h5ad::MatrixSlot;

/// Anything that can be wrong with the user's data or files.
///
/// Messages are lower case, name the file, the place and the value, and say what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file cannot be read as what it should be.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, where, and what to do.
        message: String,
    },
    /// No matrix of the file holds the values that were asked for.
    #[error("{}: {message}", path.display())]
    NoCounts {
        /// The file.
        path: PathBuf,
        /// What its matrices hold instead, and what to do.
        message: String,
        /// Matrices that were not looked for and hold integers.
        counts_in: Vec<MatrixSlot>,
        /// Matrices that hold log-normalised values.
        logged_in: Vec<MatrixSlot>,
    },
    /// The values are not what the operation needs.
    #[error("{0}")]
    Invalid(String),
}

impl DataError {
    /// An [`DataError::Io`] for `path`.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }

    /// A [`DataError::File`] for `path`.
    pub fn file(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::File {
            path: path.into(),
            message: message.into(),
        }
    }

    /// A [`DataError::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }
}

/// Result of everything in this crate.
pub type Result<T, E = DataError> = std::result::Result<T, E>;
