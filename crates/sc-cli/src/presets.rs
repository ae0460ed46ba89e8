//! Presets of models: the files of `configs/models`, which are part of the program, and how large a
//! model of one becomes on data.

use crate::error::{Result, at};
use crate::settings;
use sc_models::device::DEFAULT;
use sc_train::registry::Features;
use sc_train::{Facts, ModelSpec, Role};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use toml::Table;

/// Name and text of every preset, in the order of their names.
const PRESETS: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/presets.rs"));

/// What presets of one architecture are called: `scgpt-tiny` and so on.
pub(crate) const SIZES: [&str; 3] = ["tiny", "small", "paper"];

/// Whether there is a preset of this name, and its text.
fn text(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(n, _)| *n == name).map(|(_, t)| *t)
}

/// The model of an architecture at one of [`SIZES`], if there is such a preset.
pub(crate) fn of(architecture: &str, size: &str) -> Result<Option<ModelSpec>> {
    let name = format!("{architecture}-{size}");
    let Some(text) = text(&name) else {
        return Ok(None);
    };
    settings::parse(text.parse()?, &name).map(Some)
}

/// The settings of a model: a file, or where there is none a preset of that name.
pub(crate) fn read(named: &Path, sets: &[String]) -> Result<Table> {
    let name = named.to_str().unwrap_or_default();
    match text(name) {
        // A folder of that name may well be the model that was trained from it.
        Some(text) if !named.is_file() => settings::change(text.parse()?, sets),
        None if !named.exists() && named.extension().is_none() => {
            let names: Vec<&str> = PRESETS.iter().map(|(n, _)| *n).collect();
            Err(at(
                named,
                format!("no file and no preset; presets are {}", names.join(", ")),
            ))
        }
        _ => settings::read(Some(named), sets),
    }
}

/// What there is of data when a model for them is counted.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    /// Names of its features, of which a preset takes the first.
    pub(crate) features: Vec<String>,
    /// Sequencing batches.
    pub(crate) batches: usize,
    /// Values of the columns that a model can be conditioned on.
    pub(crate) levels: BTreeMap<Role, Vec<String>>,
}

/// Genes of data that nobody has seen.
pub(crate) const GENES: usize = 20_000;
/// Peaks beside them, for models that take peaks.
pub(crate) const PEAKS: usize = 100_000;
/// Labels, for models that learn them.
pub(crate) const LABELS: usize = 10;

impl Data {
    /// Data that nobody has seen: of one batch, with [`GENES`], and where a model needs them
    /// [`PEAKS`], [`LABELS`] and two species.
    pub(crate) fn assumed(features: Features) -> Self {
        Self::of(
            GENES,
            if features == Features::GenesAndPeaks {
                PEAKS
            } else {
                0
            },
        )
    }

    /// The same with so many genes and peaks.
    pub(crate) fn of(genes: usize, peaks: usize) -> Self {
        let mut features = numbered(genes);
        features.extend((0..peaks).map(|p| format!("chr1:{p}-{}", p + 1)));
        let species = ["human", "mouse"].map(String::from).to_vec();
        Self {
            features,
            batches: 1,
            levels: [(Role::Label, numbered(LABELS)), (Role::Species, species)].into(),
        }
    }
}

/// `n` names of something.
pub(crate) fn numbered(n: usize) -> Vec<String> {
    (0..n).map(|i| i.to_string()).collect()
}

/// The size of a model, and what it was counted for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Size {
    /// Numbers in all tensors, frozen tables and running statistics included.
    pub(crate) parameters: usize,
    /// Genes, and where the model takes them peaks.
    pub(crate) features: usize,
    /// Sequencing batches.
    pub(crate) batches: usize,
    /// Values of the columns of `obs` that the model is conditioned on.
    pub(crate) levels: BTreeMap<Role, usize>,
}

/// What a model of `spec` would know of `data`.
///
/// Columns count as named when the architecture needs them or `spec` names them.
pub(crate) fn facts(spec: &ModelSpec, data: &Data) -> Result<Facts> {
    let features = match spec.vocabulary.genes {
        0 => data.features.len(),
        n => n.min(data.features.len()),
    };
    let needs = spec.known()?.needs;
    let told = |role: &Role| needs.contains(role) || spec.obs.contains_key(role);
    let levels = data.levels.iter().filter(|(role, _)| told(role));
    Ok(Facts {
        genes: Arc::new(data.features[..features].to_vec()),
        batches: data.batches,
        levels: levels.map(|(r, l)| (*r, l.clone())).collect(),
        ..Facts::default()
    })
}

/// How large `spec` becomes on `data`; no weight is drawn or allocated.
pub(crate) fn size(spec: &ModelSpec, data: &Data) -> Result<Size> {
    let facts = facts(spec, data)?;
    let device = sc_models::device::open(DEFAULT)?;
    Ok(Size {
        parameters: spec.task(&facts)?.parameters(&device)?,
        features: facts.genes.len(),
        batches: data.batches,
        levels: facts.levels.iter().map(|(r, l)| (*r, l.len())).collect(),
    })
}

#[cfg(test)]
mod tests;
