//! Training a model on rows of an open file, shared by `pretrain` and `run`.

use crate::error::{Result, at, message};
use crate::folder::{Genes, ModelConfig, SCHEMA, TRAINING_CELLS};
use crate::observed::{Observed, observe};
use crate::progress::Steps;
use crate::same_size;
use crate::source::Source;
use crate::study::{most_variable, sample};
use burn::tensor::Device;
use sc_data::CsrMatrix;
use sc_data::genes::{Across, GeneMatch, Vocabulary, match_genes};
use sc_data::identity::{CellKeys, TrainingRecord, write_keys};
use sc_data::sampler::{Blocks, balanced_weights};
use sc_data::split::SavedSplit;
use sc_models::weights::Tensors;
use sc_train::config::Sampling;
use sc_train::corpus::Order;
use sc_train::trainer::Run;
use sc_train::{Corpus, ModelSpec, Role, Trainable};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The cells of a source, and which of them are trained on.
pub(crate) struct Cells {
    /// Rows to train on.
    pub(crate) rows: Vec<usize>,
    /// Sequencing batch of every cell of the source, and the names of the batches.
    pub(crate) batches: (Vec<u32>, Vec<String>),
    /// Keys of every cell of the source; none where nothing is trained.
    pub(crate) keys: CellKeys,
}

/// A model and the cells it is to be trained on.
pub(crate) struct Plan {
    pub(crate) task: Box<dyn Trainable>,
    pub(crate) config: ModelConfig,
    pub(crate) genes: Genes,
    pub(crate) corpus: Corpus,
    /// Columns of obs that tell it labels.
    labels: Vec<String>,
    /// Keys of the cells it is trained on.
    keys: CellKeys,
}

impl Plan {
    /// Chooses the vocabulary on the cells at `rows`, finds the size where another model's is asked for,
    /// and builds the task. `columns` of obs serve what
    /// the architecture needs and its configuration does not name.
    pub(crate) fn new(
        source: &Source,
        mut spec: ModelSpec,
        cells: Cells,
        columns: &BTreeMap<Role, String>,
        seed: u64,
    ) -> Result<Self> {
        let Cells {
            rows,
            batches: (codes, names),
            keys,
        } = cells;
        if rows.len() < 2 {
            return Err(at(
                source.file().path(),
                format!("{} cell to train on; a model needs at least 2", rows.len()),
            ));
        }
        let other = same_size::other(&mut spec)?;
        let looked_at = sample(&rows, &codes);
        let counts = source.counts.read(&looked_at)?;
        let chosen: Vec<usize> = match spec.vocabulary.genes {
            n if n == 0 || n >= source.genes.len() => (0..source.genes.len()).collect(),
            n => most_variable(
                &source.log_normalized(counts.clone())?,
                &looked_at,
                &codes,
                n,
            )?,
        };
        let mut seen = HashSet::new();
        let genes: Vec<String> = chosen
            .into_iter()
            .map(|g| source.genes[g].clone())
            .filter(|g| seen.insert(sc_data::genes::normal_form(g).to_string()))
            .collect();
        let vocabulary = Vocabulary::new(genes.clone())?;
        let matched = match_genes(&source.genes, &vocabulary, Across::Same)?;
        let Observed {
            obs,
            levels,
            labels,
        } = observe(source, &spec, columns, &rows)?;
        let other = match other {
            Some(other) => Some((observe(source, &other.spec, columns, &rows)?.levels, other)),
            None => None,
        };
        let order = order(source, &spec.train.sampling, &rows)?;
        let counts = matched.apply_matrix(&counts)?;
        let genes = Genes {
            means: expressing_means(&counts),
            largest: sc_train::features::largest(&genes, &counts),
            names: genes,
            places: Vec::new(),
        };
        genes
            .check_names()
            .map_err(|e| at(source.file().path(), e))?;
        let mut corpus = corpus(source, matched, codes, rows);
        corpus.obs = Arc::new(obs);
        corpus.keys = Arc::new(keys.draw_keys().to_vec());
        let keys = match keys.cells() {
            0 => keys,
            _ => keys.select(&corpus.rows),
        };
        corpus.order = order;
        let mut config = ModelConfig {
            schema: SCHEMA,
            spec,
            batches: names,
            levels,
            same_size: None,
            seed,
            genes_blake3: None,
        };
        if let Some((levels, other)) = other {
            config = same_size::find(config, &genes, other, levels)?;
        }
        let task = config.task(&genes)?;
        // It is written at the end, and must not fail there.
        task.tokenizer().check()?;
        Ok(Self {
            task,
            config,
            genes,
            corpus,
            labels,
            keys,
        })
    }

