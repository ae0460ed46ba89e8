//! The whole model.

use super::config::{CellDecoder as CellDecoderConfig, GeneEmbeddings, Normalisation};
use super::config::{Positions, ScPrintConfig};
use super::heads::{CellDecoder, ClassDecoder, Discriminator, ExpressionDecoder, Prediction};
use super::stack::{Activation, Stack};
use super::transformer::Transformer;
use crate::configured::Configured;
use crate::error::{ModelError, Result};
use crate::init::Init;
use crate::layers::gradient::reverse_gradient;
use crate::layers::named::Named;
use crate::layers::observe::Observer;
use crate::weights::{Names, host, replace};
use burn::module::{Module, ModuleMapper, Param};
use burn::nn::{Embedding, EmbeddingConfig, Initializer};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// Values above this are clamped, as in the original.
const MAX_VALUE: f64 = 1e5;

/// Genes of a minibatch of cells.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Genes of the context, `[minibatch, genes]`.
    pub genes: Tensor<2, Int>,
    /// Their counts, `[minibatch, genes]`; without them tokens have no value.
    pub counts: Option<Tensor<2>>,
    /// True where the value is masked, `[minibatch, genes]`.
    pub hidden: Option<Tensor<2, Bool>>,
    /// Total counts of the cell, `[minibatch]`; without them there is no depth token.
    pub depth: Option<Tensor<1>>,
    /// Cell tokens that replace the learned ones, `[minibatch, cell tokens, d]`.
    pub cells: Option<Tensor<3>>,
    /// Sum of the predicted means, `[minibatch]`.
    pub total: Tensor<1>,
}

/// Output of the transformer.
#[derive(Clone, Debug)]
pub struct Output {
    /// Cell tokens: base, depth, one per class, `[minibatch, cell tokens, d]`.
    pub cells: Tensor<3>,
    /// Their mean, `[minibatch, d]`.
    pub cell: Tensor<2>,
    /// Counts predicted from gene tokens.
    pub counts: Prediction,
    /// Gene embeddings of the context without values, `[minibatch, genes, d]`.
    genes: Tensor<3>,
    total: Tensor<1>,
}

/// scPRINT.
#[derive(Module, Debug)]
pub struct ScPrint {
    gene_encoder: Table,
    expr_encoder: ValueEncoder,
    pos_encoder: Option<PositionTable>,
    class_encoder: Table,
    depth_encoder: ValueEncoder,
    transformer: Transformer,
    expr_decoder: ExpressionDecoder,
    cls_decoders: Named<ClassDecoder>,
    mvc_decoder: Option<CellDecoder>,
    grad_reverse_discriminator_loss: Option<Discriminator>,
    #[module(skip)]
    config: ScPrintConfig,
}

#[derive(Module, Debug)]
struct Table {
    embedding: Embedding,
}

#[derive(Module, Debug)]
struct PositionTable {
    pe: Param<Tensor<3>>,
}

/// A number to a vector.
#[derive(Module, Debug)]
struct ValueEncoder {
    encoder: Stack,
}

impl ValueEncoder {
    fn new(config: &ScPrintConfig, device: &Device) -> Self {
        let mut widths = vec![config.width; config.value_layers + 1];
        widths[0] = 1;
        let norms = config.value_layers - 1;
        let encoder = Stack::new(&widths, norms, Activation::Relu, device);
        Self {
            encoder: encoder.with_dropout(config.dropout, norms),
        }
    }

    /// `[minibatch, numbers]` to `[minibatch, numbers, d]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<3> {
        let x = x.clamp(0.0, MAX_VALUE);
        self.encoder.forward(x.unsqueeze_dim::<3>(2))
    }
}

