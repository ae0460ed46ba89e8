//! Perceptrons on whole cells: supervised classifier, autoencoder, Islander.

use crate::error::Result;
use crate::inputs::corpus::{CellBatch, Corpus};
use crate::inputs::data_spec::{DataSpec, Role};
use crate::losses::supervised::{Mixup, mixup};
use crate::losses::tokens::mean_squared_error;
use crate::losses::{Losses, cross_entropy};
use crate::predict::Quantity;
use crate::registry::{Architecture, Features, Kind, MinibatchDependence};
use crate::spec::{ModelSpec, Trainable};
use crate::task::{Task, whole};
use burn::tensor::{Device, Tensor};
use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use sc_data::CsrMatrix;
use sc_data::counts::log_normalize;
use sc_data::rng::stream;
use sc_data::sampling::sampler;
use sc_data::tokens::Tokenizer;
use sc_models::layers::norm::Phase;
use sc_models::layers::sparse::dense;
use sc_models::perceptron::{Perceptron, PerceptronConfig};
use sc_models::ranges;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The supervised perceptron in the registry.
pub const MLP: Architecture = Architecture {
    name: "mlp",
    kind: Kind::NeuralBaseline,
    paper: "baseline: supervised perceptron",
    tokens: "whole cells, log-normalised",
    objectives: &["classify"],
    annotation: Some("classify"),
    annotation_network: None,
    decodes: false,
    weights: "none published",
    licence: "ours",
    needs: &[Role::Label],
    features: Features::Genes,
    minibatch_dependence: MinibatchDependence::None,
    widen: Some(widen),
    import: None,
    attention: None,
    gene_vectors: None,
    perturbs: None,
    task,
};

/// The autoencoder in the registry.
pub const AUTOENCODER: Architecture = Architecture {
    name: "autoencoder",
    kind: Kind::NeuralBaseline,
    paper: "baseline: autoencoder",
    objectives: &["reconstruct"],
    annotation: None,
    needs: &[],
    ..MLP
};

/// Islander in the registry.
pub const ISLANDER: Architecture = Architecture {
    name: "islander",
    kind: Kind::NeuralBaseline,
    paper: "Wang et al., Nature Biotechnology 2025",
    objectives: &["classify-mixup", "classify-mixup-reconstruct"],
    annotation: Some("classify-mixup"),
    licence: "Apache-2.0",
    ..MLP
};

fn task(spec: &ModelSpec, data: &DataSpec) -> Result<Box<dyn Trainable>> {
    let mut network: PerceptronConfig = spec.network()?;
    let goal = match spec.objective()? {
        "reconstruct" => Goal::Reconstruct,
        "classify" => Goal::Classify,
        "classify-mixup" => Goal::Mixup { reconstruct: 0.0 },
        _ => Goal::Mixup { reconstruct: 1.0 },
    };
    network.genes = data.genes.len();
    network.decoder = !matches!(goal, Goal::Classify);
    network.classes = match goal {
        Goal::Reconstruct => 0,
        _ => data.count(Role::Label, &spec.architecture)?,
    };
    network.check()?;
    spec.settled(&network)?;
    let input: WholeCell = spec.input()?;
    let of = format!("{}: input.", spec.architecture);
    ranges::sizes(&of, &[("embed_minibatch", input.embed_minibatch)])?;
    ranges::positive(&of, &[("target", input.target)])?;
    Ok(Box::new(PerceptronTask {
        network,
        input,
        goal,
        seed: data.seed,
    }))
}

/// The first hidden layer gets the width, the others keep their ratio to it.
fn widen(spec: &ModelSpec, width: usize) -> Result<serde_json::Value> {
    let network: PerceptronConfig = spec.network()?;
    let first = network.hidden.first().map_or(1.0, |&h| h as f64);
    let share = |&h: &usize| (width as f64 * h as f64 / first).round().max(1.0) as usize;
    let hidden: Vec<usize> = network.hidden.iter().map(share).collect();
    Ok(spec.network_with("hidden", hidden.into()))
}

/// Objective of a perceptron.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Reconstruction of the cell.
    Reconstruct,
    /// Its label.
    Classify,
    /// Its label, and that of mixed cells.
    Mixup {
        /// Weight of the reconstruction.
        reconstruct: f64,
    },
}

/// Input of networks on whole cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WholeCell {
    /// Counts per cell before `ln(1 + x)`.
    pub target: f64,
    /// Minibatch size for embedding.
    pub embed_minibatch: usize,
}

