//! One run: a method on a data set, fully resolved. This is the file `run.toml`.

use sc_eval::benchmark::{Design, MethodOptions};
use sc_eval::protocol::Options;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::path::PathBuf;

/// The layout of `run.toml` that is written and read here.
pub const SCHEMA: u32 = 1;

/// Device, unless another is named.
pub const DEFAULT_DEVICE: &str = "flex";

/// One run of a matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Layout of the file, [`SCHEMA`].
    pub schema: u32,
    /// Name of the experiment.
    pub experiment: String,
    /// Seed of everything that the method draws.
    pub seed: u64,
    /// Device it is trained on.
    pub device: String,
    /// The data set.
    pub data: RunData,
    /// How donors are held out.
    #[serde(default)]
    pub split: SplitSettings,
    /// Settings of the evaluation.
    #[serde(default)]
    pub eval: EvalSettings,
    /// The method.
    pub method: RunMethod,
}

/// A data set that was found, and the columns of `obs` that matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunData {
    /// The file, as `scfm` takes it.
    pub path: PathBuf,
    /// Its blake3.
    pub hash: String,
    /// Column with the cell type.
    pub label: String,
    /// Column with the sequencing batch; `none` to evaluate cell types only.
    pub batch: String,
    /// Column with the donor; `none` holds out cells at random.
    pub donor: String,
    /// Where the counts are, when it shall not be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<String>,
}

/// How donors are held out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitSettings {
    /// Share of the donors.
    pub test_fraction: f64,
    /// Seed of the draw.
    pub seed: u64,
    /// The donors themselves, instead of a share.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "some_donors"
    )]
    pub test_donors: Vec<String>,
}

/// Nobody who names donors means none.
fn some_donors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let donors = Vec::<String>::deserialize(deserializer)?;
    match donors.is_empty() {
        true => Err(D::Error::invalid_length(
            0,
            &"at least one donor; leave test_donors out to hold out a share of them",
        )),
        false => Ok(donors),
    }
}

impl Default for SplitSettings {
    fn default() -> Self {
        let design = Design::default();
        Self {
            test_fraction: design.test_fraction,
            seed: design.seed,
            test_donors: Vec::new(),
        }
    }
}

/// How methods are evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalSettings {
    /// Seed of clustering and of shuffled labels.
    pub seed: u64,
    /// Neighbours of the kNN probe.
    pub probe_neighbors: usize,
    /// The picture of the scored cells.
    pub map: MapKind,
    /// Cells of it, at most.
    pub map_cells: usize,
}

impl Default for EvalSettings {
    fn default() -> Self {
        let Options {
            seed,
            probe_neighbors,
        } = Options::default();
        Self {
            seed,
            probe_neighbors,
            map: MapKind::Umap,
            map_cells: MAP_CELLS,
        }
    }
}

/// Cells of a picture, unless another number is named.
pub const MAP_CELLS: usize = 2000;

/// Which picture of the scored cells is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapKind {
    /// A UMAP.
    Umap,
    /// None.
    None,
}

/// The method of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunMethod {
    /// Name of the row.
    pub name: String,
    /// What it is.
    pub kind: MethodKind,
    /// Preset of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// What the model is trained to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<String>,
    /// Options of a baseline or control.
    #[serde(default, skip_serializing_if = "is_default")]
    pub options: MethodOptions,
    /// Settings of the model, in its own terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<toml::Table>,
    /// How the model is trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<toml::Table>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a method is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MethodKind {
    /// A model that is trained on the training donors.
    Model,
    /// A model with its initial weights.
    RandomInit,
    /// A classical baseline.
    Baseline,
    /// A control, whose score is known in advance.
    Control,
}

impl MethodKind {
    /// Whether it has a network.
    pub fn is_network(self) -> bool {
        matches!(self, Self::Model | Self::RandomInit)
    }
}

impl Run {
    /// Columns and split of its evaluation.
    pub fn design(&self) -> Design {
        let columns = &self.data;
        let donors = &self.split.test_donors;
        Design {
            label: columns.label.clone(),
            batch: columns.batch.clone(),
            donor: columns.donor.clone(),
            test_fraction: self.split.test_fraction,
            test_donors: (!donors.is_empty()).then(|| donors.clone()),
            saved: None,
            seed: self.split.seed,
        }
    }
}
