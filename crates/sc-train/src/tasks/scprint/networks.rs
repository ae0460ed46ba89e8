//! Gene networks of a trained model: averages of queries and keys over the cells of a corpus.

use super::ScPrintTask;
use crate::attention::{Attention, AverageAttention};
use crate::error::Result;
use crate::inputs::corpus::Corpus;
use crate::inputs::data_spec::DataSpec;
use crate::spec::ModelSpec;
use crate::task::{Pass, Task};
use burn::tensor::{Device, Tensor};
use sc_models::layers::observe::Observer;
use sc_models::scprint::ScPrint;
use sc_models::scprint::network::{QueriesKeys, Shape};
use sc_models::weights::{self, Tensors, host};

/// Collects queries and keys of every layer.
#[derive(Default)]
struct Kept(Vec<Vec<f32>>);

impl Observer for Kept {
    fn see<const D: usize>(&mut self, name: &str, tensor: &Tensor<D>) {
        if name.starts_with("qk.") {
            self.0.push(host(tensor.clone()));
        }
    }
}

/// The attention of a model, for the registry.
pub(super) fn attention(spec: &ModelSpec, data: &DataSpec) -> Result<Box<dyn Attention>> {
    Ok(Box::new(ScPrintTask::new(spec, data)?))
}

impl Attention for ScPrintTask {
    fn average(
        &self,
        weights: Tensors,
        corpus: &Corpus,
        device: &Device,
    ) -> Result<AverageAttention> {
        let model = weights::load(self.empty(device)?, weights, &self.names())?;
        self.average_attention(&model, corpus, device)
    }
}

impl ScPrintTask {
    /// Runs every cell of `corpus` through `model` and averages its queries and keys.
    ///
    /// The sampled genes of a cell are a function of seed and cell; a gene that is never sampled is
    /// left out.
    ///
    /// # Errors
    /// Unreadable data.
    pub fn average_attention(
        &self,
        model: &ScPrint,
        corpus: &Corpus,
        device: &Device,
    ) -> Result<AverageAttention> {
        let heads = self.network.heads;
        let shape = Shape {
            layers: self.network.layers,
            heads,
            head: self.network.width / heads,
            cell_tokens: self.network.cell_tokens(),
            genes: self.network.genes,
        };
        let mut sums = QueriesKeys::new(shape);
        let minibatches = self.embed_minibatches(corpus);
        for cells in corpus.stream(&minibatches, None) {
            let input = self.tokenize(&cells?, Pass::Embedding)?;
            let mut kept = Kept::default();
            model.forward_observed(&input.tokens(Some(&input.counts), device), &mut kept);
            let width = (shape.cell_tokens + input.length) * 2 * self.network.width;
            for (i, genes) in input.genes.chunks_exact(input.length).enumerate() {
                let own = i * width..(i + 1) * width;
                let layers: Vec<&[f32]> = kept.0.iter().map(|l| &l[own.clone()]).collect();
                let genes: Vec<usize> = genes.iter().map(|&g| g as usize).collect();
                sums.add(&layers, &genes);
            }
        }
        let averages = sums.average();
        let genes = averages.genes.iter().map(|&g| self.known[g]).collect();
        Ok(AverageAttention { averages, genes })
    }
}
