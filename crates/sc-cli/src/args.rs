//! The command line.

mod prediction;

pub(crate) use prediction::{
    Annotate, Denoise, Finetune, GeneMatching, Genes, Map, PerturbArgs, StartAt, Task,
};

use crate::outputs::Replace;
use clap::{Parser, Subcommand, ValueEnum};
use sc_data::dataset::{Dataset, Keep};
use sc_data::io::store::CountsPolicy;
use sc_eval::benchmark::Design;
use sc_models::device::DEFAULT;
use sc_models::precision::Precision;
use sc_train::registry::ARCHITECTURES;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Pretrain, embed with and evaluate single-cell foundation models.
///
/// Exit code 0: success. 1: a check failed. 2: an error, which is written to standard error. 75: training
/// was stopped; the same command resumes it.
#[derive(Debug, Parser)]
#[command(name = "scfm", version, propagate_version = true)]
pub(crate) struct Args {
    /// Number of threads [default: all cores]; results do not depend on it
    #[arg(long, global = true, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Log more; twice for details [also, unless -v or -q is given: SCFM_LOG=info or debug]
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// Write only errors, warnings and the result
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Inspect a file: what it contains, and what training or evaluation would refuse
    Doctor(Doctor),
    /// Train a model on a file
    Pretrain(Pretrain),
    /// Train a model further, to tell labels or for another task, and compare it with simple models
    Finetune(Finetune),
    /// Label the cells of a file with a fine-tuned model
    Annotate(Annotate),
    /// Label the cells of a file by their neighbours among those of a labelled reference
    Map(Map),
    /// Write expected counts, without the noise of sampling, as a layer
    Denoise(Denoise),
    /// Write the vectors of genes of a model, find near genes, and score what they know
    Genes(Genes),
    /// Predict what a perturbation of genes does to control cells
    Perturb(PerturbArgs),
    /// Embed the cells of a file with a trained model
    Embed(Embed),
    /// Write the attention between genes of a trained model
    Network(Network),
    /// Evaluate embeddings against simple baselines and controls
    Eval(Eval),
    /// Do one run of an experiment: train, embed, evaluate
    Run(Run),
    /// Write one HTML page of results
    Report(Report),
    /// Convert a file to another format, or published weights to a model
    Convert(Convert),
    /// Write a simulated data set
    Simulate(Simulate),
    /// List the models
    Models(Models),
    /// Write completions for a shell
    Completions(Completions),
}

/// Format of lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables
    #[default]
    Table,
    /// JSON
    Json,
}

/// Source of the counts, and the cells.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Input {
    /// The cells: .h5ad, 10x .h5, a folder of matrix.mtx, .h5mu[/modality], .zarr or .loom
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) from: CountsFrom,
}

/// Source of the counts.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct CountsFrom {
    /// Matrix with the counts: X, raw/X or layers/NAME [default: layers/counts, raw/X, X]
    #[arg(long, value_name = "MATRIX")]
    pub(crate) counts: Option<String>,
    /// Use ln(1 + scaled counts) where there are no counts, or in --counts; values that were never
    /// log-transformed are refused
    #[arg(long)]
    pub(crate) assume_normalized: bool,
}

impl Input {
    /// Opens the cells, and prints what was assumed about their values.
    pub(crate) fn open(&self) -> crate::error::Result<Dataset> {
        self.from.open(std::slice::from_ref(&self.file))
    }
}

impl CountsFrom {
    /// Opens the files, and prints what was assumed about their values.
    pub(crate) fn open(&self, files: &[PathBuf]) -> crate::error::Result<Dataset> {
        let policy = match (&self.counts, self.assume_normalized) {
            (Some(name), false) => CountsPolicy::Named(name.clone()),
            (Some(name), true) => CountsPolicy::NamedNormalized(name.clone()),
            (None, true) => CountsPolicy::AssumeNormalized,
            (None, false) => CountsPolicy::RequireCounts,
        };
        let dataset = Dataset::open_all(files, &policy)?;
        if let Some(assumption) = dataset.assumption() {
            eprintln!("scfm: {}: {assumption}", dataset.path().display());
        }
        for warning in dataset.few_shared_genes() {
            eprintln!("warning: {warning}");
        }
        Ok(dataset)
    }
}

