//! A trained model and a file it is shown.

use crate::args::Input;
use crate::cells::cell_keys;
use crate::error::{Result, at};
use crate::folder::{self, Model};
use crate::observed::{batches_as, observe_as};
use crate::source::Source;
use crate::training::corpus;
use sc_data::genes::{Across, Vocabulary, match_file};
use sc_data::identity::{Known, TrainedOn};
use sc_train::{Corpus, Trainable};
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
    /// What the model was trained on, once [`Self::identified`] has looked.
    trained_on: Known,
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
            trained_on: Known::Unknown,
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
            "weights_blake3": self.model.hash,
            "genes_matched": genes.matched,
            "genes_of_model": genes.vocabulary,
            "genes_by": genes.found,
            "seed": config.seed,
            "device": device,
            "counts": self.source.slot().to_string(),
            "version": env!("CARGO_PKG_VERSION"),
            "revision": env!("SCFM_REVISION"),
        })
    }
}
