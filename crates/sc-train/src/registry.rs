//! All architectures; each describes itself in its own module.

use crate::attention::Attention;
use crate::error::Result;
use crate::gene_vectors::GeneVectors;
use crate::import::Files;
use crate::inputs::data_spec::{DataSpec, Role};
use crate::model::Model;
use crate::perturbation::Perturbs;
use crate::size::Widen;
use crate::spec::{ModelSpec, Trainable};
use crate::tasks;
use serde::Serialize;

/// Description of an architecture.
#[derive(Clone, Copy, Serialize)]
pub struct Architecture {
    /// Name in configurations.
    pub name: &'static str,
    /// Its role in comparisons.
    pub kind: Kind,
    /// Where it was published.
    pub paper: &'static str,
    /// Its tokens.
    pub tokens: &'static str,
    /// Objectives it can be trained with; the first is the default.
    pub objectives: &'static [&'static str],
    /// The objective by which it learns the labels of cells, if there is one.
    pub annotation: Option<&'static str>,
    /// Changes the settings of the network for that objective, where its publishers do.
    #[serde(skip)]
    pub annotation_network: Option<fn(&ModelSpec) -> serde_json::Value>,
    /// Whether it decodes the expression of genes from cells, with an objective on it.
    pub decodes: bool,
    /// Published weights that `scfm convert` imports.
    pub weights: &'static str,
    /// Licence of the original code.
    pub licence: &'static str,
    /// Columns of `obs` that training requires.
    pub needs: &'static [Role],
    /// Modalities it uses.
    pub features: Features,
    /// Whether the embedding of a cell depends on the other cells of its minibatch.
    pub minibatch_dependence: MinibatchDependence,
    /// Sets another hidden width in the network, for baselines that match the size of another
    /// model.
    #[serde(skip)]
    pub widen: Option<Widen>,
    /// Imports published weights, if there are any.
    #[serde(skip)]
    pub import: Option<Import>,
    /// Builds what averages its attention between genes, if it has any.
    #[serde(skip)]
    pub attention: Option<BuildAttention>,
    /// Where it keeps the vectors of genes, if it has any.
    #[serde(skip)]
    pub gene_vectors: Option<GeneVectors>,
    /// Builds what predicts perturbed cells, if a model of it does.
    #[serde(skip)]
    pub perturbs: Option<BuildPerturbs>,
    /// Builds the task.
    #[serde(skip)]
    pub task: fn(&ModelSpec, &DataSpec) -> Result<Box<dyn Trainable>>,
}

/// Role of an architecture in comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A foundation model, compared with the baselines.
    FoundationModel,
    /// A small standard network.
    NeuralBaseline,
}

/// Modalities of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Features {
    /// Counts of genes.
    Genes,
    /// Counts of genes and open peaks of the same cell.
    GenesAndPeaks,
}

/// Whether the embedding of a cell depends on the other cells of its minibatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MinibatchDependence {
    /// It does not.
    None,
    /// It does, by design.
    Always {
        /// The reason, in a few words.
        why: &'static str,
    },
    /// It does for some values of a setting of the network.
    With {
        /// The setting.
        setting: &'static str,
        /// Its values.
        values: &'static [&'static str],
        /// The reason, in a few words.
        why: &'static str,
    },
}

impl MinibatchDependence {
    /// Why the embedding of a cell depends on the others in a model of `spec`; `None` where it
    /// does not.
    pub fn matters(&self, spec: &ModelSpec) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Always { why } => Some(why),
            Self::With {
                setting,
                values,
                why,
            } => {
                let value = spec.network.get(setting).and_then(|v| v.as_str());
                value.filter(|v| values.contains(v)).map(|_| *why)
            }
        }
    }
}

impl MinibatchDependence {
    /// The note in a result for a model of `spec`, or for any setting where that is unknown;
    /// `None` where an embedding depends on no other cell.
    pub fn note(&self, spec: Option<&ModelSpec>) -> Option<String> {
        let why = match (spec, self) {
            (Some(spec), _) => self.matters(spec)?.to_owned(),
            (None, Self::None) => return None,
            (None, Self::Always { why }) => (*why).to_owned(),
            (None, Self::With { why, .. }) => format!("{self}, {why}"),
        };
        Some(format!(
            "a cell's embedding depends on the cells embedded with it: {why}"
        ))
    }
}

impl std::fmt::Display for MinibatchDependence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => write!(f, "no"),
            Self::Always { .. } => write!(f, "always"),
            Self::With {
                setting, values, ..
            } => write!(f, "with {setting} = {}", values.join(" or ")),
        }
    }
}

/// Imports a model from a publisher's files.
pub type Import = fn(&Files) -> Result<Model>;

/// Builds the attention of a model.
pub type BuildAttention = fn(&ModelSpec, &DataSpec) -> Result<Box<dyn Attention>>;

/// Builds what predicts perturbed cells; `None` for a model with another objective.
pub type BuildPerturbs = fn(&ModelSpec, &DataSpec) -> Result<Option<Box<dyn Perturbs>>>;

/// Every architecture, foundation models first.
pub const ARCHITECTURES: &[Architecture] = &[
    tasks::cellplm::CELLPLM,
    tasks::scgpt::SCGPT,
    tasks::scgpt::SCFORMER,
    tasks::uce::UCE,
    tasks::saturn::SATURN,
    tasks::scprint::SCPRINT,
    tasks::nicheformer::NICHEFORMER,
    tasks::geneformer::GENEFORMER,
    tasks::schyena::SCHYENA,
    tasks::scclip::SCCLIP,
    tasks::composed::COMPOSED,
    tasks::vae::VAE,
    tasks::perceptron::AUTOENCODER,
    tasks::perceptron::MLP,
    tasks::perceptron::ISLANDER,
];

/// The architecture of this name.
pub fn find(name: &str) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|a| a.name == name)
}

/// Names of the architectures in which genes attend to genes.
pub fn with_attention() -> Vec<&'static str> {
    let all = ARCHITECTURES.iter().filter(|a| a.attention.is_some());
    all.map(|a| a.name).collect()
}
