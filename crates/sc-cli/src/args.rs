//! The command line.

use crate::outputs::Replace;
use clap::{Parser, Subcommand, ValueEnum};
use sc_data::dataset::{Dataset, Keep};
use sc_data::io::store::CountsPolicy;
use sc_eval::benchmark::Design;
use sc_models::device::DEFAULT;
use sc_train::registry::ARCHITECTURES;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Pretrain, embed with and honestly judge single-cell foundation models.
///
/// Exit code 0: done. 1: a check failed. 2: an error, which is written to standard error.
#[derive(Debug, Parser)]
#[command(name = "scfm", version, propagate_version = true)]
pub(crate) struct Args {
    /// Threads to compute with [default: all cores]; results do not depend on it
    #[arg(long, global = true, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Say more of what is done; twice for details [also: SCFM_LOG=info]
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// Log errors only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Look at a file: what is in it, and what would go wrong later
    Doctor(Doctor),
    /// Train a model on a file
    Pretrain(Pretrain),
    /// Embed the cells of a file with a trained model
    Embed(Embed),
    /// Write which genes a trained model makes attend to which
    Network(Network),
    /// Evaluate embeddings against simple baselines and controls
    Eval(Eval),
    /// Do one run of an experiment: train, embed, evaluate
    Run(Run),
    /// Make one HTML page of results
    Report(Report),
    /// Write a file in another form
    Convert(Convert),
    /// Write a simulated data set
    Simulate(Simulate),
    /// What can be trained
    Models(Models),
    /// Completions for a shell
    Completions(Completions),
}

/// How lists are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// Where counts are found, and on what the work is done.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Input {
    /// The cells: .h5ad, 10x .h5, a folder of matrix.mtx, .h5mu[/modality], .zarr or .loom
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) from: CountsFrom,
}

/// Which matrix is taken as counts.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct CountsFrom {
    /// Matrix with the counts: X, raw/X or layers/NAME [default: layers/counts, raw/X, X]
    #[arg(long, value_name = "MATRIX")]
    pub(crate) counts: Option<String>,
    /// Take ln(1 + scaled counts) where there are no counts, or of --counts; values that were never
    /// logged are refused
    #[arg(long)]
    pub(crate) assume_normalized: bool,
}

impl Input {
    /// Opens the cells, and says what was assumed of their values.
    pub(crate) fn open(&self) -> crate::error::Result<Dataset> {
        self.from.open(std::slice::from_ref(&self.file))
    }
}

impl CountsFrom {
    /// Opens the files, and says what was assumed of their values.
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
        Ok(dataset)
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1".to_owned()),
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// The cells: .h5ad, 10x .h5, a folder of matrix.mtx, .h5mu[/modality], .zarr or .loom
    pub(crate) file: PathBuf,
    /// Folders of trained models, or published vocabularies, to tell which genes they would find
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Vec<PathBuf>,
    /// How to print
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
    /// Folder for the model; a run that was stopped goes on from its checkpoints
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// The model and how to train it: a file, or the name of a preset such as scgpt-tiny
    #[arg(short, long, value_name = "TOML|PRESET")]
    pub(crate) config: PathBuf,
    /// Change a setting, as in --set train.steps=500
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Column of obs with the sequencing batch; of several files, each is a batch unless it is given
    #[arg(long, value_name = "COLUMN")]
    pub(crate) batch: Option<String>,
    /// Row-packed copy of the counts: auto (in $SCFM_CACHE or the user's cache folder, when the data
    /// are large and read more than once), never, or a folder; the result does not depend on it
    #[arg(long, value_name = "WHERE", default_value_t)]
    pub(crate) store: Keep,
    /// Device: flex, ndarray, wgpu, vulkan, metal, cuda or cuda:1, as far as built in
    #[arg(long, default_value = DEFAULT)]
    pub(crate) device: String,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Print the plan and what it needs, and stop
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
    /// What to write: a copy of the file with the embedding (.h5ad), an array (.npy), a table (.parquet)
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["in_place", "dry_run"])]
    pub(crate) output: Option<PathBuf>,
    /// Write the embedding into the file itself
    #[arg(long, conflicts_with = "output")]
    pub(crate) in_place: bool,
    #[command(flatten)]
    pub(crate) replace: Replace,
    /// Name in obsm; X_ and the architecture unless given
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// Take human genes for mouse ones, or the reverse, by one-to-one orthologues
    #[arg(long)]
    pub(crate) orthologs: bool,
    /// Refuse when fewer genes match, as a share of those that could (the smaller of both sides)
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    pub(crate) min_overlap: f64,
    /// Column of obs with the sequencing batch, where the model groups cells by it
    #[arg(long, value_name = "COLUMN")]
    pub(crate) batch: Option<String>,
    /// Device: flex, ndarray, wgpu, vulkan, metal, cuda or cuda:1, as far as built in
    #[arg(long, default_value = DEFAULT)]
    pub(crate) device: String,
    /// Print the plan and what it needs, and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What is made of the attention of a model's heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Heads {
    /// The mean of all
    Mean,
    /// The strongest of all, pair by pair
    Max,
    /// Every head apart
    Each,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Network {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Folder of a trained model that attends from genes to genes (scprint)
    #[arg(short, long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// The table to write (.tsv): gene, the gene it attends to, weight
    #[arg(short, long, value_name = "TSV")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) replace: Replace,
    /// Which heads
    #[arg(long, value_enum, default_value = "mean", conflicts_with = "known")]
    pub(crate) heads: Heads,
    /// Known edges (.tsv: regulator, target): heads are chosen that see those of half the regulators,
    /// and judged on those of the other half
    #[arg(long, value_name = "TSV")]
    pub(crate) known: Option<PathBuf>,
    /// Strongest edges kept of every gene; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) top: usize,
    /// Column of obs with the sequencing batch, where the model groups cells by it
    #[arg(long, value_name = "COLUMN")]
    pub(crate) batch: Option<String>,
    /// Refuse when fewer genes match, as a share of those that could (the smaller of both sides)
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    pub(crate) min_overlap: f64,
    /// Device: flex, ndarray, wgpu, vulkan, metal, cuda or cuda:1, as far as built in
    #[arg(long, default_value = DEFAULT)]
    pub(crate) device: String,
}

