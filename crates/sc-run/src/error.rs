//! The error type of this crate.

use sc_data::DataError;
use sc_eval::EvalError;
use sc_eval::benchmark::BenchmarkError;
use sc_experiment::ExperimentError;
use sc_models::ModelError;
use sc_train::TrainError;
use std::path::Path;

/// Any error of a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// An error of the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An error of the model or its training.
    #[error(transparent)]
    Train(TrainError),
    /// An error of the evaluation.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// An invalid setting of the run.
    #[error("{place}: {message}")]
    Settings {
        /// The file, or the key.
        place: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// A network that does not fit into memory.
    #[error(
        "the network has {parameters} parameters, which need {needed:.1} GB, but {free:.1} GB are free; \
         make it smaller (widths, layers, vocabulary.genes)"
    )]
    TooLarge {
        /// Number of parameters.
        parameters: usize,
        /// Gigabytes it needs.
        needed: f64,
        /// Free gigabytes.
        free: f64,
    },
}

impl RunError {
    /// The same, of the run that `file` says, where no file is named yet.
    pub(crate) fn in_file(self, file: &Path) -> Self {
        let file = file.display();
        match self {
            Self::Settings { place, message } => {
                Self::settings(format!("{file}: {place}"), message)
            }
            Self::Data(DataError::Invalid(message))
            | Self::Train(TrainError::Config(message))
            | Self::Eval(EvalError::Invalid(message)) => Self::settings(file.to_string(), message),
            other => other,
        }
    }

    /// A fault in the settings of a run.
    pub fn settings(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Settings {
            place: place.into(),
            message: message.into(),
        }
    }
}

// Errors of the data are reported as such, wherever they occur.
impl From<TrainError> for RunError {
    fn from(e: TrainError) -> Self {
        match e {
            TrainError::Data(e) => Self::Data(e),
            other => Self::Train(other),
        }
    }
}

impl From<BenchmarkError> for RunError {
    fn from(e: BenchmarkError) -> Self {
        match e {
            BenchmarkError::Data(e) => Self::Data(e),
            BenchmarkError::Eval(e) => Self::Eval(e),
            other => Self::settings("benchmark", other.to_string()),
        }
    }
}

impl From<ExperimentError> for RunError {
    fn from(e: ExperimentError) -> Self {
        match e {
            ExperimentError::Data(e) => Self::Data(e),
            ExperimentError::Config { file, message } => Self::settings(file, message),
            other => Self::settings("experiment", other.to_string()),
        }
    }
}

impl From<ModelError> for RunError {
    fn from(e: ModelError) -> Self {
        Self::Train(e.into())
    }
}

/// Result of everything in this crate.
pub type Result<T, E = RunError> = std::result::Result<T, E>;