impl ScPrint {
    /// Builds the model on `device`; weights are set by [`crate::init::initialise`], those of
    /// genes for [`ScPrint::with_genes`] and [`ScPrint::with_positions`].
    ///
    /// # Errors
    /// [`ModelError::Config`] for an invalid configuration.
    pub fn new(config: &ScPrintConfig, device: &Device) -> Result<Self> {
        config.check()?;
        let d = config.width;
        let table = |rows: usize| Table {
            embedding: EmbeddingConfig::new(rows, d).init(device),
        };
        let genes = table(config.genes);
        let positions = (config.positions == Positions::Genome).then(|| {
            let pe: Param<Tensor<3>> = Initializer::Zeros.init([config.genes, 1, d], device);
            PositionTable {
                pe: pe.set_require_grad(false),
            }
        });
        let classes = config.classes.iter();
        let batches = config.adversary_batches;
        Ok(Self {
            gene_encoder: match config.gene_embeddings {
                GeneEmbeddings::Frozen => genes.no_grad(),
                GeneEmbeddings::Learned => genes,
            },
            expr_encoder: ValueEncoder::new(config, device),
            pos_encoder: positions,
            class_encoder: table(config.classes.len() + 1),
            depth_encoder: ValueEncoder::new(config, device),
            transformer: Transformer::new(d, config.layers, config.heads, config.dropout, device),
            expr_decoder: ExpressionDecoder::new(config, device),
            cls_decoders: Named::new(classes.map(|c| {
                let decoder = ClassDecoder::new(config, c.leaves, device);
                (c.name.clone(), decoder)
            })),
            mvc_decoder: (config.cell_decoder == CellDecoderConfig::InnerProduct)
                .then(|| CellDecoder::new(d, device)),
            grad_reverse_discriminator_loss: (batches > 0)
                .then(|| Discriminator::new(d, batches, device)),
            config: config.clone(),
        })
    }

    /// The same model with these gene embeddings, `[genes, d]` row-major.
    ///
    /// # Errors
    /// [`ModelError::Weights`] when their number does not match the model.
    pub fn with_genes(mut self, table: Vec<f32>) -> Result<Self> {
        self.gene_encoder.embedding.weight = put(self.gene_encoder.embedding.weight, table)?;
        Ok(self)
    }

    /// The same model with these encodings of genomic positions, `[genes, d]` row-major, from
    /// [`super::genome_positions`].
    ///
    /// # Errors
    /// [`ModelError::Weights`] when their number does not match the model, or it has no positions.
    pub fn with_positions(mut self, table: Vec<f32>) -> Result<Self> {
        let Some(positions) = self.pos_encoder.take() else {
            return Err(ModelError::Weights(
                "scprint: genomic positions for a model that was configured without them".into(),
            ));
        };
        self.pos_encoder = Some(PositionTable {
            pe: put(positions.pe, table)?,
        });
        Ok(self)
    }

    /// Initial weights as published: residual projections are smaller the deeper the network.
    pub fn with_small_residuals(self) -> Self {
        let factor = 1.0 / (2.0 * self.config.layers as f64).sqrt();
        self.map(&mut Shrink {
            factor,
            path: Vec::new(),
        })
    }