/// Cells that are not trained on, to evaluate the model on them.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Held-out cells")]
pub(crate) struct HoldOut {
    /// Train on a part of the donors only, drawn as `eval` draws them; split.json in the model folder
    /// names the others, for eval --split
    #[arg(long)]
    pub(crate) hold_out: bool,
    /// Hold out what was held out before: split.json of another model folder
    #[arg(long, value_name = "JSON", conflicts_with = "hold_out")]
    pub(crate) split: Option<PathBuf>,
    /// Column of obs with the donor [default: donor_id]; 'none' holds out cells at random
    #[arg(long, value_name = "COLUMN", requires = "hold_out")]
    pub(crate) donor: Option<String>,
    /// Column of obs with the cell type, so that no type is held out as a whole [default: cell_type];
    /// 'none' for data without. The model is not conditioned on it
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
    /// Column of obs with the sequencing batch; none to evaluate cell types only
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
    /// Score on the cells that this split.json of a model folder holds out
    #[arg(long, value_name = "JSON", conflicts_with = "test_fraction")]
    pub(crate) split: Option<PathBuf>,
    /// Embeddings of obsm to evaluate [default: every X_… with more than two columns]
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub(crate) obsm: Vec<String>,
    /// Baselines and controls beside them
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
    /// The resolved settings of the run (run.toml)
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
    /// Heading of the page
    #[arg(long, default_value = "Evaluation of cell embeddings")]
    pub(crate) title: String,
}

/// What a file can be turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConvertTo {
    /// Row-packed counts (.rows): what training reads fastest
    Store,
    /// A new .h5ad with everything a file of another format holds
    H5ad,
    /// A model folder of published weights
    Model,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Convert {
    #[command(flatten)]
    pub(crate) input: Input,
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

/// What `--from` takes, by the registry.
fn architectures_with_weights() -> String {
    let names = ARCHITECTURES.iter().filter(|a| a.import.is_some());
    let names: Vec<&str> = names.map(|a| a.name).collect();
    format!("The architecture of the weights: {}", names.join(", "))
}

/// What published weights need besides themselves.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Published weights")]
pub(crate) struct Weights {
    #[arg(long, value_name = "ARCHITECTURE", help = architectures_with_weights())]
    pub(crate) from: Option<String>,
    /// The configuration, where it does not lie beside the weights (args.json, NAME.config.json, config.json)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Genes in the order of their tokens (vocab.json, model.h5ad, token_dictionary.pkl, or one a line)
    #[arg(long, value_name = "FILE")]
    pub(crate) vocab: Option<PathBuf>,
    /// UCE: species_chrom.csv
    #[arg(long, value_name = "CSV")]
    pub(crate) chromosomes: Option<PathBuf>,
    /// UCE: the species in that table
    #[arg(long, value_name = "NAME", default_value = "human")]
    pub(crate) species: String,
    /// UCE: token of the first gene of the species
    #[arg(long, value_name = "N")]
    pub(crate) offset: Option<u32>,
    /// Nicheformer: mean of every gene for the technology; Geneformer: its median. A .npy with one number a
    /// gene, in the order of the vocabulary, without special tokens
    #[arg(long, value_name = "NPY")]
    pub(crate) means: Option<PathBuf>,
    /// Attention heads, where no file tells
    #[arg(long, value_name = "N")]
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
    /// Change a setting, as in --set batches=3
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Number of cells
    #[arg(long)]
    pub(crate) cells: Option<usize>,
    /// Number of genes
    #[arg(long)]
    pub(crate) genes: Option<usize>,
    /// Seed of every draw
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
        /// How to print
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