impl Default for WholeCell {
    fn default() -> Self {
        Self {
            target: 1e4,
            embed_minibatch: 512,
        }
    }
}

/// A perceptron as a task.
#[derive(Clone, Debug, PartialEq)]
pub struct PerceptronTask {
    /// The network; genes and classes are those of the data.
    pub network: PerceptronConfig,
    /// Its input.
    pub input: WholeCell,
    /// Its objective.
    pub goal: Goal,
    /// Seed of every random stream.
    pub seed: u64,
}

/// A minibatch on the host.
pub struct PerceptronInput {
    cells: Arc<CsrMatrix>,
    /// Positions of the labelled cells in the minibatch, and their labels.
    labelled: Vec<i64>,
    labels: Vec<i64>,
    mixup: Mixup,
}

impl Task for PerceptronTask {
    type Model = Perceptron;
    type Input = PerceptronInput;
    type Cells = Arc<CsrMatrix>;

    fn network(&self) -> &PerceptronConfig {
        &self.network
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        corpus.minibatches(size, self.seed, epoch)
    }

    fn prepare(&self, cells: CellBatch, epoch: u64) -> Result<PerceptronInput> {
        let (labelled, labels) = cells.labelled();
        // One draw per minibatch, named by its first cell.
        let mut rng = stream(self.seed, "mixup", cells.first_key(), epoch);
        let share = rng.random::<f64>();
        let mut partner: Vec<i64> = (0..labelled.len() as i64).collect();
        partner.shuffle(&mut rng);
        Ok(PerceptronInput {
            cells: Arc::new(log_normalize(cells.counts, self.input.target)),
            labelled,
            labels,
            mixup: Mixup { share, partner },
        })
    }

    fn losses(
        &self,
        model: &Perceptron,
        input: PerceptronInput,
        _: u64,
        device: &Device,
    ) -> Losses {
        let latent = model.encode(&input.cells, Phase::on(device));
        let mut terms: Vec<(&'static str, Tensor<1>, f64)> = Vec::new();
        let weight = match self.goal {
            Goal::Reconstruct => 1.0,
            Goal::Classify => 0.0,
            Goal::Mixup { reconstruct } => reconstruct,
        };
        if weight > 0.0
            && let Some(decoded) = model.decode(latent.clone(), Phase::on(device))
        {
            let mse = mean_squared_error(decoded, dense(&input.cells, device));
            terms.push(("reconstruction", mse, weight));
        }
        if self.goal != Goal::Reconstruct && !input.labelled.is_empty() {
            let latent = latent.clone().select(0, whole(input.labelled, device));
            let labels = whole(input.labels, device);
            let classify = |z: Tensor<2>| model.classify(z.clone()).unwrap_or(z);
            match self.goal {
                Goal::Mixup { .. } => {
                    let found = mixup(latent, labels, &input.mixup, classify);
                    terms.push(("classify", found.plain, 1.0));
                    terms.push(("mixup", found.mixed, 1.0));
                }
                _ => terms.push(("classify", cross_entropy(classify(latent), labels), 1.0)),
            }
        }
        // A minibatch without labels has no loss, which is not an error.
        let zero = crate::losses::total(latent) * 0.0;
        Losses::weighted(zero, terms)
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        sampler::sequential(&corpus.rows, |_| 0, self.input.embed_minibatch)
    }

    fn cells(&self, cells: CellBatch) -> Result<Arc<CsrMatrix>> {
        Ok(Arc::new(log_normalize(cells.counts, self.input.target)))
    }

    fn encode(&self, model: &Perceptron, cells: Arc<CsrMatrix>, device: &Device) -> Tensor<2> {
        model.encode(&cells, Phase::on(device))
    }

    fn predicts(&self) -> Vec<Quantity> {
        match self.goal {
            Goal::Reconstruct => Vec::new(),
            Goal::Classify | Goal::Mixup { .. } => vec![Quantity::Labels],
        }
    }

    fn predict(
        &self,
        model: &Perceptron,
        cells: Arc<CsrMatrix>,
        quantity: Quantity,
        device: &Device,
    ) -> Option<Tensor<2>> {
        match quantity {
            Quantity::Labels => model.classify(self.encode(model, cells, device)),
            Quantity::Expression => None,
        }
    }

    fn reads(&self) -> Vec<Role> {
        match self.goal {
            Goal::Reconstruct => Vec::new(),
            Goal::Classify | Goal::Mixup { .. } => vec![Role::Label],
        }
    }

    fn dims(&self) -> usize {
        self.network.latent
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::Log1p {
            target: Some(self.input.target),
        }
    }
}
