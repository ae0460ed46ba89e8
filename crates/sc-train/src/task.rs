//! The interface between an architecture and the step loop.

use crate::error::Result;
use crate::inputs::corpus::{CellBatch, Corpus};
use crate::inputs::data_spec::Role;
use crate::losses::Losses;
use crate::predict::Quantity;
use burn::tensor::{Device, Int, Tensor, TensorData};
use sc_data::tokens::Tokenizer;
use sc_models::annotator::ClassifierConfig;
use sc_models::configured::Configured;
use sc_models::weights::Names;

/// A vector of integers on the device.
pub(crate) fn whole(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// Codes of `batches` for a decoder that knows this number of them; a cell of another batch is decoded as
/// one of the first.
pub(crate) fn known_batches(batches: &[u32], known: usize) -> Vec<i64> {
    let code = |&b: &u32| {
        if (b as usize) < known {
            i64::from(b)
        } else {
            0
        }
    };
    batches.iter().map(code).collect()
}

/// Purpose for which cells are prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Training, in this epoch.
    Training(u64),
    /// Embedding: nothing is masked, and draws are always the same.
    Embedding,
}

impl Pass {
    /// The epoch in the names of its random streams.
    pub fn epoch(self) -> u64 {
        match self {
            Self::Training(epoch) => epoch,
            Self::Embedding => u64::MAX,
        }
    }
}

/// An architecture with its tokeniser and its objective: the interface of the step loop.
pub trait Task: Send + Sync {
    /// The network.
    type Model: Configured;
    /// A minibatch for training, still on the host.
    type Input: Send;
    /// A minibatch to be embedded, still on the host.
    type Cells: Send;

    /// Hyperparameters of the network.
    fn network(&self) -> &<Self::Model as Configured>::Config;

    /// Seed of every random stream.
    fn seed(&self) -> u64;

    /// The network on `device` with initial weights drawn from the task's seed.
    ///
    /// # Errors
    /// For an invalid configuration.
    fn build(&self, device: &Device) -> Result<Self::Model> {
        Ok(Self::Model::initial(self.network(), self.seed(), device)?)
    }

    /// The network without weights, to load or to count them, see [`Configured::empty`].
    ///
    /// # Errors
    /// For an invalid configuration.
    fn empty(&self, device: &Device) -> Result<Self::Model> {
        Ok(Self::Model::empty(self.network(), device)?)
    }

    /// Published names of its tensors.
    fn names(&self) -> Names {
        Self::Model::NAMES
    }

    /// The minibatches of `epoch`: a pure function of the seed.
    ///
    /// # Errors
    /// For a cell order that the model does not support.
    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>>;

    /// A minibatch for training; every draw depends on the cells' keys and the epoch only.
    ///
    /// # Errors
    /// When the counts cannot be tokenised.
    fn prepare(&self, cells: CellBatch, epoch: u64) -> Result<Self::Input>;

    /// The losses on one minibatch; `step` is counted from 1.
    fn losses(&self, model: &Self::Model, input: Self::Input, step: u64, device: &Device)
    -> Losses;

    /// The settings of its classifier, where they are those of [`ModelSpec::classifier`].
    ///
    /// [`ModelSpec::classifier`]: crate::ModelSpec::classifier
    fn classifier(&self) -> Option<&ClassifierConfig> {
        None
    }

    /// The loss term by which the best step is chosen on validation cells; `None` for their sum.
    fn criterion(&self) -> Option<&'static str> {
        None
    }

    /// Minibatches for embedding, in an order that covers the corpus once.
    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>>;

    /// A minibatch to be embedded: nothing is masked, and draws are always the same.
    ///
    /// # Errors
    /// When the counts cannot be tokenised, or cells are not of a kind that the network knows.
    fn cells(&self, cells: CellBatch) -> Result<Self::Cells>;

    /// The embedding of a minibatch, `[cells, dims]`; on a device with autodiff as in training, so
    /// that a head on it can be trained with the network.
    fn encode(&self, model: &Self::Model, cells: Self::Cells, device: &Device) -> Tensor<2>;

    /// The embedding of a minibatch, `[cells, dims]`.
    ///
    /// # Errors
    /// Those of [`Self::cells`].
    fn embed(&self, model: &Self::Model, cells: CellBatch, device: &Device) -> Result<Tensor<2>> {
        Ok(self.encode(model, self.cells(cells)?, device))
    }

    /// What it predicts of a cell, beside its embedding.
    fn predicts(&self) -> Vec<Quantity> {
        Vec::new()
    }

    /// A prediction for a minibatch, one row per cell; `None` for what it does not predict.
    fn predict(
        &self,
        _model: &Self::Model,
        _cells: Self::Cells,
        _quantity: Quantity,
        _device: &Device,
    ) -> Option<Tensor<2>> {
        None
    }

    /// What of `obs` it reads; naming a column for anything else is refused.
    fn reads(&self) -> Vec<Role> {
        Vec::new()
    }

    /// Embedding dimension.
    fn dims(&self) -> usize;

    /// The tokeniser, for `tokenizer.json`.
    fn tokenizer(&self) -> Tokenizer;
}
