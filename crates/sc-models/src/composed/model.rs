//! The whole model.

use super::config::{CellVector, ComposedConfig};
use super::embedding::{Sequences, TokenEmbedding};
use super::heads::{CountDistribution, Head};
use super::mixing::{Block, mean};
use crate::configured::Configured;
use crate::error::Result;
use crate::hyena;
use crate::init::Init;
use crate::layers::layernorm::LayerNorm;
use crate::weights::Names;
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

/// Tokens and cells after the last block.
#[derive(Clone, Debug)]
pub struct States {
    /// Tokens, `[minibatch, length, d]`.
    pub tokens: Tensor<3>,
    /// Cells, `[minibatch, d]`.
    pub cell: Tensor<2>,
}

/// See the module above.
#[derive(Module, Debug)]
pub struct Composed {
    embedding: TokenEmbedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Option<Head>,
    #[module(skip)]
    vector: CellVector,
}

/// Special tokens, which follow the genes in the token table.
pub const SPECIAL_TOKENS: usize = 4;

/// Indices of the special tokens, counted from the number of genes.
pub mod special {
    /// Padding.
    pub const PAD: usize = 0;
    /// The cell token.
    pub const CLS: usize = 1;
    /// A masked gene.
    pub const MASK: usize = 2;
    /// The end of a chromosome.
    pub const CLOSE: usize = 3;
}

impl Composed {
    /// Builds the model on `device`; weights are set by [`crate::init::initialise`].
    ///
    /// # Errors
    /// [`crate::ModelError::Config`] for an invalid configuration.
    pub fn new(config: &ComposedConfig, device: &Device) -> Result<Self> {
        config.check()?;
        Ok(Self {
            embedding: TokenEmbedding::new(config, device),
            blocks: (0..config.layers)
                .map(|_| Block::new(config, device))
                .collect::<Result<_>>()?,
            norm: LayerNorm::new(config.width, device),
            head: Head::new(config, device),
            vector: config.cell,
        })
    }

    /// Tokens to their outputs and the cell embedding.
    pub fn encode(&self, tokens: &Sequences) -> States {
        let padding = tokens.padding.as_ref();
        let embedded = self.embedding.forward(tokens);
        let x = self
            .blocks
            .iter()
            .fold(embedded, |x, b| b.forward(x, padding));
        let tokens = self.norm.forward(x);
        let cell = match self.vector {
            CellVector::Cls => tokens.clone().narrow(1, 0, 1).squeeze_dim::<2>(1),
            CellVector::Mean => mean(tokens.clone(), padding),
        };
        States { tokens, cell }
    }

    /// Values of tokens, `[minibatch, length]`; from the tokens, or from the cell for the genes `ids`
    /// `[minibatch, length]`. `None` for models with another head.
    pub fn values(&self, states: &States, ids: Tensor<2, Int>) -> Option<Tensor<2>> {
        match &self.head {
            Some(Head::Values(head)) => {
                Some(head.forward(states.tokens.clone()).squeeze_dim::<2>(2))
            }
            Some(Head::ValuesFromCell(head)) => {
                let questions = head.forward(self.embedding.genes(ids));
                let cell = states.cell.clone().unsqueeze_dim::<3>(2);
                Some(questions.matmul(cell).squeeze_dim::<2>(2))
            }
            _ => None,
        }
    }

    /// Logits over genes `[n, genes]` for the tokens `[n, d]`.
    pub fn genes(&self, tokens: Tensor<2>) -> Option<Tensor<2>> {
        match &self.head {
            Some(Head::Genes(head)) => Some(head.forward(tokens)),
            _ => None,
        }
    }

    /// Logits of "the cell expresses the gene" for the genes `ids` `[minibatch, n]`.
    pub fn expressed(&self, cell: Tensor<2>, ids: Tensor<2, Int>) -> Option<Tensor<2>> {
        let Some(Head::Expressed(head)) = &self.head else {
            return None;
        };
        let genes = self.embedding.genes(ids);
        let cell = cell.unsqueeze_dim::<3>(1).expand(genes.dims());
        let pairs = Tensor::cat(vec![cell, genes], 2);
        Some(head.forward(pairs).squeeze_dim::<2>(2))
    }

    /// The distribution of the counts of cells `[minibatch, d]` with these totals `[minibatch]`.
    pub fn counts(&self, cell: Tensor<2>, totals: Tensor<1>) -> Option<CountDistribution> {
        match &self.head {
            Some(Head::Counts(head)) => Some(head.forward(cell, totals)),
            _ => None,
        }
    }

    /// Logits of the labels, `[minibatch, labels]`.
    pub fn classes(&self, cell: Tensor<2>) -> Option<Tensor<2>> {
        match &self.head {
            Some(Head::Classes(head)) => Some(head.forward(cell)),
            _ => None,
        }
    }
}

/// Tokens are initialised near zero, as in scGPT; Hyena operators as in scHyena; the rest as in
/// PyTorch.
pub const INIT: fn(&str) -> Option<Init> = |path| {
    if path.contains(".mix.Hyena.") {
        return hyena::INIT(path);
    }
    match path {
        "embedding.genes.weight" | "embedding.positions.weight" | "embedding.values.hidden" => {
            Some(Init::Uniform(0.1))
        }
        "head.Counts.log_dispersion" => Some(Init::Constant(0.0)),
        _ => None,
    }
};

/// Names as in this implementation: there are no published weights.
pub const NAMES: Names = Names {
    rename: str::to_string,
    alias: str::to_string,
    unused: &[],
};

impl Configured for Composed {
    type Config = ComposedConfig;
    const INIT: fn(&str) -> Option<Init> = INIT;
    const NAMES: Names = NAMES;

    fn empty(config: &ComposedConfig, device: &Device) -> Result<Self> {
        Self::new(config, device)
    }
}
