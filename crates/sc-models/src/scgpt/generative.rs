//! The two streams of generative pretraining: known genes attend to each other, target genes
//! attend to the known ones and to themselves.
//!
//! Source: reference/scformer-scgpt-cellplm.md A3.

use super::heads::Prediction;
use super::model::{ScGpt, Tokens};
use crate::layers::attention::{Padding, SelfAttention};
use crate::layers::encoder::EncoderLayer;
use crate::layers::observe::{Observer, layer_span};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Int, Tensor};

/// Genes whose values are predicted.
#[derive(Clone, Debug)]
pub struct Targets {
    /// Gene of every token, `[minibatch, length]`.
    pub genes: Tensor<2, Int>,
    /// True where the gene is the padding token, whose embedding is not trained; `None` if nowhere.
    pub frozen: Option<Tensor<2, Bool>>,
    /// True at padding, `[minibatch, length]`; such a token does not attend to itself either.
    pub padding: Option<Tensor<2, Bool>>,
}

/// Outputs of both streams.
#[derive(Clone, Debug)]
pub struct Generated {
    /// Values of the known genes, `[minibatch, known]`.
    pub known: Prediction,
    /// Values of the target genes, `[minibatch, targets]`.
    pub targets: Option<Prediction>,
    /// Values of all genes from the cell embedding, known ones first, `[minibatch, known +
    /// targets]`.
    pub from_cell: Option<Prediction>,
    /// The cell embedding, `[minibatch, d]`.
    pub cell: Tensor<2>,
}

impl ScGpt {
    /// One pass of the two streams; `prompt` `[minibatch, d]` replaces `<cls>`.
    ///
    /// A model without a generative flag treats all flags as 0.
    pub fn generate(
        &self,
        known: &Tokens,
        targets: Option<&Targets>,
        prompt: Option<Tensor<2>>,
    ) -> Generated {
        self.generate_observed(known, targets, prompt, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn generate_observed(
        &self,
        known: &Tokens,
        targets: Option<&Targets>,
        prompt: Option<Tensor<2>>,
        seen: &mut impl Observer,
    ) -> Generated {
        let (genes, mut x) = self.embed_tokens(known, &mut ());
        let mut all_genes = genes;
        if let Some(prompt) = prompt {
            let [_, length, _] = x.dims();
            let rest = x.narrow(1, 1, length - 1);
            x = Tensor::cat(vec![prompt.unsqueeze_dim::<3>(1), rest], 1);
        }
        seen.see("emb.pcpt_total", &x);
        let mut y = targets.map(|targets| {
            let genes = self.embed_genes(targets.genes.clone(), targets.frozen.as_ref());
            all_genes = Tensor::cat(vec![all_genes.clone(), genes.clone()], 1);
            let y = match self.flag() {
                Some(flag) => genes + flag,
                None => genes,
            };
            seen.see("emb.gen_total", &y);
            y
        });
        let padding = known.padding.clone().map(Padding::hidden);
        let targets = targets.and_then(|a| a.padding.clone()).map(Padding::hidden);
        let hidden = [padding.as_ref(), targets.as_ref()];
        for (i, layer) in self.layers().iter().enumerate() {
            let _span = layer_span(i);
            (x, y) = two_streams(layer, x, y, hidden, &format!("layer.{i}"), seen);
        }
        let cell = self.pool(&x, known);
        seen.see("cell_emb", &cell);
        Generated {
            known: self.values(x),
            targets: y.map(|y| self.values(y)),
            from_cell: self.values_from_cell(cell.clone(), all_genes),
            cell,
        }
    }
}

/// A block over both streams.
fn two_streams(
    layer: &EncoderLayer,
    x: Tensor<3>,
    y: Option<Tensor<3>>,
    [padding, asked_padding]: [Option<&Padding>; 2],
    name: &str,
    seen: &mut impl Observer,
) -> (Tensor<3>, Option<Tensor<3>>) {
    let attention = layer.attention();
    let known = attention.project(x.clone());
    let mut context = attention.context(known.clone(), padding);
    // The published kernel drops padded queries before the last projection.
    if let Some(padding) = padding {
        let mask = padding.mask.clone().unsqueeze_dim::<3>(2);
        context = context.clone().mask_fill(mask.expand(context.dims()), 0.0);
    }
    let attended = attention.output(context);
    seen.see(&format!("{name}.attn_pcpt"), &attended);
    let y = y.map(|y| {
        let targets = attention.project(y.clone());
        let context = look_at_known(attention, known, targets, [padding, asked_padding]);
        seen.see(&format!("{name}.attn_gen"), &context);
        let y = layer.after_attention(y, context);
        seen.see(&format!("{name}.gen"), &y);
        y
    });
    let x = layer.after_attention(x, attended);
    seen.see(&format!("{name}.pcpt"), &x);
    (x, y)
}

/// Attention of the target genes to the known ones and to themselves, without the output
/// projection.
fn look_at_known(
    attention: &SelfAttention,
    known: Tensor<3>,
    targets: Tensor<3>,
    [padding, asked_padding]: [Option<&Padding>; 2],
) -> Tensor<3> {
    let heads = attention.heads();
    let parts = |x: Tensor<3>| {
        let [b, l, three_d] = x.dims();
        let d = three_d / 3;
        let x = x.reshape([b, l, 3, heads, d / heads]);
        [0, 1, 2].map(|i| {
            let part = x.clone().narrow(2, i, 1);
            part.reshape([b, l, heads, d / heads]).swap_dims(1, 2)
        })
    };
    let [_, known_keys, known_values] = parts(known);
    let [queries, keys, values] = parts(targets);
    let [b, h, targets, width] = queries.dims();
    let [_, _, known, _] = known_keys.dims();
    let queries = queries * (1.0 / (width as f64).sqrt());
    let mut scores = queries.clone().matmul(known_keys.swap_dims(2, 3));
    if let Some(padding) = padding {
        let mask = padding.mask.clone().reshape([b, 1, 1, known]);
        scores = scores.mask_fill(mask.expand([b, h, targets, known]), padding.bias);
    }
    let mut own = (queries * keys).sum_dim(3);
    if let Some(padding) = asked_padding {
        let mask = padding.mask.clone().reshape([b, 1, targets, 1]);
        own = own.mask_fill(mask.expand([b, h, targets, 1]), padding.bias);
    }
    let weights = attention.drop(softmax(Tensor::cat(vec![scores, own], 3), 3));
    let context = weights.clone().narrow(3, 0, known).matmul(known_values)
        + values * weights.narrow(3, known, 1);
    context.swap_dims(1, 2).reshape([b, targets, h * width])
}
