//! Sequences of token ids on the host, padded to one length, and the loss of hidden ones.

use crate::losses::{Losses, cross_entropy, total};
use crate::task::whole;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// Token ids of a minibatch, `[cells, length]` row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PaddedIds {
    /// Cells.
    pub(crate) cells: usize,
    /// Ids.
    pub(crate) ids: Vec<u32>,
    /// True at padding.
    pub(crate) padding: Vec<bool>,
}

impl PaddedIds {
    /// Pads every row with `pad` to the longest of them.
    pub(crate) fn new(rows: &[Vec<u32>], pad: u32) -> Self {
        let length = rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut out = Self {
            cells: rows.len(),
            ..Self::default()
        };
        for row in rows {
            out.ids.extend(row);
            out.ids.extend(std::iter::repeat_n(pad, length - row.len()));
            let padding = (0..length).map(|k| k >= row.len());
            out.padding.extend(padding);
        }
        out
    }

    /// Tokens per cell, padding included.
    pub(crate) fn length(&self) -> usize {
        self.ids.len() / self.cells.max(1)
    }

    /// Ids, and where padding is; no mask without padding.
    pub(crate) fn on_device(&self, device: &Device) -> (Tensor<2, Int>, Option<Tensor<2, Bool>>) {
        let shape = [self.cells, self.length()];
        let ids: Vec<i64> = self.ids.iter().map(|&t| i64::from(t)).collect();
        let ids = Tensor::from_data(TensorData::new(ids, shape), device);
        let padded = self.padding.contains(&true);
        let mask = || Tensor::from_data(TensorData::new(self.padding.clone(), shape), device);
        (ids, padded.then(mask))
    }
}

/// Tokens that are hidden in training: their places in the flat array of ids, and what stood there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HiddenTokens {
    pub(crate) places: Vec<i64>,
    pub(crate) tokens: Vec<i64>,
}

impl HiddenTokens {
    /// Cross-entropy of the hidden tokens given the `outputs` of a network, `[cells, length, width]`;
    /// 0 where none is hidden. `logits` takes `[hidden, width]` to `[hidden, tokens]`.
    pub(crate) fn losses(
        self,
        outputs: Tensor<3>,
        logits: impl FnOnce(Tensor<2>) -> Tensor<2>,
        device: &Device,
    ) -> Losses {
        let [b, l, d] = outputs.dims();
        let flat = outputs.reshape([b * l, d]);
        if self.places.is_empty() {
            return Losses::weighted(total(flat) * 0.0, Vec::new());
        }
        // Logits of the hidden places only: the head is the largest product of all.
        let logits = logits(flat.select(0, whole(self.places, device)));
        let loss = cross_entropy(logits, whole(self.tokens, device));
        Losses::weighted(Tensor::zeros([1], device), vec![("mlm", loss, 1.0)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_padded_to_the_longest() {
        let padded = PaddedIds::new(&[vec![5, 6, 7], vec![8], vec![]], 0);
        assert_eq!((padded.cells, padded.length()), (3, 3));
        assert_eq!(padded.ids, [5, 6, 7, 8, 0, 0, 0, 0, 0]);
        assert_eq!(padded.padding.iter().filter(|p| **p).count(), 5);
        assert_eq!(PaddedIds::new(&[], 0).length(), 0);
    }
}
