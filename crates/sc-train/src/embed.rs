//! Embedding the cells of a data set with a trained model.
//!
//! [`embed`] returns the embeddings as an array; [`Embedder`] does the same in steps, for programs
//! that write them as they are computed.

use crate::attention::AverageAttention;
use crate::error::{Result, TrainError};
use crate::inputs::columns::{batch_codes, for_embedding};
use crate::inputs::corpus::Corpus;
use crate::model::Model;
use crate::predict::Quantity;
use crate::spec::{Sink, Trainable};
use crate::training::speed::Speed;
use crate::training::timing::Work;
use burn::tensor::Device;
use ndarray::{Array2, ArrayView1};
use sc_data::dataset::{Dataset, NO_COLUMN};
use sc_data::genes::{Across, Vocabulary, match_file};
use sc_data::identity::{EMPTY, GivenBatches, Known, TrainedOn};
use sc_data::io::atomic::hash_file;
use sc_models::precision::Precision;
use serde_json::Value;
use std::sync::Arc;

/// How the cells of a data set are matched to a model.
#[derive(Clone, Debug)]
pub struct Matching {
    /// Whether genes of another organism are matched.
    pub across: Across,
    /// Minimum share of matching genes, of those possible.
    pub min_overlap: f64,
    /// Column of `obs` with the sequencing batch.
    pub batch: Option<String>,
}

impl Default for Matching {
    fn default() -> Self {
        Self {
            across: Across::Same,
            min_overlap: 0.5,
            batch: None,
        }
    }
}

/// A trained model and the cells of a data set in the columns of its vocabulary.
pub struct Embedder<'a> {
    /// The model; [`Self::embed`] and [`Self::attention`] take its weights.
    pub model: Model,
    /// Its network with its tokeniser.
    pub task: Box<dyn Trainable>,
    /// The cells.
    pub corpus: Corpus,
    dataset: &'a Dataset,
    /// Sequencing batches of the data set that are not among the model's.
    unknown_batches: Vec<String>,
    /// Training cells of the model, after [`Self::identified`].
    trained_on: Known,
    /// Column of obs with the batches that the model is conditioned on, if any.
    batch: Option<String>,
    /// Batch of every cell.
    given: Option<GivenBatches>,
    /// Precision of the products.
    precision: Precision,
    /// Whether each cell has counts, as far as [`Embedder::identified`] has looked.
    counted: Vec<bool>,
}

impl<'a> Embedder<'a> {
    /// Matches the genes of `dataset`, one file, to those of `model`, and reads the columns it needs.
    ///
    /// # Errors
    /// [`TrainError`] when too few genes match, or columns cannot be read.
    pub fn new(model: Model, dataset: &'a Dataset, how: &Matching) -> Result<Self> {
        let vocabulary = Vocabulary::new(model.data.genes.to_vec())?;
        let genes = match_file(dataset.file(), dataset.slot(), &vocabulary, how.across)?;
        genes
            .require(how.min_overlap)
            .map_err(|e| e.in_file(dataset.path()))?;
        tracing::info!(
            matched = genes.matched,
            of = genes.vocabulary,
            by_name = genes.found.name,
            translated = genes.found.translated,
            by_former_name = genes.found.former,
            by_ortholog = genes.found.ortholog,
            "matched genes"
        );
        let batch = how.batch.as_deref();
        let known = &model.data.batches;
        let batches = dataset.batches(batch)?;
        let names = dataset.batch_names_as(&batches, batch, known);
        let unknown = names.iter().filter(|n| !known.contains(n));
        let unknown_batches = unknown.cloned().collect();
        let codes = batch_codes(batches.codes(), &names, known);
        let rows: Vec<usize> = (0..dataset.cells()).collect();
        let mut corpus = Corpus::new(dataset, genes, codes, rows);
        corpus.obs = Arc::new(for_embedding(dataset, &model.spec, &model.data.levels)?);
        Ok(Self {
            task: model.task()?,
            model,
            corpus,
            dataset,
            unknown_batches,
            trained_on: Known::Unknown,
            batch: batch.filter(|b| *b != NO_COLUMN).map(str::to_owned),
            given: None,
            precision: Precision::F32,
            counted: Vec::new(),
        })
    }

    /// The same with the cells identified by a pass over the counts: their order then does
    /// not depend on their rows, and the provenance records which of them the model was trained on.
    ///
    /// # Errors
    /// [`TrainError::Data`] when names, counts or batches cannot be read.
    pub fn identified(mut self) -> Result<Self> {
        let keys = self.dataset.cell_keys()?;
        self.counted = keys.content.iter().map(|k| *k != EMPTY).collect();
        if let Some((record, training)) = &self.model.trained {
            let architecture = &self.model.spec.architecture;
            self.trained_on = Known::On(TrainedOn::new(architecture, record, training, &keys));
        }
        if let Some(column) = &self.batch {
            let values = self.dataset.shared_categories(column)?;
            let values: Vec<&str> = values.values().map(Option::unwrap_or_default).collect();
            self.given = Some(GivenBatches::new(column, &keys, &values));
        }
        self.corpus.keys = Arc::new(keys.draw_keys().to_vec());
        Ok(self)
    }

