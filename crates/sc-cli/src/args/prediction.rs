//! The arguments of verbs that fine-tune and predict.

use super::{CountsFrom, Input, inner_share, share};
use crate::outputs::Replace;
use clap::ValueEnum;
use sc_data::genes::Across;
use sc_eval::benchmark::Design;
use sc_models::device::DEFAULT;
use sc_models::precision::Precision;
use sc_train::embed::Matching;
use sc_train::finetune::Goal;
use sc_train::training::config::Freeze;
use std::path::PathBuf;

/// Where fine-tuning starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum StartAt {
    /// The weights of the model
    #[default]
    Pretrained,
    /// Initial weights, to see what pretraining is worth
    Scratch,
}

/// What fine-tuning is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Task {
    /// The labels of cells
    #[default]
    Annotation,
    /// One embedding of several batches (scgpt, scformer)
    Integration,
    /// The expression of cells (cellplm, scprint, vae, schyena, composed)
    Denoise,
    /// The expression of perturbed cells (scgpt)
    Perturbation,
    /// The cell types around a cell (nicheformer, with a niche table in its settings)
    Niche,
}

impl Task {
    /// The same for the library.
    pub(crate) fn goal(self) -> Goal {
        match self {
            Self::Annotation => Goal::Annotation,
            Self::Integration => Goal::Integration,
            Self::Denoise => Goal::Denoise,
            Self::Perturbation => Goal::Perturbation,
            Self::Niche => Goal::Niche,
        }
    }
}

/// Example:
///   scfm finetune pretrained/ cells.h5ad --label cell_type --hold-out -o annotator/
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Finetune {
    /// The model to start from: a model folder, a publisher's folder, or the name of a preset (which has no
    /// weights, so training starts from scratch)
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// The labelled cells: .h5ad and the other formats; several files of one experiment are joined
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) counts: CountsFrom,
    /// What the model is to learn
    #[arg(long, value_enum, default_value_t)]
    pub(crate) task: Task,
    /// Column of obs with the labels, or the perturbations [default: cell_type, or perturbation]; other tasks
    /// read none
    #[arg(long, value_name = "COLUMN")]
    pub(crate) label: Option<String>,
    /// Folder for the fine-tuned model; a stopped run resumes from its checkpoints
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Where training starts
    #[arg(long, value_enum, default_value_t)]
    pub(crate) from: StartAt,
    /// Weights left as they are: none, embedding, layers:N, or encoder for all but the classifier
    #[arg(long, value_name = "WHAT")]
    pub(crate) freeze: Option<Freeze>,
    /// Change a setting, as in --set train.steps=500; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Column of obs with the sequencing batch [default: one batch per file]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) batch: Option<String>,
    /// Column of obs with the donor: some donors choose the best step and calibrate, and with --hold-out
    /// some are only for the scores [default: donor_id, where the file has it]; 'none' draws cells at random
    #[arg(long, value_name = "COLUMN")]
    pub(crate) donor: Option<String>,
    /// Share of the training cells that choose the best step and calibrate the probabilities
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = inner_share)]
    pub(crate) validation: f64,
    /// Hold out donors for the scores: those that the model was not trained on, where its folder names some,
    /// else drawn
    #[arg(long)]
    pub(crate) hold_out: bool,
    /// Hold out the cells of a saved split: split.json of another model folder
    #[arg(long, value_name = "JSON", conflicts_with_all = ["hold_out", "test_fraction"])]
    pub(crate) split: Option<PathBuf>,
    /// Share of the donors held out [default: 0.35]
    #[arg(long, value_name = "SHARE", requires = "hold_out")]
    pub(crate) test_fraction: Option<f64>,
    #[command(flatten)]
    pub(crate) matching: GeneMatching,
    /// Device: flex, ndarray, wgpu, vulkan, metal, cuda or cuda:1, as far as built in
    #[arg(long, default_value = DEFAULT)]
    pub(crate) device: String,
    /// Precision of matrix products: f32, bf16 or f16, as far as the device has it [default: that of the
    /// model's training]
    #[arg(long)]
    pub(crate) precision: Option<Precision>,
    /// Seed of all random draws
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Print the plan and its requirements, and exit
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// How the genes of a file are matched to those of a model.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct GeneMatching {
    /// Match human genes to mouse genes, or the reverse, by one-to-one orthologues
    #[arg(long)]
    pub(crate) orthologs: bool,
    /// Minimum share of matching genes, of the genes of the file or the model, whichever has fewer
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    pub(crate) min_overlap: f64,
}

impl GeneMatching {
    /// The same for the library, with the column of the sequencing batch.
    pub(crate) fn with_batch(&self, batch: Option<&str>) -> Matching {
        Matching {
            across: match self.orthologs {
                true => Across::Orthologs,
                false => Across::Same,
            },
            min_overlap: self.min_overlap,
            batch: batch.map(str::to_owned),
        }
    }
}

/// Example:
///   scfm annotate query.h5ad --model annotator/ -o labelled.h5ad
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Annotate {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Folder of a model that was trained on labels (scfm finetune)
    #[arg(short, long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Output: a copy of the file with the labels in obs (.h5ad), or a table (.tsv)
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["in_place", "dry_run"])]
    pub(crate) output: Option<PathBuf>,
    /// Write the labels into the file itself
    #[arg(long, conflicts_with = "output")]
    pub(crate) in_place: bool,
    #[command(flatten)]
    pub(crate) replace: Replace,
    /// Begin of the names in obs: NAME_label and NAME_probability [default: the architecture]
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// Least probability of a label; a less probable one becomes 'unknown', and 0 labels every cell with
    /// counts [default: the threshold that was calibrated on validation cells]
    #[arg(long, value_name = "P", value_parser = share)]
    pub(crate) threshold: Option<f64>,
    /// Column of obs with the sequencing batch, where the model groups cells by it
    #[arg(long, value_name = "COLUMN")]
    pub(crate) batch: Option<String>,
    #[command(flatten)]
    pub(crate) matching: GeneMatching,
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

