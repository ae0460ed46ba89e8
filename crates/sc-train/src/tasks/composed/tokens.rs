//! Tokenisers of all published kinds.

use super::COMPOSED;
use crate::error::{Result, TrainError};
use crate::inputs::data_spec::DataSpec;
use crate::inputs::places::places;
use sc_data::tokens::profile::{self, ProfileConfig, profile};
use sc_data::tokens::ranks::{self, FIRST_GENE, MeanMode, RankConfig, rank};
use sc_data::tokens::sampled::{self, Normalization};
use sc_data::tokens::uce::{Located, UceConfig as Layout, sentence};
use sc_data::tokens::{Ties, Tokenizer, bin_cell, bin_row_highest, part};
use sc_models::composed::{SPECIAL_TOKENS, special};
use sc_models::ranges;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// The tokeniser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TokenKind {
    /// Expressed genes with binned values (scGPT).
    Bins {
        /// Maximum number of genes per cell; larger cells use a random sample.
        #[serde(default = "length")]
        length: usize,
        /// Bins, including 0.
        #[serde(default = "bins")]
        bins: usize,
        /// How ties are broken.
        #[serde(default)]
        ties: Ties,
    },
    /// Expressed genes with log-normalised values: bins without the binning.
    LogValues {
        /// Maximum number of genes per cell; larger cells use a random sample.
        #[serde(default = "length")]
        length: usize,
        /// Counts per cell before `ln(1 + x)`.
        #[serde(default = "target")]
        target: f64,
    },
    /// Expressed genes without values, ranked by expression over the mean (Nicheformer).
    Ranks {
        /// Maximum number of genes per cell.
        #[serde(default = "length")]
        length: usize,
        /// Use of the mean over the training cells.
        #[serde(default)]
        mean: MeanMode,
    },
    /// Every gene with its log-normalised value (scHyena).
    Profile {
        /// Counts per cell before `ln(1 + x)`.
        #[serde(default = "target")]
        target: f64,
    },
    /// A fixed number of genes with values, expressed ones first (scPRINT).
    Sampled {
        /// Genes per cell.
        #[serde(default = "length")]
        length: usize,
        /// Transformation of the counts.
        #[serde(default = "logarithm")]
        normalization: Normalization,
    },
    /// Genes sampled by expression, along the chromosomes, without values (UCE).
    Sentence {
        /// Number of sampled genes.
        #[serde(default = "length")]
        sample: usize,
        /// `species_chrom.csv`, or none for all genes in one row.
        #[serde(default)]
        chromosomes: Option<PathBuf>,
        /// The species in that table.
        #[serde(default = "human")]
        species: String,
    },
}

fn length() -> usize {
    256
}
fn bins() -> usize {
    51
}
fn target() -> f64 {
    1e4
}
fn logarithm() -> Normalization {
    Normalization::Log
}
fn human() -> String {
    "human".into()
}

impl Default for TokenKind {
    fn default() -> Self {
        Self::Bins {
            length: length(),
            bins: bins(),
            ties: Ties::default(),
        }
    }
}

impl TokenKind {
    /// Checks the values; `of` is the path of the setting.
    pub(super) fn check(&self, of: &str) -> Result<()> {
        let length = |n: usize| ranges::sizes(of, &[("tokens.length", n)]);
        let target = |t: f64| ranges::positive(of, &[("tokens.target", t)]);
        Ok(match self {
            Self::Bins { length: n, .. }
            | Self::Ranks { length: n, .. }
            | Self::Sampled { length: n, .. } => length(*n),
            Self::LogValues {
                length: n,
                target: t,
            } => length(*n).and_then(|()| target(*t)),
            Self::Profile { target: t } => target(*t),
            Self::Sentence { sample, .. } => ranges::sizes(of, &[("tokens.sample", *sample)]),
        }?)
    }

