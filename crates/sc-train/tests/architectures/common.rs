//! Cells, tiny networks, and what is asked of a trained one.

use burn::tensor::Device;
use sc_data::genes::{Across, Vocabulary, match_genes};
use sc_data::identity::CellKeys;
use sc_data::preprocess::spatial::{Places, Within, composition};
use sc_data::simulate::{SimConfig, simulate};
use sc_data::tokens::ranks::rank;
use sc_data::{CsrMatrix, RawCounts};
use sc_models::weights::Tensors;
use sc_train::inputs::corpus::Order;
use sc_train::inputs::data_spec::Numbers;
use sc_train::training::trainer::{LossTerms, Run};
use sc_train::{Corpus, DataSpec, ModelSpec, Obs, Role, TrainConfig, Trainable, inputs::features};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub(crate) const CELLS: usize = 64;
pub(crate) const GENES: usize = 60;
pub(crate) const TYPES: usize = 3;
/// The last features are peaks, for scCLIP; to the others they are genes.
pub(crate) const PEAKS: usize = 20;

pub(crate) fn names() -> Vec<String> {
    let name = |g: usize| match g < GENES - PEAKS {
        true => format!("GENE{g}"),
        false => format!("chr1:{}-{}", g * 1000, g * 1000 + 500),
    };
    (0..GENES).map(name).collect()
}

/// Cells of three types, two batches and two species; neighbours are mostly of one's own type.
pub(crate) fn data() -> (Corpus, DataSpec) {
    let config = SimConfig {
        cells: CELLS,
        genes: GENES,
        cell_types: TYPES,
        batches: 2,
        donors: 4,
        depth: 300.0,
        gene_sd: 0.5,
        dispersion: 200.0,
        marker_fold: 100.0,
        marker_fraction: 0.4,
        dropout_slope: 0.0,
        seed: 5,
        ..SimConfig::default()
    };
    let (counts, cells) = simulate(&config).unwrap();
    let vocabulary = Vocabulary::new(names()).unwrap();

    let place = |(cell, kind): (usize, &u32)| [10.0 * *kind as f32, (cell % 8) as f32];
    let places: Vec<f32> = cells.cell_type.iter().enumerate().flat_map(place).collect();
    let places = Places {
        coordinates: &places,
        dims: 2,
        section: &[0; CELLS],
    };
    let types = (cells.cell_type.as_slice(), TYPES);
    let mut obs = Obs::default();
    obs.set_numbers(
        Role::Niche,
        Numbers {
            width: TYPES,
            values: composition(&places, types, Within::Radius(1.5)).unwrap(),
        },
    );
    obs.set(Role::Label, cells.cell_type);
    obs.set(Role::Species, cells.donor.iter().map(|d| d % 2).collect());
    obs.set(
        Role::Perturbation,
        (0..CELLS as u32).map(|c| c % 4).collect(),
    );

    let levels = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
    let kinds = levels(&["B", "NK", "T"]);
    let mean = |(_, counts): (&[u32], &[f32])| counts.iter().sum::<f32>() / counts.len() as f32;
    let data = DataSpec {
        genes: Arc::new(names()),
        means: Arc::new(counts.transpose().iter_rows().map(mean).collect()),
        largest: Arc::new(features::largest(&names(), &counts)),
        batches: sc_train::inputs::data_spec::numbered_batches(2),
        levels: BTreeMap::from([
            (Role::Label, kinds.clone()),
            (Role::Niche, kinds),
            (Role::Species, levels(&["human", "mouse"])),
            (
                Role::Perturbation,
                levels(&["ctrl", "GENE0", "GENE1+ctrl", "GENE2+GENE3"]),
            ),
        ]),
        seed: 1,
        ..DataSpec::default()
    };
    let corpus = Corpus {
        counts: Arc::new(RawCounts::new(counts).unwrap()),
        genes: Arc::new(match_genes(&names(), &vocabulary, Across::Same).unwrap()),
        batches: Arc::new(cells.batch),
        rows: Arc::new((0..CELLS).collect()),
        obs: Arc::new(obs),
        keys: Arc::default(),
        order: Order::Shuffled,
    };
    (corpus, data)
}

