//! `tokenizer.json`: the tokeniser a model was trained with, and its parameters.

use serde::{Deserialize, Serialize};

use super::bins::MAX_BINS;
use super::macrogenes::Score;
use super::profile::ProfileConfig;
use super::ranks::RankConfig;
use super::sampled::Normalization;
use super::uce::UceConfig;
use crate::error::{DataError, Result};

/// What a patch of scCLIP holds of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PatchValue {
    /// `ln(1 + scaled count)` over the largest of the gene in the training cells (RNA).
    #[default]
    MaxAbs,
    /// `ln(1 + scaled count)`.
    Log1p,
    /// 1 where there is anything (ATAC).
    Binary,
}

/// A tokeniser with its parameters.
///
/// Tables of a tokeniser (technology means, chromosome tables, centroids) are separate files;
/// `table` is their blake3 hash, so that a model is never used with another table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Tokenizer {
    /// scGPT's and scFormer's value bins.
    Bins {
        /// Bins, including 0.
        bins: usize,
        /// Whether ties go to the highest bin (scFormer) or are drawn (scGPT).
        ties: Ties,
        /// Maximum number of genes per cell.
        length: usize,
    },
    /// `ln(1 + x)` of counts scaled to `target`, or of the counts themselves without.
    Log1p {
        /// Counts per cell after scaling.
        target: Option<f64>,
    },
    /// UCE's sentences along the chromosomes.
    Uce {
        /// Sizes and special tokens.
        #[serde(flatten)]
        config: UceConfig,
        /// Hash of the chromosome table.
        table: Option<String>,
    },
    /// SATURN's macrogenes.
    Macrogenes {
        /// Number of macrogenes.
        macrogenes: usize,
        /// How ranks are converted to scores.
        score: Score,
        /// Hash of the centroids.
        table: Option<String>,
    },
    /// scPRINT's sampled genes.
    Sampled {
        /// Genes per cell.
        length: usize,
        /// Transformation of the counts that are the network's input.
        normalization: Normalization,
    },
    /// Nicheformer's ranks.
    Ranks {
        /// Sizes, and use of the technology mean.
        #[serde(flatten)]
        config: RankConfig,
        /// Hash of the means.
        table: Option<String>,
    },
    /// scHyena's whole profile.
    Profile {
        /// Transformation and masking.
        #[serde(flatten)]
        config: ProfileConfig,
    },
    /// scCLIP's patches.
    Patches {
        /// Number of patches.
        patches: usize,
        /// Transformation of values in a patch.
        value: PatchValue,
        /// Hash of the features in their order.
        table: Option<String>,
    },
    /// Cells as tokens.
    Sentences {
        /// Maximum number of cells per sentence.
        cells: usize,
    },
}

/// Bin of a value on an edge shared by several bins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ties {
    /// One of them at random.
    #[default]
    Random,
    /// The highest.
    Highest,
}

impl Tokenizer {
    /// Reads and checks a description.
    ///
    /// # Errors
    /// [`DataError::Invalid`] with the reason and position.
    pub fn from_json(text: &str) -> Result<Self> {
        let parsed: Self = serde_json::from_str(text)
            .map_err(|e| DataError::invalid(format!("tokenizer.json: {e}")))?;
        parsed.check()?;
        Ok(parsed)
    }

    /// The description as JSON.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when a number cannot be written (NaN).
    pub fn to_json(&self) -> Result<String> {
        self.check()?;
        serde_json::to_string_pretty(self).map_err(|e| DataError::invalid(e.to_string()))
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// [`DataError::Invalid`] with the parameter, its value and the allowed range.
    pub fn check(&self) -> Result<()> {
        let positive = |name: &str, value: usize| range(name, value, 1, 1 << 24);
        let share = |name: &str, value: f64| real(name, value, 0.0, 1.0);
        match self {
            Self::Bins { bins, length, .. } => {
                range("bins", *bins, 2, MAX_BINS)?;
                positive("length", *length)
            }
            Self::Log1p { target } => target.map_or(Ok(()), |t| real("target", t, 1e-3, 1e12)),
            Self::Uce { config, table } => {
                hash(table)?;
                positive("sample", config.sample)?;
                range("length", config.length, config.sample + 3, 1 << 24)
            }
            Self::Macrogenes {
                macrogenes, table, ..
            } => {
                hash(table)?;
                positive("macrogenes", *macrogenes)
            }
            Self::Sampled { length, .. } => positive("length", *length),
            Self::Ranks { config, table } => {
                hash(table)?;
                positive("length", config.length)?;
                range("context_length", config.context_length, 4, 1 << 24)
            }
            Self::Profile { config } => {
                real("target", config.target, 1e-3, 1e12)?;
                share("mask", config.mask)
            }
            Self::Patches { patches, table, .. } => {
                hash(table)?;
                positive("patches", *patches)
            }
            Self::Sentences { cells } => positive("cells", *cells),
        }
    }
}

fn range(name: &str, value: usize, low: usize, high: usize) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(DataError::invalid(format!(
        "tokenizer: {name} is {value}, but must lie between {low} and {high}"
    )))
}

fn real(name: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(DataError::invalid(format!(
        "tokenizer: {name} is {value}, but must lie between {low} and {high}"
    )))
}

fn hash(table: &Option<String>) -> Result<()> {
    match table {
        Some(h) if h.len() != 64 || !h.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Err(DataError::invalid(format!(
                "tokenizer: table is '{h}', but must be a blake3 hash of 64 hexadecimal digits"
            )))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_survive_and_bad_ones_are_refused() {
        let all = [
            Tokenizer::Bins {
                bins: 51,
                ties: Ties::Random,
                length: 1200,
            },
            Tokenizer::Log1p { target: Some(1e4) },
            Tokenizer::Uce {
                config: UceConfig::default(),
                table: Some("a".repeat(64)),
            },
            Tokenizer::Macrogenes {
                macrogenes: 2000,
                score: Score::Default,
                table: None,
            },
            Tokenizer::Sampled {
                length: 2200,
                normalization: Normalization::Sum,
            },
            Tokenizer::Ranks {
                config: RankConfig::default(),
                table: None,
            },
            Tokenizer::Profile {
                config: ProfileConfig::default(),
            },
            Tokenizer::Patches {
                patches: 128,
                value: PatchValue::Binary,
                table: None,
            },
            Tokenizer::Sentences { cells: 2000 },
        ];
        for tokenizer in all {
            let text = tokenizer.to_json().unwrap();
            assert_eq!(Tokenizer::from_json(&text).unwrap(), tokenizer, "{text}");
        }
        for (text, part) in [
            ("{}", "kind"),
            (
                r#"{"kind":"bins","bins":1,"ties":"random","length":5}"#,
                "bins is 1",
            ),
            (
                r#"{"kind":"profile","target":1e4,"mask":2.0,"permute":null}"#,
                "mask is 2",
            ),
            (r#"{"kind":"sentences","cells":5,"more":1}"#, "more"),
            (r#"{"kind":"log1p","target":null"#, "tokenizer.json"),
            (
                r#"{"kind":"patches","patches":8,"value":"binary","table":"x"}"#,
                "table is 'x'",
            ),
        ] {
            let error = Tokenizer::from_json(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