    /// The name in configurations.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Bins { .. } => "bins",
            Self::LogValues { .. } => "log-values",
            Self::Ranks { .. } => "ranks",
            Self::Profile { .. } => "profile",
            Self::Sampled { .. } => "sampled",
            Self::Sentence { .. } => "sentence",
        }
    }

    /// Whether tokens have values.
    pub(super) fn have_values(&self) -> bool {
        !matches!(self, Self::Ranks { .. } | Self::Sentence { .. })
    }

    /// Whether their order is informative.
    pub(super) fn are_ordered(&self) -> bool {
        !self.have_values()
    }
}

/// Tokens of one cell, without the cell token.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CellTokens {
    /// Rows of the token table.
    pub(super) ids: Vec<u32>,
    /// Their values, if any.
    pub(super) values: Vec<f32>,
}

/// Tokens of one vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tokens {
    kind: TokenKind,
    genes: usize,
    /// Divisors of counts before ranking.
    means: Arc<Vec<f32>>,
    located: Arc<Vec<Option<Located>>>,
    layout: Layout,
    /// Order of a profile.
    order: Arc<Vec<u32>>,
    chromosomes: usize,
}

impl Tokens {
    pub(super) fn new(kind: TokenKind, data: &DataSpec) -> Result<Self> {
        let genes = data.genes.len();
        let mut tokens = Self {
            kind,
            genes,
            means: Arc::default(),
            located: Arc::default(),
            layout: Layout::default(),
            order: Arc::default(),
            chromosomes: 0,
        };
        match &mut tokens.kind {
            TokenKind::Ranks { mean, .. } => {
                let mode = match data.means.len() == genes {
                    true => *mean,
                    false => MeanMode::None,
                };
                let known = match mode {
                    MeanMode::None => vec![1.0; genes],
                    _ => data.means.to_vec(),
                };
                tokens.means = Arc::new(ranks::means(&known, mode));
            }
            TokenKind::Profile { .. } => tokens.order = Arc::new(profile::order(genes, None)),
            TokenKind::Sampled { length, .. } => *length = (*length).min(genes),
            TokenKind::Sentence {
                sample,
                chromosomes,
                species,
            } => {
                let located = places(data, chromosomes.as_deref(), species, 0)?;
                let codes = located.iter().flatten().map(|g| g.chromosome + 1).max();
                tokens.chromosomes = codes.unwrap_or(0) as usize;
                let at = |special: usize| (genes + special) as u32;
                tokens.layout = Layout {
                    sample: *sample,
                    length: 1 + *sample + 2 * tokens.chromosomes,
                    chromosome_offset: at(SPECIAL_TOKENS),
                    pad: at(special::PAD),
                    close: at(special::CLOSE),
                    cls: at(special::CLS),
                };
                tokens.located = Arc::new(located);
            }
            TokenKind::Bins { .. } | TokenKind::LogValues { .. } => {}
        }
        if tokens.longest() == 0 {
            return Err(TrainError::Config(format!(
                "{}: input.tokens.length must be at least 1",
                COMPOSED.name
            )));
        }
        tokens.description().check()?;
        Ok(tokens)
    }

    /// Rows of the token table: genes, special tokens, chromosomes.
    pub(super) fn table(&self) -> usize {
        self.genes + SPECIAL_TOKENS + self.chromosomes
    }

    /// Maximum number of tokens per cell, without the cell token.
    pub(super) fn longest(&self) -> usize {
        match &self.kind {
            TokenKind::Bins { length, .. }
            | TokenKind::LogValues { length, .. }
            | TokenKind::Ranks { length, .. }
            | TokenKind::Sampled { length, .. } => (*length).min(self.genes),
            TokenKind::Profile { .. } => self.genes,
            TokenKind::Sentence { .. } => self.layout.length - 1,
        }
    }

    /// A special token, by its index in [`special`].
    pub(super) fn special(&self, place: usize) -> u32 {
        (self.genes + place) as u32
    }