    /// Tokens to cell embeddings and counts.
    pub fn forward(&self, tokens: &Tokens) -> Output {
        self.forward_observed(tokens, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_observed(&self, tokens: &Tokens, seen: &mut impl Observer) -> Output {
        let genes = self.gene_encoder.embedding.forward(tokens.genes.clone());
        let encoding = self.encode(tokens, genes.clone());
        seen.see("encoding", &encoding);
        let output = self.transformer.forward_observed(encoding, seen);
        seen.see("transformer_output", &output);
        let first = self.config.cell_tokens();
        let [b, l, d] = output.dims();
        let cells = output.clone().slice([0..b, 0..first, 0..d]);
        let cell = cells.clone().mean_dim(1).squeeze_dim::<2>(1);
        seen.see("cell_embs", &cells);
        seen.see("cell_emb", &cell);
        let counts = self
            .expr_decoder
            .forward(output.slice([0..b, first..l, 0..d]), &tokens.total);
        show("", &counts, seen);
        Output {
            cells,
            cell,
            counts,
            genes,
            total: tokens.total.clone(),
        }
    }

    /// `[cell tokens ; E[gene] + MLP(value) + pe[gene]]`, `[minibatch, tokens, d]`.
    fn encode(&self, tokens: &Tokens, mut x: Tensor<3>) -> Tensor<3> {
        let [b, l, d] = x.dims();
        if let Some(counts) = &tokens.counts {
            let values = match self.config.normalisation {
                // A cell without counts keeps zeros; the original divides by zero.
                Normalisation::Sum => counts.clone() / counts.clone().sum_dim(1).clamp_min(1e-30),
                Normalisation::Log => (counts.clone() + 1.0).log() / std::f64::consts::LN_2,
            };
            let values = self.expr_encoder.forward(values);
            x = x + match &tokens.hidden {
                Some(hidden) => {
                    let hidden = hidden.clone().unsqueeze_dim::<3>(2).expand([b, l, d]);
                    values.mask_fill(hidden, 0.0)
                }
                None => values,
            };
        }
        if let Some(positions) = &self.pos_encoder {
            let rows = positions.pe.val().reshape([self.config.genes, d]);
            let at = tokens.genes.clone().reshape([b * l]);
            x = x + rows.select(0, at).reshape([b, l, d]);
        }
        let cells = match &tokens.cells {
            Some(cells) => cells.clone(),
            None => {
                let table = self.class_encoder.embedding.weight.val();
                let rows = table.dims()[0];
                table.unsqueeze_dim::<3>(0).expand([b, rows, d])
            }
        };
        let cells = match &tokens.depth {
            Some(depth) => {
                let depth = (depth.clone() + 1.0).log() / std::f64::consts::LN_2;
                let depth = self.depth_encoder.forward(depth.unsqueeze_dim::<2>(1));
                let [_, n, _] = cells.dims();
                let base = cells.clone().slice([0..b, 0..1, 0..d]);
                let rest = cells.slice([0..b, 1..n, 0..d]);
                Tensor::cat(vec![base, depth, rest], 1)
            }
            None => cells,
        };
        Tensor::cat(vec![cells, x], 1)
    }

    /// Logits of every class from its own token, `[minibatch, leaves]` each.
    pub fn classes(&self, output: &Output) -> Vec<(String, Tensor<2>)> {
        let decoders = self.cls_decoders.iter().enumerate();
        decoders
            .map(|(i, (name, decoder))| (name.to_string(), decoder.forward(token(output, 2 + i))))
            .collect()
    }

    /// Logits of every class from the tokens of the others, with the gradient reversed:
    /// information that a token should not carry.
    pub fn adversarial_classes(&self, output: &Output) -> Vec<(String, Tensor<2>)> {
        let n = self.config.classes.len();
        let decoders = self.cls_decoders.iter().enumerate();
        decoders
            .map(|(i, (name, decoder))| {
                let others = (0..n).filter(|j| *j != i).map(|j| 2 + j).collect();
                let mean = reverse_gradient(mean_of(output, others));
                (name.to_string(), decoder.forward(mean))
            })
            .collect()
    }

    /// The adversary's batch logits from the class tokens, `[minibatch, batches]`.
    pub fn adversarial_batches(&self, output: &Output) -> Option<Tensor<2>> {
        let tokens = (2..self.config.cell_tokens()).collect();
        let discriminator = self.grad_reverse_discriminator_loss.as_ref()?;
        Some(discriminator.forward(reverse_gradient(mean_of(output, tokens))))
    }

    /// Counts predicted from the cell embedding alone, where the model has that decoder.
    pub fn counts_from_cell(&self, output: &Output) -> Option<Prediction> {
        self.counts_from_cell_observed(output, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn counts_from_cell_observed(
        &self,
        output: &Output,
        seen: &mut impl Observer,
    ) -> Option<Prediction> {
        let decoder = self.mvc_decoder.as_ref()?;
        let (cell, genes) = (output.cell.clone(), output.genes.clone());
        let prediction = decoder.forward(cell, genes, &output.total);
        show("mvc_", &prediction, seen);
        Some(prediction)
    }

    /// The embedding of a cell: the mean of the tokens of these classes, `[minibatch, d]`; of all
    /// classes, or the base token where there are none, when the list is empty.
    pub fn embedding(&self, output: &Output, classes: &[usize]) -> Tensor<2> {
        let n = self.config.classes.len();
        match (classes.is_empty(), n) {
            (true, 0) => token(output, 0),
            (true, n) => mean_of(output, (2..2 + n).collect()),
            (false, _) => mean_of(output, classes.iter().map(|c| 2 + c).collect()),
        }
    }
}

fn show(prefix: &str, p: &Prediction, seen: &mut impl Observer) {
    seen.see(&format!("{prefix}mean"), &p.mean);
    if let Some([dispersion, zero]) = &p.spread {
        seen.see(&format!("{prefix}disp"), dispersion);
        seen.see(&format!("{prefix}zero_logits"), zero);
    }
}

/// One cell token, `[minibatch, d]`.
fn token(output: &Output, at: usize) -> Tensor<2> {
    let [b, _, d] = output.cells.dims();
    let part = output.cells.clone().slice([0..b, at..at + 1, 0..d]);
    part.reshape([b, d])
}

/// Mean of cell tokens, `[minibatch, d]`.
fn mean_of(output: &Output, tokens: Vec<usize>) -> Tensor<2> {
    let n = tokens.len();
    let mut tokens = tokens.into_iter().map(|t| token(output, t));
    let Some(first) = tokens.next() else {
        return token(output, 0) * 0.0;
    };
    tokens.fold(first, |sum, t| sum + t) / n as f64
}

/// A parameter replaced by `values`.
fn put<const D: usize>(param: Param<Tensor<D>>, values: Vec<f32>) -> Result<Param<Tensor<D>>> {
    let shape = param.lazy_shape().to_vec();
    if values.len() != shape.iter().product::<usize>() {
        return Err(ModelError::Weights(format!(
            "scprint: {} values for a table of shape {shape:?}",
            values.len()
        )));
    }
    let new = Tensor::from_data(TensorData::new(values, shape), &param.lazy_device());
    Ok(param.map(|old| replace(&old, new)))
}

/// Scales the last projections of both branches of every block.
struct Shrink {
    factor: f64,
    path: Vec<String>,
}

impl ModuleMapper for Shrink {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        if path.ends_with("out_proj.weight") || path.ends_with("fc2.weight") {
            let shape = param.lazy_shape().to_vec();
            let scaled = host(param.val()).into_iter();
            let scaled: Vec<f32> = scaled.map(|v| v * self.factor as f32).collect();
            // Created anew: the result of an operation is not a leaf, so it cannot be trained.
            let data = TensorData::new(scaled, shape);
            let new = Tensor::from_data(data, &param.lazy_device());
            return param.map(|old| replace(&old, new));
        }
        param
    }
}

/// Initial weights where they differ from PyTorch's defaults.
pub const INIT: fn(&str) -> Option<Init> = |path| {
    if path.starts_with("gene_encoder.") || path.starts_with("class_encoder.") {
        return None;
    }
    match path.rsplit('.').next() {
        Some("weight") => Some(Init::Normal(0.02)),
        // Most labels are not the cell's.
        Some("bias") if path.starts_with("cls_decoders.") && path.contains(".out_layer.") => {
            Some(Init::Constant(-0.13))
        }
        Some("bias") => Some(Init::Constant(0.0)),
        _ => None,
    }
};

/// Published names. The adversary is used in training only, and not every model has one.
pub const NAMES: Names = Names {
    rename,
    alias: |name| name.replace("gene_encoder.embeddings.", "gene_encoder.embedding."),
    unused: &["grad_reverse_discriminator_loss."],
};

/// Layers of a stack are numbered together with norms, non-linearities and dropout; the adversary
/// has no dropout.
fn rename(path: &str) -> String {
    let stride = match path.starts_with("grad_reverse_discriminator_loss.") {
        true => 3,
        false => 4,
    };
    let parts: Vec<&str> = path.split('.').collect();
    let [before @ .., kind @ ("linears" | "norms"), index, leaf] = parts.as_slice() else {
        return path.replace(".mixer.in_proj.", ".mixer.Wqkv.");
    };
    let index: usize = index.parse().unwrap_or(0);
    let at = stride * index + usize::from(*kind == "norms");
    format!("{}.{at}.{leaf}", before.join("."))
}

impl Configured for ScPrint {
    type Config = ScPrintConfig;
    const INIT: fn(&str) -> Option<Init> = INIT;
    const NAMES: Names = NAMES;

    fn empty(config: &ScPrintConfig, device: &Device) -> Result<Self> {
        Self::new(config, device)
    }
}
