//! Presets of models: the files of `configs/models`, which are part of the program, and the size
//! of a preset's model for given data.
//!
//! ```
//! let spec = sc_train::presets::named("scgpt-tiny", &["train.steps=500".to_owned()])?;
//! assert_eq!((spec.architecture.as_str(), spec.train.steps), ("scgpt", 500));
//! # Ok::<(), sc_train::TrainError>(())
//! ```

use crate::error::{Result, TrainError};
use crate::inputs::data_spec::{DataSpec, Role, numbered_batches};
use crate::registry::Features;
use crate::spec::ModelSpec;
use sc_data::settings;
use sc_models::device::DEFAULT;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use toml::Table;

/// Name and text of every preset, sorted by name.
const PRESETS: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/presets.rs"));

/// Sizes of the presets of one architecture: `scgpt-tiny` and so on.
pub const SIZES: [&str; 3] = ["tiny", "small", "paper"];

/// The text of the preset with this name, if there is one.
fn text(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(n, _)| *n == name).map(|(_, t)| *t)
}

/// Names of all presets, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// The model of an architecture in one of [`SIZES`], if there is such a preset.
///
/// # Errors
/// [`TrainError::Config`] for a preset that cannot be read.
pub fn of(architecture: &str, size: &str) -> Result<Option<ModelSpec>> {
    let name = format!("{architecture}-{size}");
    text(&name).map(|_| named(&name, &[])).transpose()
}

/// The model of a preset, with assignments such as `train.steps=500` applied.
///
/// # Errors
/// [`TrainError`] when there is no such preset, or an assignment is invalid.
pub fn named(name: &str, assignments: &[String]) -> Result<ModelSpec> {
    let text = text(name).ok_or_else(|| absent(Path::new(name)))?;
    let table = settings::change(table(text, name)?, assignments)?;
    Ok(settings::parse(table, name)?)
}

/// The settings of a model: of a file, or of the preset of that name where there is no file.
///
/// # Errors
/// [`TrainError`] when there is neither, or the file is not TOML.
pub fn read(named: &Path, assignments: &[String]) -> Result<Table> {
    let name = named.to_str().unwrap_or_default();
    let table = match text(name) {
        // A folder of that name is probably the model trained from it.
        Some(text) if !named.is_file() => table(text, name)?,
        None if !named.exists() && named.extension().is_none() => return Err(absent(named)),
        _ => settings::read(named)?,
    };
    Ok(settings::change(table, assignments)?)
}

fn table(text: &str, name: &str) -> Result<Table> {
    text.parse()
        .map_err(|e: toml::de::Error| TrainError::file(name, e))
}

fn absent(named: &Path) -> TrainError {
    let names: Vec<&str> = names().collect();
    TrainError::file(
        named,
        format!(
            "neither a file nor a preset; presets are {}",
            names.join(", ")
        ),
    )
}

/// Number of genes of hypothetical data.
pub const GENES: usize = 20_000;
/// Number of peaks, for models that need peaks.
pub const PEAKS: usize = 100_000;
/// Number of labels, for models that need labels.
pub const LABELS: usize = 10;

/// Hypothetical data: one batch, [`GENES`], and where a model needs them [`PEAKS`],
/// [`LABELS`] and two species.
pub fn assumed(features: Features) -> DataSpec {
    let peaks = match features {
        Features::GenesAndPeaks => PEAKS,
        Features::Genes => 0,
    };
    assumed_with(GENES, peaks)
}

/// The same with these numbers of genes and peaks.
pub fn assumed_with(genes: usize, peaks: usize) -> DataSpec {
    let mut features = numbered(genes);
    features.extend((0..peaks).map(|p| format!("chr1:{p}-{}", p + 1)));
    let species = ["human", "mouse"].map(String::from).to_vec();
    DataSpec {
        genes: Arc::new(features),
        batches: numbered_batches(1),
        levels: [(Role::Label, numbered(LABELS)), (Role::Species, species)].into(),
        ..DataSpec::default()
    }
}

/// `n` numbered names.
fn numbered(n: usize) -> Vec<String> {
    (0..n).map(|i| i.to_string()).collect()
}

/// The size of a model, and the data it was computed for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Size {
    /// Number of parameters, frozen tables and running statistics included.
    pub parameters: usize,
    /// Genes, and peaks for models that need them.
    pub features: usize,
    /// Sequencing batches.
    pub batches: usize,
    /// Values of the columns of `obs` that the model is conditioned on.
    pub levels: BTreeMap<Role, usize>,
}

/// The data properties a model of `spec` would be built for on `data`: as many genes as it uses,
/// and the columns that the architecture needs or `spec` names.
///
/// # Errors
/// [`TrainError::Config`] for an unknown architecture.
pub fn taken(spec: &ModelSpec, data: &DataSpec) -> Result<DataSpec> {
    let features = match spec.vocabulary.genes {
        0 => data.genes.len(),
        n => n.min(data.genes.len()),
    };
    let needs = spec.known()?.needs;
    let used = |role: &Role| needs.contains(role) || spec.obs.contains_key(role);
    let levels = data.levels.iter().filter(|(role, _)| used(role));
    Ok(DataSpec {
        genes: Arc::new(data.genes[..features].to_vec()),
        batches: data.batches.clone(),
        levels: levels.map(|(r, l)| (*r, l.clone())).collect(),
        ..DataSpec::default()
    })
}

/// The size of a model of `spec` on `data`; no weight is drawn or allocated.
///
/// # Errors
/// [`TrainError::Config`] for invalid settings.
pub fn size(spec: &ModelSpec, data: &DataSpec) -> Result<Size> {
    let data = taken(spec, data)?;
    let device = sc_models::device::open(DEFAULT)?;
    Ok(Size {
        parameters: spec.task(&data)?.parameters(&device)?,
        features: data.genes.len(),
        batches: data.batches.len(),
        levels: data.levels.iter().map(|(r, l)| (*r, l.len())).collect(),
    })
}

#[cfg(all(test, feature = "flex"))]
mod tests;