    /// The same with products of this precision.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// What to know of cells without counts, once the cells are [identified](Embedder::identified).
    pub fn empty_cells(&self) -> Option<String> {
        let empty = self.counted.iter().filter(|has| !**has).count();
        (empty > 0).then(|| {
            format!(
                "{}: {} of {} cells have no counts, so their embeddings say nothing of them; drop them first",
                self.dataset.path().display(),
                empty,
                self.dataset.cells()
            )
        })
    }

    /// Whether each cell has counts; all, until they are [identified](Embedder::identified).
    pub fn counted(&self) -> Vec<bool> {
        match self.counted.is_empty() {
            true => vec![true; self.dataset.cells()],
            false => self.counted.clone(),
        }
    }

    /// What an output on `device` is made with, by a program of this `revision`.
    ///
    /// # Errors
    /// [`TrainError::Data`] when the file of the weights cannot be read.
    pub fn provenance(&self, device: &str, revision: &str) -> Result<Value> {
        let model = &self.model;
        let genes = &self.corpus.genes;
        let weights = match model.file.as_os_str().is_empty() {
            true => None,
            false => Some(hash_file(&model.file)?),
        };
        Ok(serde_json::json!({
            "model": model.spec,
            "trained_on": self.trained_on,
            "batch": self.given,
            "weights_blake3": weights,
            "genes_matched": genes.matched,
            "genes_of_model": genes.vocabulary,
            "genes_by": genes.found,
            "seed": model.data.seed,
            "device": device,
            "precision": self.precision,
            "counts": self.dataset.slot().to_string(),
            "assumed": self.dataset.assumption(),
            "version": env!("CARGO_PKG_VERSION"),
            "revision": revision,
        }))
    }

    /// Embeds every cell; `sink` gets rows and their embeddings, minibatch by minibatch, in the
    /// model's own order.
    ///
    /// # Errors
    /// Weights that do not match, unreadable data, or an error of `sink`.
    pub fn embed(&mut self, device: &Device, sink: &mut Sink<'_>) -> Result<()> {
        self.precision.check(device)?;
        let weights = std::mem::take(&mut self.model.weights);
        let speed = Speed::begin();
        let embed = || self.task.embed(weights, &self.corpus, device, sink);
        let embedded = self.precision.during(embed);
        embedded.map_err(|e| self.with_unknown_batches(e))?;
        speed.tell(Work::Embed, device);
        Ok(())
    }

    /// Predicts a quantity for every cell; `sink` gets rows and their values, as [`Self::embed`].
    ///
    /// # Errors
    /// Those of [`Self::embed`], and [`TrainError::Config`] for what the model does not predict.
    pub fn predict(
        &mut self,
        quantity: Quantity,
        device: &Device,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        self.precision.check(device)?;
        let weights = std::mem::take(&mut self.model.weights);
        let predict = || {
            self.task
                .predict(quantity, weights, &self.corpus, device, sink)
        };
        let predicted = self.precision.during(predict);
        predicted.map_err(|e| self.with_unknown_batches(e))
    }

    /// Attention between genes, over all cells; `None` for networks without it.
    ///
    /// # Errors
    /// Weights that do not match, or unreadable data.
    pub fn attention(&mut self, device: &Device) -> Result<Option<AverageAttention>> {
        let model = &mut self.model;
        let Some(build) = model.spec.known()?.attention else {
            return Ok(None);
        };
        let attention = build(&model.spec, &model.data)?;
        let weights = std::mem::take(&mut model.weights);
        Ok(Some(attention.average(weights, &self.corpus, device)?))
    }

    /// An error on the cells, with the batches that are unknown to the model.
    fn with_unknown_batches(&self, error: TrainError) -> TrainError {
        match (&self.unknown_batches[..], &error) {
            ([], _) => error,
            (unknown, TrainError::Config(what)) => TrainError::Config(format!(
                "{what} (unknown to the model: {}; its batches: {})",
                unknown.join(", "),
                self.model.data.batches.join(", ")
            )),
            _ => error,
        }
    }
}

/// The embeddings of all cells of `dataset`, `[cells, dims]`.
///
/// # Errors
/// Those of [`Embedder`].
pub fn embed(
    model: &Model,
    dataset: &Dataset,
    how: &Matching,
    device: &Device,
) -> Result<Array2<f32>> {
    let mut embedder = Embedder::new(model.clone(), dataset, how)?.identified()?;
    let mut vectors = Array2::zeros((dataset.cells(), embedder.task.dims()));
    embedder.embed(device, &mut |rows, values| {
        put(&mut vectors, rows, values);
        Ok(())
    })?;
    Ok(vectors)
}

/// Copies the `values` of a minibatch of `rows` into `vectors`.
pub fn put(vectors: &mut Array2<f32>, rows: &[usize], values: &[f32]) {
    for (&row, vector) in rows.iter().zip(values.chunks_exact(vectors.ncols())) {
        vectors.row_mut(row).assign(&ArrayView1::from(vector));
    }
}
