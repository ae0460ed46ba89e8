//! A trained model: its configuration, the data properties it was built for, and its weights.
//!
//! It is created by [`crate::pretrain`], or imported from a publisher's files
//! ([`crate::registry::Architecture::import`]), and stored in a folder ([`folder`]).

mod changed;
pub mod folder;
mod gene_table;

pub(crate) use gene_table::check_names;

use crate::error::Result;
use crate::finetune::StartedFrom;
use crate::inputs::data_spec::{DataSpec, numbered_batches};
use crate::predict::Calibration;
use crate::size::SameSize;
use crate::spec::{ModelSpec, Trainable};
use burn::tensor::Device;
use sc_data::identity::{CellKeys, TrainingRecord};
use sc_models::weights::Tensors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A model with weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Its configuration.
    pub spec: ModelSpec,
    /// The data properties it was built for.
    pub data: DataSpec,
    /// Weights by published name.
    pub weights: Tensors,
    /// How it was sized to match another model, if it was.
    pub same_size: Option<SameSize>,
    /// Its training cells and their keys; unknown for published weights and older
    /// folders.
    pub trained: Option<(TrainingRecord, CellKeys)>,
    /// The model it started from, if it was fine-tuned.
    pub start: Option<StartedFrom>,
    /// How sure its labels are, and from which probability on a cell has one; found on validation cells.
    pub calibration: Option<Calibration>,
    /// The file its weights were read from; empty for one that was just trained.
    pub file: PathBuf,
}

impl Model {
    /// A model of `architecture` with published settings, its weights yet to be read from `file`.
    pub fn published(
        architecture: &str,
        (network, input): (Value, Value),
        genes: Vec<String>,
        file: PathBuf,
    ) -> Self {
        Self {
            spec: ModelSpec {
                architecture: architecture.into(),
                description: format!("{architecture}, published weights"),
                objective: None,
                vocabulary: Default::default(),
                obs: BTreeMap::new(),
                same_size_as: None,
                niche: None,
                classifier: None,
                network,
                input,
                train: Default::default(),
            },
            data: DataSpec {
                genes: Arc::new(genes),
                batches: numbered_batches(1),
                ..DataSpec::default()
            },
            weights: Tensors::new(),
            same_size: None,
            trained: None,
            start: None,
            calibration: None,
            file,
        }
    }

    /// Its network with tokeniser and objective.
    ///
    /// # Errors
    /// [`crate::TrainError::Config`] for invalid settings.
    pub fn task(&self) -> Result<Box<dyn Trainable>> {
        self.spec.task(&self.data)
    }

    /// Checks that the weights match the network.
    ///
    /// # Errors
    /// Every tensor that is missing, extra or of another shape, in one list.
    pub fn check(&self, device: &Device) -> Result<()> {
        self.task()?.check(&self.weights, device)
    }
}