/// A number of threads; far more than cores would only wait for one another.
fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let number: NonZeroUsize = text
        .parse()
        .map_err(|_| "must be a number from 1 on".to_owned())?;
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let most = 4 * cores.max(4);
    match number.get() <= most {
        true => Ok(number),
        false => Err(format!(
            "this machine has {cores} cores; at most {most} threads"
        )),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be between 0 and 1".to_owned()),
    }
}

fn inner_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("must be above 0 and below 1".to_owned()),
    }
}

fn resolution(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if value > 0.0 && f64::is_finite(value) => Ok(value),
        _ => Err("must be above 0".to_owned()),
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// The cells: .h5ad, 10x .h5, a folder of matrix.mtx, .h5mu[/modality], .zarr or .loom
    #[arg(required_unless_present = "machine")]
    pub(crate) file: Option<PathBuf>,
    /// Describe this machine instead: threads, memory, devices and the speed of their matrix products
    #[arg(long, conflicts_with_all = ["file", "model"])]
    pub(crate) machine: bool,
    /// Folder of a trained model, or a published vocabulary, to match with the genes of the file; can be
    /// repeated
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Vec<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pretrain {
    /// The files of one experiment (.h5ad and the other formats); genes are joined by name
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) from: CountsFrom,
    /// Folder for the model; a stopped run resumes from its checkpoints
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// The model and its training: a file, or the name of a preset such as scgpt-tiny
    #[arg(short, long, value_name = "TOML|PRESET")]
    pub(crate) config: PathBuf,
    /// Change a setting, as in --set train.steps=500; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Column of obs with the sequencing batch [default: one batch per file]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) batch: Option<String>,
    /// Row-packed copy of the counts: auto (in $SCFM_CACHE or the user's cache folder, when the data
    /// are large and read more than once), never, or a folder; the result does not depend on it
    #[arg(long, value_name = "WHERE", default_value_t)]
    pub(crate) store: Keep,
    /// Device: flex, ndarray, wgpu, vulkan, metal, cuda or cuda:1, as far as built in
    #[arg(long, default_value = DEFAULT)]
    pub(crate) device: String,
    /// Precision of matrix products: f32, bf16 or f16, as far as the device has it [default:
    /// train.precision of the configuration]
    #[arg(long)]
    pub(crate) precision: Option<Precision>,
    /// Share of the training cells, by donor (--donor, or donor_id where the files have it), on which the
    /// best step is chosen; training stops when nothing gets better [default: none, the last step is kept]
    #[arg(long, value_name = "SHARE", value_parser = inner_share)]
    pub(crate) validation: Option<f64>,
    /// Seed of all random draws
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Print the plan and its requirements, and exit
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) hold_out: HoldOut,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Embed {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Folder of a trained model
    #[arg(short, long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Output: a copy of the file with the embedding (.h5ad), an array (.npy), a table (.parquet)
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["in_place", "dry_run"])]
    pub(crate) output: Option<PathBuf>,
    /// Write the embedding into the file itself
    #[arg(long, conflicts_with = "output")]
    pub(crate) in_place: bool,
    #[command(flatten)]
    pub(crate) replace: Replace,
    /// Name in obsm [default: X_ and the architecture]
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// Add a UMAP of the embedding, as obsm X_umap_MODEL, for sc.pl.embedding
    #[arg(long)]
    pub(crate) umap: bool,
    /// Add Leiden clusters of the embedding, as obs leiden_MODEL
    #[arg(long, value_name = "RESOLUTION", num_args = 0..=1, default_missing_value = "1.0", value_parser = resolution)]
    pub(crate) leiden: Option<f64>,
    #[command(flatten)]
    pub(crate) matching: GeneMatching,
    /// Column of obs with the sequencing batch, where the model groups cells by it
    #[arg(long, value_name = "COLUMN")]
    pub(crate) batch: Option<String>,
    /// Device: flex, ndarray, wgpu, vulkan, metal, cuda or cuda:1, as far as built in
    #[arg(long, default_value = DEFAULT)]
    pub(crate) device: String,
    /// Precision of matrix products: f32, bf16 or f16, as far as the device has it
    #[arg(long, default_value_t)]
    pub(crate) precision: Precision,
    /// Print the plan and its requirements, and exit
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Aggregation of attention heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Heads {
    /// The mean of all heads
    Mean,
    /// The element-wise maximum of all heads
    Max,
    /// Every head separately
    Each,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Network {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Folder of a trained model with attention between genes (scprint)
    #[arg(short, long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// The table to write (.tsv): gene, the gene it attends to, weight
    #[arg(short, long, value_name = "TSV")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) replace: Replace,
    /// Aggregation of the attention heads
    #[arg(long, value_enum, default_value = "mean", conflicts_with = "known")]
    pub(crate) heads: Heads,
    /// Known edges (.tsv: regulator, target; a header is allowed): heads are selected on half of the regulators, and
    /// evaluated on the other half
    #[arg(long, value_name = "TSV")]
    pub(crate) known: Option<PathBuf>,
    /// Strongest edges kept per attending gene; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) top: usize,
    /// Column of obs with the sequencing batch, where the model groups cells by it
    #[arg(long, value_name = "COLUMN")]
    pub(crate) batch: Option<String>,
    /// Minimum share of matching genes, of the genes of the file or the model, whichever has fewer
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    pub(crate) min_overlap: f64,
    /// Device: flex, ndarray, wgpu, vulkan, metal, cuda or cuda:1, as far as built in
    #[arg(long, default_value = DEFAULT)]
    pub(crate) device: String,
}

/// Cells held out from training, to evaluate the model on them.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Held-out cells")]
pub(crate) struct HoldOut {
    /// Hold out some of the donors, drawn as in `eval`; split.json in the model folder lists them,
    /// for eval --split
    #[arg(long)]
    pub(crate) hold_out: bool,
    /// Hold out the cells of a saved split: split.json of another model folder
    #[arg(long, value_name = "JSON", conflicts_with = "hold_out")]
    pub(crate) split: Option<PathBuf>,
    /// Column of obs with the donor [default: donor_id]; 'none' holds out cells at random
    #[arg(long, value_name = "COLUMN")]
    pub(crate) donor: Option<String>,
    /// Column of obs with the cell type, so that no type is held out completely [default:
    /// cell_type]; 'none' for data without. The model does not see it
    #[arg(long, value_name = "COLUMN", requires = "hold_out")]
    pub(crate) label: Option<String>,
    /// Share of the donors held out [default: 0.35]
    #[arg(long, value_name = "SHARE", requires = "hold_out")]
    pub(crate) test_fraction: Option<f64>,
}

/// Columns and split of an evaluation.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Columns {
    /// Column of obs with the cell type
    #[arg(long, value_name = "COLUMN", default_value_t = Design::default().label)]
    pub(crate) label: String,
    /// Column of obs with the sequencing batch; 'none' to evaluate cell types only
    #[arg(long, value_name = "COLUMN", default_value_t = Design::default().batch)]
    pub(crate) batch: String,
    /// Column of obs with the donor; 'none' holds out cells at random [default: what the models of the
    /// file held out, or donor_id]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) donor: Option<String>,
    /// Share of the donors held out [default: what the models of the file held out, or 0.35]
    #[arg(long, value_name = "SHARE")]
    pub(crate) test_fraction: Option<f64>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Eval {
    #[command(flatten)]
    pub(crate) input: Input,
    #[command(flatten)]
    pub(crate) columns: Columns,
    /// Score on the held-out cells of this split.json from a model folder
    #[arg(long, value_name = "JSON", conflicts_with = "test_fraction")]
    pub(crate) split: Option<PathBuf>,
    /// Embeddings of obsm to evaluate [default: every X_… with more than two columns]
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub(crate) obsm: Vec<String>,
    /// Baselines and controls to compare with
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "hvg,pca,lr-counts,knn,shuffled-labels,one-hot,random-embedding"
    )]
    pub(crate) methods: Vec<String>,
    /// Seed of split and clustering
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Folder for results and report
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) replace: Replace,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The resolved settings of the run: the run.toml that `cargo xtask experiment` writes
    #[arg(short, long, value_name = "TOML")]
    pub(crate) config: PathBuf,
    /// Folder for the result
    #[arg(short, long, value_name = "DIR", alias = "out")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Report {
    /// result.json files, or folders with them
    #[arg(required = true)]
    pub(crate) results: Vec<PathBuf>,
    /// The page to write (.html)
    #[arg(short, long, value_name = "HTML")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) replace: Replace,
    /// Title of the page
    #[arg(long, default_value = "Evaluation of cell embeddings")]
    pub(crate) title: String,
}