/// The genes of every cell by rank, `length` at most.
pub(crate) fn ranked(length: usize) -> Vec<Vec<u32>> {
    let (corpus, data) = data();
    let counts = corpus.counts.read(&corpus.rows).unwrap();
    let of = |(genes, counts): (&[u32], &[f32])| rank(genes, counts, &data.means, length).unwrap();
    counts.iter_rows().map(of).collect()
}

/// The file that holds the cells at `rows` of the file of `corpus`, in that order.
pub(crate) fn file_of(corpus: &Corpus, rows: &[usize]) -> Corpus {
    let counts = RawCounts::new(corpus.counts.read(rows).unwrap()).unwrap();
    let barcodes: Vec<String> = rows.iter().map(|r| format!("cell {r}")).collect();
    let keys = CellKeys::new(&counts, &names(), &barcodes).unwrap();
    let mut obs = Obs::default();
    for role in [Role::Label, Role::Species, Role::Perturbation] {
        obs.set(role, corpus.obs.codes(role, rows));
    }
    let values = corpus.obs.numbers(Role::Niche, rows).unwrap();
    obs.set_numbers(
        Role::Niche,
        Numbers {
            width: TYPES,
            values,
        },
    );
    Corpus {
        counts: Arc::new(counts),
        batches: Arc::new(rows.iter().map(|&r| corpus.batches[r]).collect()),
        rows: Arc::new((0..rows.len()).collect()),
        obs: Arc::new(obs),
        keys: Arc::new(keys.draw_keys().to_vec()),
        ..corpus.clone()
    }
}

/// The vectors of all cells of `corpus`, by row.
pub(crate) fn embedded(task: &dyn Trainable, weights: &Tensors, corpus: &Corpus) -> Vec<Vec<f32>> {
    let mut vectors = vec![Vec::new(); corpus.rows.len()];
    let sink = &mut |rows: &[usize], values: &[f32]| {
        for (&row, vector) in rows.iter().zip(values.chunks_exact(task.dims())) {
            vectors[row] = vector.to_vec();
        }
        Ok(())
    };
    task.embed(weights.clone(), corpus, &Device::flex(), sink)
        .unwrap();
    vectors
}