    /// Tokens of a cell with these counts; `key` is the seed, the cell and the epoch.
    pub(super) fn of(
        &self,
        (genes, counts): (&[u32], &[f32]),
        key: [u64; 3],
    ) -> Result<CellTokens> {
        let [seed, cell, epoch] = key;
        Ok(match &self.kind {
            TokenKind::Bins {
                length, bins, ties, ..
            } if !genes.is_empty() => {
                let bins = match ties {
                    Ties::Random => bin_cell(counts, *bins, seed, cell, epoch),
                    Ties::Highest => bin_row_highest(counts, *bins),
                }?;
                let values: Vec<f32> = bins.into_iter().map(|b| b as f32).collect();
                some(genes, &values, *length, key)
            }
            TokenKind::Bins { .. } => CellTokens::default(),
            TokenKind::LogValues { length, target } => {
                let total: f64 = counts.iter().map(|&c| f64::from(c)).sum();
                let scale = target / total.max(f64::MIN_POSITIVE);
                let log = |&c: &f32| (f64::from(c) * scale).ln_1p() as f32;
                let values: Vec<f32> = counts.iter().map(log).collect();
                some(genes, &values, *length, key)
            }
            TokenKind::Ranks { length, .. } => {
                let ranked = rank(genes, counts, &self.means, *length)?;
                CellTokens {
                    ids: ranked.into_iter().map(|t| t - FIRST_GENE).collect(),
                    values: Vec::new(),
                }
            }
            TokenKind::Profile { target } => CellTokens {
                ids: (0..self.genes as u32).collect(),
                values: profile(genes, counts, *target, &self.order)?,
            },
            TokenKind::Sampled {
                length,
                normalization,
            } => {
                let shown = sampled::sample(genes, counts, self.genes, *length, key)?;
                CellTokens {
                    values: sampled::normalize(&shown.counts, *normalization),
                    ids: shown.genes,
                }
            }
            TokenKind::Sentence { .. } => {
                let placed = |g: u32| self.located.get(g as usize).is_some_and(Option::is_some);
                let mut pairs = genes.iter().zip(counts);
                if !pairs.any(|(&g, &c)| c > 0.0 && placed(g)) {
                    return Ok(CellTokens::default());
                }
                let made = sentence(&self.layout, &self.located, (genes, counts), key)?;
                CellTokens {
                    ids: made.tokens[1..made.len].to_vec(),
                    values: Vec::new(),
                }
            }
        })
    }

    /// The tokeniser, for `tokenizer.json`.
    pub(super) fn description(&self) -> Tokenizer {
        match &self.kind {
            TokenKind::Bins { length, bins, ties } => Tokenizer::Bins {
                bins: *bins,
                ties: *ties,
                length: *length,
            },
            TokenKind::LogValues { target, .. } => Tokenizer::Log1p {
                target: Some(*target),
            },
            TokenKind::Ranks { length, mean } => Tokenizer::Ranks {
                config: RankConfig {
                    length: *length,
                    context_length: length + 3,
                    mean: *mean,
                },
                table: None,
            },
            TokenKind::Profile { target } => Tokenizer::Profile {
                config: ProfileConfig {
                    target: *target,
                    ..ProfileConfig::default()
                },
            },
            TokenKind::Sampled {
                length,
                normalization,
            } => Tokenizer::Sampled {
                length: *length,
                normalization: *normalization,
            },
            TokenKind::Sentence { .. } => Tokenizer::Uce {
                config: self.layout,
                table: None,
            },
        }
    }
}

/// At most `length` of the genes, in order.
fn some(genes: &[u32], values: &[f32], length: usize, key: [u64; 3]) -> CellTokens {
    match part(genes.len(), length, key) {
        None => CellTokens {
            ids: genes.to_vec(),
            values: values.to_vec(),
        },
        Some(chosen) => CellTokens {
            ids: chosen.iter().map(|&k| genes[k]).collect(),
            values: chosen.iter().map(|&k| values[k]).collect(),
        },
    }
}
