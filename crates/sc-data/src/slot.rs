//! The matrices of an AnnData file by name.

use crate::error::{DataError, Result};
use std::fmt;

/// A matrix of an AnnData file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MatrixSlot {
    /// `X`.
    X,
    /// `raw/X`, with its own genes.
    Raw,
    /// `layers/<name>`.
    Layer(String),
}

impl fmt::Display for MatrixSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X => f.write_str("X"),
            Self::Raw => f.write_str("raw/X"),
            Self::Layer(name) => write!(f, "layers/{name}"),
        }
    }
}

impl std::str::FromStr for MatrixSlot {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "X" | "x" => Ok(Self::X),
            "raw" | "raw/X" | "raw.X" => Ok(Self::Raw),
            other => match other.strip_prefix("layers/") {
                Some(name) if !name.is_empty() => Ok(Self::Layer(name.to_owned())),
                _ => Err(DataError::invalid(format!(
                    "'{other}' is not a matrix; use X, raw/X or layers/NAME"
                ))),
            },
        }
    }
}
