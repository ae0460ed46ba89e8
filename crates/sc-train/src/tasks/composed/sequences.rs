//! Tokens of many cells, side by side.

use super::ComposedTask;
use super::tokens::CellTokens;
use crate::tasks::padded::Padded;
use burn::tensor::{Device, Tensor, TensorData};
use sc_models::composed::{Sequences, special};

/// Tokens of a minibatch on the host, `[cells, length]` row-major; each row begins with the cell's
/// own token.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSequences {
    pub(super) tokens: Padded,
    /// Values, for tokens that have some.
    pub(super) values: Option<Vec<f32>>,
    /// 1 at values that are hidden.
    pub(super) hidden: Option<Vec<f32>>,
}

impl ComposedTask {
    /// Sequences of cells, padded to the longest; to the longest there can be for encoders that read
    /// the length, so that company does not matter.
    pub(super) fn pad(&self, cells: &[CellTokens]) -> HostSequences {
        let least = match self.network.encoder.reads_length() {
            true => self.network.length,
            false => 1,
        };
        let [pad, cls] = [special::PAD, special::CLS].map(|s| i64::from(self.tokens.special(s)));
        let ids = |cell: &CellTokens| {
            let genes = cell.ids.iter().map(|&id| i64::from(id));
            [cls].into_iter().chain(genes).collect()
        };
        let tokens = Padded::new(&cells.iter().map(ids).collect::<Vec<_>>(), pad, least);
        let values = |cell: &CellTokens| [&[0.0], &cell.values[..]].concat();
        let values = (self.network.values)
            .then(|| tokens.align(&cells.iter().map(values).collect::<Vec<_>>(), 0.0));
        HostSequences {
            tokens,
            values,
            hidden: None,
        }
    }
}

impl HostSequences {
    /// Position of token `k` of cell `i` in the flat arrays, the cell's own token not counted.
    pub(super) fn position(&self, i: usize, k: usize) -> usize {
        i * self.tokens.length + 1 + k
    }

    pub(super) fn on_device(&self, device: &Device) -> Sequences {
        let shape = self.tokens.shape();
        let matrix =
            |v: &Vec<f32>| Tensor::<2>::from_data(TensorData::new(v.clone(), shape), device);
        Sequences {
            ids: self.tokens.ids_on(device),
            values: self.values.as_ref().map(matrix),
            hidden: self.hidden.as_ref().map(matrix),
            padding: self.tokens.padding_on(device),
        }
    }
}
