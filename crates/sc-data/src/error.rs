//! The one error type of this crate: what was wrong, where, and the way out.

use std::path::PathBuf;

use crate::slot::MatrixSlot;

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
    /// A column of `obs` is not what it is used as.
    #[error("{}: obs['{column}'] {message}", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What it is used as, for a program to say which of its settings names it.
        used_as: ColumnUse,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// The genes of a file are not those of a model.
    #[error("{}{message}", in_front(path.as_ref()))]
    Genes {
        /// The file, if there is one.
        path: Option<PathBuf>,
        /// What both have, and what to do.
        message: String,
        /// Which setting would help, for a program to say what it calls it.
        way_out: GenesWayOut,
    },
    /// The values are not what the operation needs.
    #[error("{0}")]
    Invalid(String),
}

/// What a column of `obs` is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnUse {
    /// Cell types, or whatever else is to be told apart.
    Label,
    /// Sequencing batches.
    Batch,
    /// Donors.
    Donor,
}

/// What helps where the genes of a file are not those of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenesWayOut {
    /// Taking orthologues for genes of another organism.
    Orthologs,
    /// A lower share of genes that must match.
    LowerOverlap,
    /// Nothing but other names, another file or another model.
    OtherNames,
}

fn in_front(path: Option<&PathBuf>) -> String {
    path.map_or(String::new(), |p| format!("{}: ", p.display()))
}

impl DataError {
    /// The same, about the file at `path` where none is named yet.
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
