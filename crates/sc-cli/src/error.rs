//! Errors of the binary: a message for the user, on one line where possible.

use sc_run::RunError;
use sc_train::TrainError;
use std::path::Path;

/// Any error of a subcommand; the message is complete.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Result of a subcommand.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with this message.
pub(crate) fn message(text: impl Into<String>) -> Error {
    text.into().into()
}

/// An error about the file or folder at `path`.
pub(crate) fn at(path: &Path, text: impl std::fmt::Display) -> Error {
    message(format!("{}: {text}", path.display()))
}

/// Whether a training was stopped, and goes on when it is started again.
pub(crate) fn is_stopped(error: &Error) -> bool {
    let stopped = |e: &TrainError| matches!(e, TrainError::Stopped { .. });
    let of_run = |e: &RunError| matches!(e, RunError::Train(e) if stopped(e));
    error.downcast_ref().is_some_and(stopped) || error.downcast_ref().is_some_and(of_run)
}
