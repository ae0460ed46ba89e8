//! Nicheformer with a head: the spatial neighbourhood of a cell, from its genes alone.

use super::{NicheformerTask, RankedTokens};
use crate::error::{Result, TrainError};
use crate::inputs::corpus::{CellBatch, Corpus};
use crate::inputs::data_spec::{DataSpec, Role};
use crate::losses::tokens::{Composition, composition_mse, mean_squared_error};
use crate::losses::{Losses, cross_entropy};
use crate::predict::Quantity;
use crate::task::{Pass, Task, whole};
use burn::tensor::{Device, Tensor, TensorData};
use sc_data::tokens::Tokenizer;
use sc_models::nicheformer::{HeadConfig, NicheConfig, NicheHead};

/// Advice where the spatial neighbourhoods of cells are unknown.
const WAY_OUT: &str = "add a table [niche] with coordinates = \"spatial\" (a key of obsm), \
                       label = \"COLUMN\" and within = { nearest = 20 } or { radius = 50.0 }";

/// Target of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// Share of every cell type among the neighbours.
    Composition,
    /// Number of neighbours, as `ln(1 + n)`.
    Density,
    /// The label of the cell's region.
    Label,
}

/// Nicheformer with a head as a task.
#[derive(Clone, Debug, PartialEq)]
pub struct NicheTask {
    ranked: NicheformerTask,
    network: NicheConfig,
    goal: Goal,
}

impl NicheTask {
    /// A head for `objective`, with as many outputs as the data needs.
    pub(super) fn new(
        ranked: NicheformerTask,
        objective: &str,
        mut head: HeadConfig,
        data: &DataSpec,
    ) -> Result<Self> {
        let goal = match objective {
            "niche-composition" => Goal::Composition,
            "niche-density" => Goal::Density,
            _ => Goal::Label,
        };
        let types = || {
            data.levels.get(&Role::Niche).map(Vec::len).ok_or_else(|| {
                TrainError::Config(format!(
                    "objective = '{objective}' needs spatial neighbourhoods: {WAY_OUT}"
                ))
            })
        };
        head.outputs = match goal {
            Goal::Composition => types()?,
            Goal::Density => types().map(|_| 1)?,
            Goal::Label => data.count(Role::Label, "nicheformer with objective = 'niche-label'")?,
        };
        let network = NicheConfig {
            backbone: ranked.network.clone(),
            head,
        };
        Ok(Self {
            ranked,
            network,
            goal,
        })
    }
}

/// Tokens and neighbourhoods of cells, on the host.
pub struct NicheInput {
    tokens: RankedTokens,
    numbers: Vec<f32>,
    labelled: Vec<i64>,
    labels: Vec<i64>,
}

impl Task for NicheTask {
    type Model = NicheHead;
    type Input = NicheInput;
    type Cells = RankedTokens;

    fn network(&self) -> &NicheConfig {
        &self.network
    }

    fn seed(&self) -> u64 {
        self.ranked.seed
    }

    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        self.ranked.minibatches(corpus, size, epoch)
    }

    fn prepare(&self, cells: CellBatch, _: u64) -> Result<NicheInput> {
        let numbers = cells.obs.numbers(Role::Niche, &cells.rows);
        if self.goal != Goal::Label && numbers.is_none() {
            return Err(TrainError::Config(format!(
                "the data has no spatial neighbourhoods: {WAY_OUT}"
            )));
        }
        let (labelled, labels) = cells.labelled();
        Ok(NicheInput {
            tokens: self.ranked.tokenize(&cells, Pass::Embedding)?,
            numbers: numbers.unwrap_or_default(),
            labelled,
            labels,
        })
    }

    fn losses(&self, model: &NicheHead, input: NicheInput, _: u64, device: &Device) -> Losses {
        let output = model.forward(&input.tokens.on_device(device)).output;
        let [cells, _] = output.dims();
        let types = input.numbers.len() / cells.max(1);
        let counts = || {
            let data = TensorData::new(input.numbers.clone(), [cells, types]);
            Tensor::<2>::from_data(data, device)
        };
        let term = match self.goal {
            Goal::Composition => (
                "composition",
                composition_mse(output, counts(), Composition::Strict),
            ),
            Goal::Density => {
                let density = counts().sum_dim(1).log1p();
                ("density", mean_squared_error(output, density))
            }
            Goal::Label if input.labelled.is_empty() => {
                ("label", crate::losses::total(output) * 0.0)
            }
            Goal::Label => {
                let known = output.select(0, whole(input.labelled, device));
                ("label", cross_entropy(known, whole(input.labels, device)))
            }
        };
        let zero = Tensor::zeros([1], device);
        Losses::weighted(zero, vec![(term.0, term.1, 1.0)])
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        self.ranked.embed_minibatches(corpus)
    }

    fn cells(&self, cells: CellBatch) -> Result<RankedTokens> {
        self.ranked.cells(cells)
    }

    fn encode(&self, model: &NicheHead, cells: RankedTokens, device: &Device) -> Tensor<2> {
        self.ranked.encode(&model.backbone, cells, device)
    }

    fn predicts(&self) -> Vec<Quantity> {
        match self.goal {
            Goal::Label => vec![Quantity::Labels],
            Goal::Composition | Goal::Density => Vec::new(),
        }
    }

    fn predict(
        &self,
        model: &NicheHead,
        cells: RankedTokens,
        quantity: Quantity,
        device: &Device,
    ) -> Option<Tensor<2>> {
        let labels = quantity == Quantity::Labels && self.goal == Goal::Label;
        labels.then(|| model.forward(&cells.on_device(device)).output)
    }

    fn reads(&self) -> Vec<Role> {
        let target = match self.goal {
            Goal::Composition | Goal::Density => Role::Niche,
            Goal::Label => Role::Label,
        };
        vec![Role::Species, target]
    }

    fn dims(&self) -> usize {
        self.ranked.network.width
    }

    fn tokenizer(&self) -> Tokenizer {
        self.ranked.tokenizer()
    }
}