/// Example:
///   scfm map query.h5ad --reference atlas.h5ad --model pretrained/ -o mapped.h5ad
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Map {
    #[command(flatten)]
    pub(crate) input: Input,
    /// The labelled cells, in a file of any supported format
    #[arg(long, value_name = "FILE")]
    pub(crate) reference: PathBuf,
    /// Folder of a trained model, which embeds both files
    #[arg(short, long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Column of obs of the reference with the labels
    #[arg(long, value_name = "COLUMN", default_value_t = Design::default().label)]
    pub(crate) label: String,
    /// Column of obs of the reference with the donor: how far a cell may be is learnt from cells of other
    /// donors [default: donor_id, where the reference has it]; 'none' compares all cells
    #[arg(long, value_name = "COLUMN")]
    pub(crate) donor: Option<String>,
    /// Number of neighbours
    #[arg(short, long, value_name = "K", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) k: u32,
    /// Output: a copy of the file with the labels in obs (.h5ad), or a table (.tsv)
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["in_place", "dry_run"])]
    pub(crate) output: Option<PathBuf>,
    /// Write the labels into the file itself
    #[arg(long, conflicts_with = "output")]
    pub(crate) in_place: bool,
    #[command(flatten)]
    pub(crate) replace: Replace,
    /// Begin of the names in obs: NAME_map_label, NAME_map_share and NAME_map_distance [default: the
    /// architecture]
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// Label every cell, however far from the reference
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) matching: GeneMatching,
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

/// Example:
///   scfm genes pretrained/ --nearest CD3D
///   scfm genes pretrained/ --sets hallmark.gmt --cells cells.h5ad -o genes.tsv
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Genes {
    /// Folder of a trained model
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Output: a table with a line per gene (.tsv), or an array with its genes beside it (.npy, .npy.json)
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["nearest", "sets"])]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) replace: Replace,
    /// Print the ten genes nearest to this one; can be repeated
    #[arg(long, value_name = "GENE")]
    pub(crate) nearest: Vec<String>,
    /// Score the vectors on sets of genes (.gmt): are genes of a set nearer to one another than to others?
    #[arg(long, value_name = "GMT")]
    pub(crate) sets: Option<PathBuf>,
    /// Cells for controls of --sets: principal components of the genes, and their mean expression alone
    #[arg(long, value_name = "FILE", requires = "sets")]
    pub(crate) cells: Option<PathBuf>,
}

/// Example:
///   scfm perturb screen.h5ad --model perturbations/ --condition KLF1+MAP2K6 -o effects.tsv
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct PerturbArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Folder of a model that was trained on perturbations (scgpt with objective = "perturbation")
    #[arg(short, long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Genes that are perturbed together, as GENE or GENE+GENE; can be repeated
    #[arg(long, value_name = "GENE+GENE", required_unless_present = "screen")]
    pub(crate) condition: Vec<String>,
    /// Predict every perturbation that the model was trained on or the file has
    #[arg(long, conflicts_with = "condition")]
    pub(crate) screen: bool,
    /// Column of obs with the perturbation, to find controls and measured cells; without that column every
    /// cell is a control [default: that of the model's training]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) column: Option<String>,
    /// Control cells to predict for, evenly from all
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cells: u32,
    /// Genes that change most, kept for each perturbation; 0 for all
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) top: usize,
    /// The table to write (.tsv): condition, gene, control, predicted, change; values are ln(1 + scaled
    /// counts)
    #[arg(short, long, value_name = "TSV")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) replace: Replace,
    #[command(flatten)]
    pub(crate) matching: GeneMatching,
    /// Device: flex, ndarray, wgpu, vulkan, metal, cuda or cuda:1, as far as built in
    #[arg(long, default_value = DEFAULT)]
    pub(crate) device: String,
    /// Print the plan and its requirements, and exit
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Example:
///   scfm denoise cells.h5ad --model pretrained/ -o denoised.h5ad
///   scfm denoise cells.h5ad --model pretrained/ --score
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Denoise {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Folder of a trained model that decodes expression
    #[arg(short, long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Output: a copy of the file with the layer (.h5ad), an array (.npy), a table (.parquet)
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["in_place", "dry_run", "score"])]
    pub(crate) output: Option<PathBuf>,
    /// Write the layer into the file itself
    #[arg(long, conflicts_with = "output")]
    pub(crate) in_place: bool,
    #[command(flatten)]
    pub(crate) replace: Replace,
    /// Name of the layer [default: denoised_ and the architecture]
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// Score the model instead: set a tenth of the molecules aside, and predict them from the rest, beside
    /// the mean of each gene and the mean of neighbours
    #[arg(long, conflicts_with_all = ["output", "in_place"])]
    pub(crate) score: bool,
    /// Seed of the molecules that --score sets aside
    #[arg(long, default_value_t = 0, requires = "score")]
    pub(crate) seed: u64,
    /// Column of obs with the sequencing batch, where the model is conditioned on it; cells of other batches
    /// are decoded as those of its first
    #[arg(long, value_name = "COLUMN")]
    pub(crate) batch: Option<String>,
    #[command(flatten)]
    pub(crate) matching: GeneMatching,
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
