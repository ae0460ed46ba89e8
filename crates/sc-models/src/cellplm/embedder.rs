//! From counts to one vector per cell.

use super::config::NormConfig;
use super::norm::CellNorm;
use crate::layers::dropout::Dropout;
use crate::layers::linear::Linear;
use crate::layers::observe::Observer;
use crate::layers::sparse::sparse_linear;
use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use sc_data::CsrMatrix;
use std::sync::Arc;

/// `GroupNorm(Dropout(ReLU(Linear(log1p(X) · E))))`.
#[derive(Module, Debug)]
pub(super) struct Embedder {
    feat_enc: GeneEmbedding,
    linear: Linear,
    norm: CellNorm,
    dropout: Dropout,
}

/// The table `E`, `[genes, d]`.
#[derive(Module, Debug)]
pub(super) struct GeneEmbedding {
    emb: Param<Tensor<2>>,
}

impl Embedder {
    pub(super) fn new(
        genes: usize,
        d: usize,
        norm: NormConfig,
        dropout: f64,
        device: &Device,
    ) -> Self {
        Self {
            feat_enc: GeneEmbedding {
                emb: Initializer::Zeros.init([genes, d], device),
            },
            linear: Linear::new(d, d, device),
            norm: CellNorm::new(norm, d, device),
            dropout: Dropout::new(dropout),
        }
    }

    /// Embeds `log_counts` `[cells, genes]`, already `log1p` of the (masked) counts.
    ///
    /// `genes` names the vocabulary row of every column when the input has fewer columns.
    pub(super) fn forward_observed(
        &self,
        log_counts: &Arc<CsrMatrix>,
        genes: Option<&[u32]>,
        seen: &mut impl Observer,
    ) -> Tensor<2> {
        let table = self.feat_enc.emb.val();
        let table = match genes {
            Some(rows) => {
                let rows: Vec<i64> = rows.iter().map(|&g| i64::from(g)).collect();
                let n = rows.len();
                let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [n]), &table.device());
                table.select(0, rows)
            }
            None => table,
        };
        let x = sparse_linear(log_counts, table);
        seen.see("emb.feat", &x);
        let x = self.dropout.forward(relu(self.linear.forward(x)));
        let x = self.norm.forward(x);
        seen.see("emb.out", &x);
        x
    }
}