    /// Writes the keys of the training cells into `folder`; what is to be known of a model that was
    /// trained on them for so many `steps`.
    pub(crate) fn record(
        &self,
        folder: &Path,
        split: Option<SavedSplit>,
        parameters: usize,
        steps: u64,
    ) -> Result<TrainingRecord> {
        Ok(TrainingRecord {
            cells: self.keys.cells(),
            labels: self.labels.clone(),
            keys_blake3: write_keys(&folder.join(TRAINING_CELLS), &self.keys)?,
            split,
            parameters: parameters as u64,
            steps,
        })
    }

    /// Hash of everything that must not change between start and resumption.
    pub(crate) fn fingerprint(&self, data_hash: &str) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&serde_json::to_vec(&self.config)?);
        hasher.update(data_hash.as_bytes());
        self.genes.names.iter().for_each(|g| {
            hasher.update(g.as_bytes());
        });
        self.corpus.rows.iter().for_each(|r| {
            hasher.update(&r.to_le_bytes());
        });
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Trains in `folder`, going on from a checkpoint there. Returns the weights and the steps done.
    pub(crate) fn train(
        &self,
        folder: &Path,
        data_hash: &str,
        device: &Device,
    ) -> Result<(Tensors, u64)> {
        let stop = stop_on_interrupt();
        let fingerprint = self.fingerprint(data_hash)?;
        let train = &self.config.spec.train;
        let device = device.clone().autodiff();
        let run = Run {
            corpus: &self.corpus,
            config: train,
            seed: self.config.seed,
            fingerprint: &fingerprint,
            folder,
            device: &device,
            stop,
            warn: &|line| eprintln!("warning: {line}"),
        };
        let mut bar = Steps::new(train.steps);
        let outcome = self.task.train(&run, &mut |report| bar.show(report));
        bar.finish();
        let outcome = outcome?;
        if outcome.interrupted {
            return Err(message(format!(
                "stopped after step {} of {}; the same command goes on from there",
                outcome.steps, train.steps
            )));
        }
        Ok((outcome.weights, outcome.steps))
    }
}

/// Mean of every gene over the cells that express it, NaN where none does; of many cells a part is
/// looked at, the same that chooses variable genes.
fn expressing_means(counts: &CsrMatrix) -> Vec<f32> {
    let mut sums = vec![(0f64, 0u32); counts.cols()];
    for (genes, values) in counts.iter_rows() {
        for (&g, &v) in genes.iter().zip(values).filter(|(_, v)| **v > 0.0) {
            let sum = &mut sums[g as usize];
            *sum = (sum.0 + f64::from(v), sum.1 + 1);
        }
    }
    sums.iter()
        .map(|&(sum, n)| (sum / f64::from(n)) as f32)
        .collect()
}

/// The order that the settings ask for.
fn order(source: &Source, sampling: &Sampling, rows: &[usize]) -> Result<Order> {
    Ok(match sampling {
        Sampling::Shuffled => Order::Shuffled,
        &Sampling::Blocks { block, window } => Order::Blocks(Blocks { block, window }),
        Sampling::Balanced { column, scaler } => {
            let classes = source.factor(column)?;
            let classes: Vec<u32> = rows.iter().map(|&r| classes.codes()[r]).collect();
            Order::Weighted(Arc::new(balanced_weights(&classes, *scaler)))
        }
    })
}

/// The cells at `rows` in the columns of a vocabulary.
pub(crate) fn corpus(
    source: &Source,
    genes: GeneMatch,
    batches: Vec<u32>,
    rows: Vec<usize>,
) -> Corpus {
    Corpus {
        counts: source.counts.clone(),
        genes: Arc::new(genes),
        batches: Arc::new(batches),
        rows: Arc::new(rows),
        obs: Arc::default(),
        keys: Arc::default(),
        order: Order::Shuffled,
    }
}

/// A flag that Ctrl-C and SIGTERM set; a second Ctrl-C ends the process as usual.
fn stop_on_interrupt() -> &'static AtomicBool {
    static STOP: AtomicBool = AtomicBool::new(false);
    // An error means a handler is set already, which is this one.
    let _ = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    &STOP
}
