//! A trained model and a file it is shown.

use crate::args::Input;
use crate::cells::cell_keys;
use crate::error::{Error, Result, at, message};
use crate::exposure::by_cell;
use crate::folder::{self, Model};
use crate::observed::{batches_as, observe_as};
use crate::source::{NO_BATCH, Source};
use crate::training::corpus;
use sc_data::genes::{Across, Vocabulary, match_file};
use sc_data::identity::{GivenBatches, Known, TrainedOn};
use sc_train::{Corpus, TrainError, Trainable};
use std::path::Path;
use std::sync::Arc;

/// How a file is brought to a model.
pub(crate) struct Matching<'a> {
    /// Whether genes of another organism count.
    pub(crate) across: Across,
    /// Fewer matches than this share of those that could are refused.
    pub(crate) min_overlap: f64,
    /// Column of obs with the sequencing batch.
    pub(crate) batch: Option<&'a str>,
}

/// A trained model and the cells of a file in the columns of its vocabulary.
pub(crate) struct Applied {
    pub(crate) model: Model,
    pub(crate) task: Box<dyn Trainable>,
    pub(crate) source: Source,
    pub(crate) corpus: Corpus,
    /// Sequencing batches of the file that the model was not trained on.
    pub(crate) unknown_batches: Vec<String>,
    /// What the model was trained on, once [`Self::identified`] has looked.
    trained_on: Known,
    /// Column of obs whose batches the model is given, if one is named.
    batch: Option<String>,
    /// Which batch every cell was given with.
    given: Option<GivenBatches>,
}

impl Applied {
    pub(crate) fn open(folder: &Path, input: &Input, how: &Matching<'_>) -> Result<Self> {
        let model = folder::read(folder)?;
        let source = Source::open(&input.file, &input.from)?;
        let vocabulary = Vocabulary::new(model.genes.names.clone())?;
        let genes = match_file(source.file(), source.slot(), &vocabulary, how.across)?;
        genes
            .require(how.min_overlap)
            .map_err(|e| at(source.file().path(), e))?;
        let config = &model.config;
        let (codes, names) = source.batches(how.batch)?;
        let names = source.names_in(names, how.batch, &config.batches);
        let unknown_batches = names.iter().filter(|n| !config.batches.contains(n));
        let unknown_batches = unknown_batches.cloned().collect();
        let codes = batches_as(&codes, &names, &config.batches);
        let task = config.task(&model.genes)?;
        let rows: Vec<usize> = (0..source.cells()).collect();
        let mut corpus = corpus(&source, genes, codes, rows);
        corpus.obs = Arc::new(observe_as(&source, &config.spec, &config.levels)?);
        Ok(Self {
            model,
            task,
            source,
            corpus,
            unknown_batches,
            trained_on: Known::Unknown,
            batch: how.batch.filter(|b| *b != NO_BATCH).map(str::to_owned),
            given: None,
        })
    }

    /// The same with the cells told apart by a pass over the counts: in which order they come does then
    /// not depend on their rows, and the provenance says which of them the model was trained on.
    pub(crate) fn identified(mut self) -> Result<Self> {
        let keys = cell_keys(&self.source)?;
        if let Some((record, training)) = &self.model.trained {
            let architecture = &self.model.config.spec.architecture;
            self.trained_on = Known::On(TrainedOn::new(architecture, record, training, &keys));
        }
        if let Some(column) = &self.batch {
            let (codes, names) = self.source.values(column)?;
            let values = by_cell(&codes, &names);
            self.given = Some(GivenBatches::new(column, &keys, &values));
        }
        self.corpus.keys = Arc::new(keys.draw_keys().to_vec());
        Ok(self)
    }

    /// What an output was made with, for its provenance.
    pub(crate) fn provenance(&self, device: &str) -> serde_json::Value {
        let config = &self.model.config;
        let genes = &self.corpus.genes;
        serde_json::json!({
            "model": config.spec,
            "trained_on": self.trained_on,
            "batch": self.given,
            "weights_blake3": self.model.hash,
            "genes_matched": genes.matched,
            "genes_of_model": genes.vocabulary,
            "genes_by": genes.found,
            "seed": config.seed,
            "device": device,
            "counts": self.source.slot().to_string(),
            "assumed": self.source.assumption(),
            "version": env!("CARGO_PKG_VERSION"),
            "revision": env!("SCFM_REVISION"),
        })
    }
}

/// A failure of a model on the cells of a file, told with the batches it does not know.
pub(crate) fn failed(error: TrainError, unknown: &[String], known: &[String]) -> Error {
    match unknown {
        [] => error.into(),
        _ if !matches!(error, TrainError::Config(_)) => error.into(),
        _ => message(format!(
            "{error} (the model does not know {}; it knows {})",
            unknown.join(", "),
            known.join(", ")
        )),
    }
}
