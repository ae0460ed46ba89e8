//! Sequences of tokens on the host, padded to one length, and the loss of hidden ones.

use crate::losses::{Losses, cross_entropy, total};
use crate::task::whole;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// Token ids of a minibatch, `[cells, length]` row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Padded {
    pub(crate) cells: usize,
    /// Tokens per cell, padding included.
    pub(crate) length: usize,
    pub(crate) ids: Vec<i64>,
    /// True at padding.
    pub(crate) padding: Vec<bool>,
}

impl Padded {
    /// Fills every row up with `pad`: as long as the longest of them, `least` at least.
    pub(crate) fn new(rows: &[Vec<i64>], pad: i64, least: usize) -> Self {
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut out = Self {
            cells: rows.len(),
            length: longest.max(least),
            ..Self::default()
        };
        out.ids = out.align(rows, pad);
        let padding = |row: &Vec<i64>| {
            let tokens = row.len();
            (0..out.length).map(move |k| k >= tokens)
        };
        out.padding = rows.iter().flat_map(padding).collect();
        out
    }

    /// What belongs to the tokens, `[cells, length]` row-major, with `pad` at padding.
    pub(crate) fn align<T: Copy>(&self, rows: &[Vec<T>], pad: T) -> Vec<T> {
        let mut out = vec![pad; self.cells * self.length];
        // A length of 0 has no pieces, and no row that would need one.
        for (piece, row) in out.chunks_mut(self.length.max(1)).zip(rows) {
            piece[..row.len()].copy_from_slice(row);
        }
        out
    }

    pub(crate) fn shape(&self) -> [usize; 2] {
        [self.cells, self.length]
    }

    pub(crate) fn ids_on(&self, device: &Device) -> Tensor<2, Int> {
        Tensor::from_data(TensorData::new(self.ids.clone(), self.shape()), device)
    }

    /// True at padding; `None` without any.
    pub(crate) fn padding_on(&self, device: &Device) -> Option<Tensor<2, Bool>> {
        let mask = || TensorData::new(self.padding.clone(), self.shape());
        self.padding
            .contains(&true)
            .then(|| Tensor::from_data(mask(), device))
    }
}

/// Tokens that are hidden in training: their positions in the flat array of ids, and the ids there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MaskedTokens {
    pub(crate) positions: Vec<i64>,
    pub(crate) tokens: Vec<i64>,
}

impl MaskedTokens {
    /// Cross-entropy of the hidden tokens given the `outputs` of a network, `[cells, length, width]`;
    /// `None` where none is hidden. `logits` takes `[hidden, width]` to `[hidden, tokens]`.
    pub(crate) fn loss(
        self,
        outputs: Tensor<3>,
        logits: impl FnOnce(Tensor<2>) -> Tensor<2>,
        device: &Device,
    ) -> Option<Tensor<1>> {
        if self.positions.is_empty() {
            return None;
        }
        let [cells, length, width] = outputs.dims();
        let flat = outputs.reshape([cells * length, width]);
        // Logits of the hidden positions only: the head is the largest product of all.
        let logits = logits(flat.select(0, whole(self.positions, device)));
        Some(cross_entropy(logits, whole(self.tokens, device)))
    }

    /// The objective of BERT, with [`MaskedTokens::loss`] as its one term; where none is hidden, a 0
    /// that is still a function of the weights.
    pub(crate) fn losses(
        self,
        outputs: Tensor<3>,
        logits: impl FnOnce(Tensor<2>) -> Tensor<2>,
        device: &Device,
    ) -> Losses {
        match self.loss(outputs.clone(), logits, device) {
            Some(loss) => Losses::weighted(Tensor::zeros([1], device), vec![("mlm", loss, 1.0)]),
            None => Losses::weighted(total(outputs.flatten(0, 1)) * 0.0, Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_padded_to_the_longest() {
        let padded = Padded::new(&[vec![5, 6, 7], vec![8], vec![]], 0, 1);
        assert_eq!(padded.shape(), [3, 3]);
        assert_eq!(padded.ids, [5, 6, 7, 8, 0, 0, 0, 0, 0]);
        assert_eq!(padded.padding.iter().filter(|p| **p).count(), 5);
        let values = padded.align(&[vec![0.5, 0.6, 0.7], vec![0.8], vec![]], -2.0);
        assert_eq!(values[2..6], [0.7, 0.8, -2.0, -2.0]);
        assert_eq!(Padded::new(&[vec![1]], 0, 4).ids, [1, 0, 0, 0]);
        assert_eq!(Padded::new(&[vec![], vec![]], 0, 0).shape(), [2, 0]);
        assert_eq!(Padded::new(&[], 0, 1).ids.len(), 0);
    }
}