/// Target formats of conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConvertTo {
    /// Row-packed counts (.rows): fastest for training
    Store,
    /// A new .h5ad with the whole content of a file in another format
    H5ad,
    /// A model folder from published weights
    Model,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Convert {
    /// What to convert: cells (.h5ad, 10x .h5, a folder of matrix.mtx, .h5mu[/modality], .zarr or .loom), or
    /// with --from published weights, a file or the folder they lie in
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) matrix: CountsFrom,
    /// What to write [default: a model, when --from is given]
    #[arg(long, value_enum, required_unless_present = "from")]
    pub(crate) to: Option<ConvertTo>,
    /// The file (.h5ad, .rows) or folder (a model) to write
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) replace: Replace,
    #[command(flatten)]
    pub(crate) weights: Weights,
}

/// The values of `--from`, from the registry.
fn architectures_with_weights() -> String {
    let names = ARCHITECTURES.iter().filter(|a| a.import.is_some());
    let names: Vec<&str> = names.map(|a| a.name).collect();
    format!("The architecture of the weights: {}", names.join(", "))
}

/// Further files of published weights.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Published weights")]
pub(crate) struct Weights {
    #[arg(long, value_name = "ARCHITECTURE", help = architectures_with_weights())]
    pub(crate) from: Option<String>,
    /// The configuration, where it does not lie beside the weights (args.json, NAME.config.json, config.json)
    #[arg(long, value_name = "FILE", requires = "from")]
    pub(crate) config: Option<PathBuf>,
    /// Genes in the order of their tokens (vocab.json, model.h5ad, token_dictionary.pkl, or one a line)
    #[arg(long, value_name = "FILE", requires = "from")]
    pub(crate) vocab: Option<PathBuf>,
    /// UCE: species_chrom.csv
    #[arg(long, value_name = "CSV", requires = "from")]
    pub(crate) chromosomes: Option<PathBuf>,
    /// UCE: the species in that table [default: human]
    #[arg(long, value_name = "NAME", requires = "from")]
    pub(crate) species: Option<String>,
    /// UCE: token of the first gene of the species
    #[arg(long, value_name = "N", requires = "from")]
    pub(crate) offset: Option<u32>,
    /// Nicheformer: mean of every gene for the technology; Geneformer: its median. A .npy with one number per
    /// gene, in the order of the vocabulary, without special tokens; Geneformer also reads its
    /// gene_median_dictionary.pkl
    #[arg(long, value_name = "FILE", requires = "from")]
    pub(crate) means: Option<PathBuf>,
    /// scPRINT, Nicheformer, scCLIP, UCE: attention heads, where no file tells
    #[arg(long, value_name = "N", requires = "from")]
    pub(crate) heads: Option<usize>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Simulate {
    /// The file to write (.h5ad)
    #[arg(short, long, value_name = "H5AD")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) replace: Replace,
    /// Settings of the simulation (TOML); every setting has a default
    #[arg(short, long, value_name = "TOML")]
    pub(crate) config: Option<PathBuf>,
    /// Change a setting, as in --set batches=3; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Number of cells
    #[arg(long)]
    pub(crate) cells: Option<usize>,
    /// Number of genes
    #[arg(long)]
    pub(crate) genes: Option<usize>,
    /// Seed of all random draws
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Models {
    #[command(subcommand)]
    pub(crate) verb: ModelsVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsVerb {
    /// List architectures
    List {
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}
