//! Errors outside of the runs themselves.

use std::path::{Path, PathBuf};

/// An error that ends the task, with exit code 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{file}: {message}")]
    Config { file: String, message: String },
    #[error("`{command}` {what}")]
    Process { command: String, what: String },
    #[error("{what}: {source}")]
    Json {
        what: String,
        source: serde_json::Error,
    },
    #[error(transparent)]
    Data(#[from] sc_data::DataError),
    #[error(transparent)]
    Experiment(#[from] sc_experiment::ExperimentError),
    #[error("report: {0}")]
    Report(#[from] sc_eval::report::ReportError),
}

impl Error {
    /// An invalid configuration.
    pub(crate) fn config(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Config {
            file: file.into(),
            message: message.into(),
        }
    }

    /// Adds the path to an input or output error.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// Adds the input or output to a JSON error.
    pub(crate) fn json(what: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Self {
        let what = what.into();
        |source| Self::Json { what, source }
    }
}
