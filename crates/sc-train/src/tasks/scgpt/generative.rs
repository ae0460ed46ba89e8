//! The pretraining of the published weights: values of target genes, from the known genes,
//! from the cell embedding, and again with the cell embedding as the prompt.
//!
//! Source: reference/scformer-scgpt-cellplm.md A3.

use super::tokens::{GenesValues, Token, TokenInput};
use super::{Place, ScGptTask};
use crate::error::Result;
use crate::inputs::corpus::{CellBatch, Corpus};
use crate::losses::Losses;
use crate::losses::expression::masked_mse;
use crate::task::Task;
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt as _;
use sc_data::rng::stream;
use sc_data::tokens::Tokenizer;
use sc_models::scgpt::{InputNorm, ScGpt, ScGptConfig, Targets};
use serde::{Deserialize, Serialize};

/// Settings of generative pretraining.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerativeConfig {
    /// Shares of a cell's genes that are targets; every minibatch draws one.
    #[serde(alias = "asked")]
    pub target_shares: Vec<f64>,
    /// Steps before the cell embedding is used as a prompt. The published code intends 1,000 but,
    /// by its counting, starts at once.
    pub prompt_after: u64,
}

impl Default for GenerativeConfig {
    fn default() -> Self {
        Self {
            target_shares: vec![0.25, 0.5, 0.75],
            prompt_after: 0,
        }
    }
}

/// scGPT with two streams as a task.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerativeTask {
    scgpt: ScGptTask,
}

impl GenerativeTask {
    /// The task, with the flag of target genes.
    pub(super) fn new(mut scgpt: ScGptTask, place: Place<'_>) -> Result<Self> {
        let (network, input) = (&scgpt.network, &scgpt.input);
        let misfits = [
            (network.input_norm != InputNorm::None, "network.input_norm"),
            (
                network.explicit_zero_probability,
                "network.explicit_zero_probability",
            ),
            (network.batch_labels > 0, "network.batch_labels"),
            (network.adversary_batches > 0, "network.adversary_batches"),
            (input.ecs_threshold.is_some(), "input.ecs_threshold"),
            (
                input.contrast_temperature.is_some(),
                "input.contrast_temperature",
            ),
        ];
        if let Some((_, setting)) = misfits.iter().find(|(set, _)| *set) {
            return place.refuse(format!(
                "its two streams do not support {setting}; remove it, or use objective = 'masked'"
            ));
        }
        scgpt.network.generative = true;
        Ok(Self { scgpt })
    }

    /// A cell's tokens in two parts: known genes and target genes.
    fn split(&self, tokens: Vec<Token>, share: f64, cell: u64, epoch: u64) -> [Vec<Token>; 2] {
        let mut rng = stream(self.scgpt.seed, "targets", cell, epoch);
        let count = (tokens.len() as f64 * share) as usize;
        let mut targets = vec![false; tokens.len()];
        let drawn = rand::seq::index::sample(&mut rng, tokens.len(), count);
        drawn.into_iter().for_each(|k| targets[k] = true);
        let part = |wanted: bool| {
            let both = tokens.iter().zip(&targets);
            both.filter(|(_, a)| **a == wanted)
                .map(|(t, _)| *t)
                .collect()
        };
        [part(false), part(true)]
    }
}

/// Both streams of a minibatch on the host.
pub struct GenerativeInput {
    pub(super) known: TokenInput,
    pub(super) targets: GenesValues,
}

impl Task for GenerativeTask {
    type Model = ScGpt;
    type Input = GenerativeInput;
    type Cells = TokenInput;

    fn network(&self) -> &ScGptConfig {
        &self.scgpt.network
    }

    fn seed(&self) -> u64 {
        self.scgpt.seed
    }

    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        self.scgpt.minibatches(corpus, size, epoch)
    }

    fn prepare(&self, cells: CellBatch, epoch: u64) -> Result<GenerativeInput> {
        // One share per minibatch, as published, named by its first cell.
        let shares = &self.scgpt.input.generative.target_shares;
        let mut rng = stream(self.scgpt.seed, "share", cells.first_key(), epoch);
        let share = shares[rng.random_range(0..shares.len())];
        let rows = self.scgpt.rows(&cells, epoch)?;
        let parts = rows.into_iter().zip(&cells.keys);
        let (known, targets): (Vec<_>, Vec<_>) = parts
            .map(|(tokens, &key)| {
                let [known, targets] = self.split(tokens, share, key, epoch);
                (known, targets)
            })
            .unzip();
        Ok(GenerativeInput {
            known: self.scgpt.unmasked(&cells, known),
            targets: GenesValues::new(&targets, self.scgpt.pad()),
        })
    }

    fn losses(&self, model: &ScGpt, input: GenerativeInput, step: u64, device: &Device) -> Losses {
        let known = input.known.on_device(device);
        let GenesValues { genes, values } = input.targets;
        let shape = genes.shape();
        let padding = genes.padding_on(device);
        let kept: Vec<f32> = (genes.padding.iter())
            .map(|&p| f32::from(u8::from(!p)))
            .collect();
        let targets = Targets {
            genes: genes.ids_on(device),
            frozen: padding.clone(),
            padding,
        };
        let matrix = |v: Vec<f32>| Tensor::<2>::from_data(TensorData::new(v, shape), device);
        let (target, kept) = (matrix(values), matrix(kept));
        let mut terms: Vec<(&'static str, Tensor<1>, f64)> = Vec::new();
        let mut term = |name: &'static str, values: Option<Tensor<2>>| {
            if let Some(values) = values {
                let mse = masked_mse(values, target.clone(), kept.clone());
                terms.push((name, mse, 1.0));
            }
        };
        let first = model.generate(&known, Some(&targets), None);
        let prompt = first.cell.detach();
        term("gep", first.targets.map(|p| p.value));
        let from_cell = first.from_cell.map(|p| {
            let [_, all] = p.value.dims();
            p.value.narrow(1, all - shape[1], shape[1])
        });
        term("gepc", from_cell);
        if step > self.scgpt.input.generative.prompt_after {
            let second = model.generate(&known, Some(&targets), Some(prompt));
            term("prompted", second.targets.map(|p| p.value));
        }
        Losses::weighted(Tensor::zeros([1], device), terms)
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        self.scgpt.embed_minibatches(corpus)
    }

    fn cells(&self, cells: CellBatch) -> Result<TokenInput> {
        self.scgpt.cells(cells)
    }

    fn encode(&self, model: &ScGpt, cells: TokenInput, device: &Device) -> Tensor<2> {
        self.scgpt.encode(model, cells, device)
    }

    fn dims(&self) -> usize {
        Task::dims(&self.scgpt)
    }

    fn tokenizer(&self) -> Tokenizer {
        Task::tokenizer(&self.scgpt)
    }
}
