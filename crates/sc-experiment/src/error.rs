//! The error type of this crate.

use sc_data::DataError;
use std::path::Path;

/// Anything that is wrong with an experiment before it begins.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExperimentError {
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A fault in a configuration.
    #[error("{file}: {message}")]
    Config {
        /// The file, or the key.
        file: String,
        /// What is wrong, and what to do.
        message: String,
    },
}

impl ExperimentError {
    /// A fault in a configuration.
    pub fn config(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Config {
            file: file.into(),
            message: message.into(),
        }
    }

    /// The same, of the matrix or run that is called `name`.
    pub(crate) fn in_file(self, name: &str) -> Self {
        match self {
            Self::Config { file, message } if file != name => {
                Self::config(name, format!("{file}: {message}"))
            }
            Self::Data(DataError::Invalid(message)) => Self::config(name, message),
            other => other,
        }
    }

    /// Adds the path to what the system said.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Data(DataError::io(path, source))
    }
}

/// Result of everything in this crate.
pub type Result<T, E = ExperimentError> = std::result::Result<T, E>;