/// A tiny network of the architecture: its own line here where it has one, else that of its preset.
pub(crate) fn tiny(architecture: &str) -> Value {
    let (network, input) = match architecture {
        "cellplm" => (
            json!({
                "hidden": 32, "layers": 1, "heads": 4, "dropout": 0.0, "latent_dim": 8,
                "latent": { "kind": "gmvae", "clusters": 3, "position_weight": 0.1,
                            "cluster_weight": 0.1, "free_nats": 0.1 },
                "head": { "kind": "decode", "hidden": 32, "layers": 2, "batches": 2, "datasets": 0 },
            }),
            json!({}),
        ),
        "scgpt" => (
            json!({ "width": 32, "layers": 1, "heads": 2, "feed_forward": 32, "dropout": 0.0 }),
            json!({ "length": 64, "bins": 6, "mask": 0.2 }),
        ),
        "scformer" => (
            json!({
                "width": 32, "layers": 1, "heads": 2, "feed_forward": 32, "dropout": 0.0,
                "explicit_zero_probability": true,
                "input_norm": { "kind": "batch-norm", "epsilon": 1e-5 },
            }),
            json!({ "length": 64, "bins": 6, "mask": 0.2, "ties": "highest" }),
        ),
        "uce" => (
            json!({
                "width": 32, "layers": 1, "heads": 2, "feed_forward": 32, "dropout": 0.0,
                "output": 32, "decoder_hidden": 32, "binary_hidden": [64, 32, 16], "max_length": 48,
            }),
            json!({
                "sample": 24, "proteins": { "kind": "random", "dim": 32 },
                "targets": { "hidden": 0.2, "positives": 8, "negatives": 8 }, "embed_minibatch": CELLS,
            }),
        ),
        "saturn" => (
            json!({
                "macrogenes": 16, "hidden": 32, "embedding": 8, "dropout": 0.0, "scale_dropout": 0.0,
            }),
            json!({ "proteins": { "kind": "random", "dim": 16 } }),
        ),
        "scprint" => (
            json!({
                "width": 32, "layers": 1, "heads": 2, "dropout": 0.0, "class_layers": [16],
                "normalisation": "log",
            }),
            json!({
                "proteins": { "kind": "random", "dim": 32 }, "noise": [0.3], "embed_minibatch": CELLS,
            }),
        ),
        "nicheformer" => (
            json!({
                "width": 32, "layers": 1, "heads": 2, "feed_forward": 64, "context_length": 32,
            }),
            json!({ "mask": 0.15 }),
        ),
        "schyena" => (
            json!({
                "width": 16, "layers": 1, "feed_forward": 32, "embedding_dropout": 0.0,
                "filter": { "width": 16, "features": 5 },
            }),
            json!({ "embed_minibatch": CELLS }),
        ),
        "scclip" => {
            let tower = json!({
                "patches": 4, "width": 16, "layers": 1, "heads": 2, "feed_forward": 32,
                "dropout": 0.0, "attention_dropout": 0.0,
            });
            (
                json!({
                    "projection": 16, "atac": tower, "rna": tower,
                    "temperature": { "kind": "learned", "log_scale": 2.6592 },
                }),
                json!({}),
            )
        }
        "composed" => (
            json!({ "width": 32, "layers": 1, "feed_forward": 32, "dropout": 0.0 }),
            json!({ "tokens": { "kind": "bins", "bins": 6 } }),
        ),
        "vae" => (
            json!({ "hidden": 32, "latent": 8, "dropout": 0.0 }),
            json!({ "kl_warmup": 1000 }),
        ),
        "autoencoder" | "mlp" | "islander" => (
            json!({ "hidden": [32], "latent": 16, "dropout": 0.0 }),
            json!({}),
        ),
        other => of_preset(other),
    };
    json!({ "architecture": architecture, "network": network, "input": input })
}

pub(crate) fn spec(value: Value) -> ModelSpec {
    serde_json::from_value(value).unwrap()
}

/// With `objective` in place of the first.
pub(crate) fn with_objective(mut value: Value, objective: &str) -> Value {
    value["objective"] = json!(objective);
    value
}

/// Why a model cannot be built for data with `data`.
pub(crate) fn refusal(value: Value, data: &DataSpec) -> String {
    match spec(value).task(data) {
        Ok(_) => "it was built".into(),
        Err(e) => e.to_string(),
    }
}

/// A trained model and how its loss went.
pub(crate) struct Fitted {
    pub(crate) task: Box<dyn Trainable>,
    pub(crate) corpus: Corpus,
    pub(crate) weights: Tensors,
    pub(crate) log: Vec<(u64, LossTerms)>,
}

pub(crate) fn train(
    task: &dyn Trainable,
    corpus: &Corpus,
    steps: u64,
    learning_rate: f64,
) -> sc_train::Result<(Tensors, Vec<(u64, LossTerms)>)> {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        steps,
        minibatch: CELLS,
        learning_rate,
        warmup: 10,
        weight_decay: 0.0,
        checkpoint_every: 1000,
        ..TrainConfig::default()
    };
    let run = Run {
        corpus,
        config: &config,
        seed: 1,
        fingerprint: "",
        folder: folder.path(),
        device: &Device::flex().autodiff(),
        stop: &AtomicBool::new(false),
        warn: &|_| (),
        validation: None,
        start: None,
    };
    let outcome = task.train(&run, &mut |_| {})?;
    let log = sc_train::training::trainer::read_log(&folder.path().join("train.jsonl"))?;
    Ok((outcome.weights, log))
}

/// Highest learning rate, for networks this small.
pub(crate) const RATE: f64 = 5e-3;

pub(crate) fn fit(value: Value, steps: u64) -> Fitted {
    fit_at(RATE, value, steps)
}

pub(crate) fn fit_at(rate: f64, value: Value, steps: u64) -> Fitted {
    let (corpus, data) = data();
    let task = spec(value).task(&data).unwrap();
    let (weights, log) = train(&*task, &corpus, steps, rate).unwrap();
    Fitted {
        task,
        corpus,
        weights,
        log,
    }
}

