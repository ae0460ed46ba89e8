//! The error type of this crate: what is wrong, where, and what to do.

use std::path::PathBuf;

use crate::slot::MatrixSlot;

/// Any problem with the user's data or files.
///
/// Messages are lower case, name the file, the place and the value, and say what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// An error of the operating system.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file cannot be read as expected.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, where, and what to do.
        message: String,
    },
    /// No matrix of the file holds the requested values.
    #[error("{}: {message}", path.display())]
    NoCounts {
        /// The file.
        path: PathBuf,
        /// What its matrices hold instead, and what to do.
        message: String,
        /// Other matrices that hold integers.
        counts_in: Vec<MatrixSlot>,
        /// Matrices that hold log-normalised values.
        logged_in: Vec<MatrixSlot>,
    },
    /// A column of `obs` cannot be used as intended.
    #[error("{}: obs['{column}'] {message}", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its use, so that a program can name the setting.
        used_as: ColumnUse,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// There is no such column of `obs`.
    #[error("{}: obs has no column '{column}'; {there}", path.display())]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Which columns there are.
        there: String,
    },
    /// The genes of a file are not those of a model.
    #[error("{}{message}", in_front(path.as_ref()))]
    Genes {
        /// The file, if there is one.
        path: Option<PathBuf>,
        /// The genes on both sides, and what to do.
        message: String,
        /// The setting that would help, so that a program can name it.
        way_out: GenesWayOut,
    },
    /// The values are not what the operation needs.
    #[error("{0}")]
    Invalid(String),
}

/// The use of a column of `obs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnUse {
    /// Cell types, or other labels.
    Label,
    /// Sequencing batches.
    Batch,
    /// Donors.
    Donor,
}

/// What helps where the genes of a file do not match those of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenesWayOut {
    /// Matching orthologues of another organism.
    Orthologs,
    /// A lower share of matching genes.
    LowerOverlap,
    /// Other names, another file or another model.
    OtherNames,
}

fn in_front(path: Option<&PathBuf>) -> String {
    path.map_or(String::new(), |p| format!("{}: ", p.display()))
}

impl DataError {
    /// The same, about the file at `path` where none is given yet.
    #[must_use]
    pub fn in_file(self, path: impl Into<PathBuf>) -> Self {
        match self {
            Self::Invalid(message) => Self::file(path, message),
            Self::Genes {
                path: None,
                message,
                way_out,
            } => Self::Genes {
                path: Some(path.into()),
                message,
                way_out,
            },
            other => other,
        }
    }

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