impl Fitted {
    /// Asserts that a loss is below `share` of what it was: means of the first and last few steps.
    pub(crate) fn fell_below(&self, term: &str, share: f64) {
        let mean = |steps: &[(u64, LossTerms)]| {
            steps.iter().map(|(_, l)| l[term]).sum::<f64>() / steps.len() as f64
        };
        let (first, last) = (mean(&self.log[..2]), mean(&self.log[self.log.len() - 5..]));
        assert!(
            last < share * first,
            "{term} from {first} to {last}, {} of it",
            last / first
        );
    }

    /// Asserts that a loss ends below what `predictor`, which sees no cell, would have.
    pub(crate) fn beats(&self, term: &str, predictor: f64) {
        let last = &self.log[self.log.len() - 5..];
        let last = last.iter().map(|(_, l)| l[term]).sum::<f64>() / last.len() as f64;
        assert!(
            last < predictor,
            "{term} is {last}, without a cell {predictor}"
        );
    }

    /// The labels of the cells it was trained on.
    pub(crate) fn labels(&self) -> Vec<u32> {
        self.corpus.obs.codes(Role::Label, &self.corpus.rows)
    }

    /// The counts it was trained on.
    pub(crate) fn counts(&self) -> CsrMatrix {
        self.corpus.counts.read(&self.corpus.rows).unwrap()
    }

    /// The vector of `cell`, embedded among the cells at `rows`.
    pub(crate) fn embedded_among(&self, cell: usize, rows: Vec<usize>) -> Vec<f32> {
        let corpus = Corpus {
            rows: Arc::new(rows),
            ..self.corpus.clone()
        };
        let (width, mut vector) = (self.task.dims(), Vec::new());
        let sink = &mut |rows: &[usize], vectors: &[f32]| {
            if let Some(at) = rows.iter().position(|&r| r == cell) {
                vector = vectors[at * width..(at + 1) * width].to_vec();
            }
            Ok(())
        };
        let weights = self.weights.clone();
        self.task
            .embed(weights, &corpus, &Device::flex(), sink)
            .unwrap();
        vector
    }

    /// How far company moves the vector of a cell, as a share of the largest number in it; the most
    /// among a few cells.
    pub(crate) fn company_matters(&self) -> f32 {
        let of = |cell: usize| {
            let alone = self.embedded_among(cell, vec![cell]);
            let largest = alone.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(largest > 0.0);
            let company = [vec![40, cell, 17], (0..CELLS).collect()];
            let vectors = company.map(|rows| self.embedded_among(cell, rows));
            let differences = vectors.iter().flat_map(|v| v.iter().zip(&alone));
            differences.fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest
        };
        (5..9).map(of).fold(0.0, f32::max)
    }

    pub(crate) fn is_embedded_cell_by_cell(&self) {
        let moved = self.company_matters();
        assert!(moved < 1e-5, "{moved}");
        // Nor may that be because all cells look the same: they differ by ten times as much.
        let first = self.embedded_among(0, vec![0]);
        let largest = first.iter().fold(0f32, |m, v| m.max(v.abs()));
        let others: Vec<f32> = (1..9)
            .flat_map(|cell| self.embedded_among(cell, vec![cell]))
            .collect();
        let pairs = others.iter().zip(first.iter().cycle());
        let apart = pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(apart > 1e-4 * largest, "{apart} of {largest}");
    }
}

/// A file that spreads the genes over six chromosomes, so that sentences differ in length.
pub(crate) fn chromosomes() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "species,gene_symbol,chromosome,start").unwrap();
    for (g, name) in names().iter().enumerate() {
        writeln!(file, "human,{name},{},{g}", g % 6).unwrap();
    }
    file
}

/// Network and input of the tiny preset.
fn of_preset(architecture: &str) -> (Value, Value) {
    let spec = sc_train::presets::of(architecture, "tiny")
        .unwrap()
        .unwrap();
    (spec.network, spec.input)
}
