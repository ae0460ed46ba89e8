//! Tokens of many cells, side by side.

use super::ComposedTask;
use super::tokens::CellTokens;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use sc_models::composed::{Sequences, special};

/// Tokens of a minibatch on the host, `[cells, length]` row-major; each row begins with the cell's
/// own token.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arranged {
    pub(super) cells: usize,
    pub(super) length: usize,
    pub(super) ids: Vec<i64>,
    /// Values, for tokens that have some.
    pub(super) values: Option<Vec<f32>>,
    /// 1 at values that are hidden.
    pub(super) hidden: Option<Vec<f32>>,
    padding: Vec<bool>,
}

impl ComposedTask {
    /// Sequences of cells, padded to the longest; to the longest there can be for encoders that read
    /// the length, so that company does not matter.
    pub(super) fn arrange(&self, cells: &[CellTokens]) -> Arranged {
        let longest = cells.iter().map(|c| c.ids.len()).max().unwrap_or(0);
        let length = match self.network.encoder.reads_length() {
            true => self.network.length,
            false => 1 + longest,
        };
        let n = cells.len();
        let [pad, cls] = [special::PAD, special::CLS].map(|s| i64::from(self.tokens.special(s)));
        let mut out = Arranged {
            cells: n,
            length,
            ids: vec![pad; n * length],
            values: self.network.values.then(|| vec![0.0; n * length]),
            hidden: None,
            padding: vec![true; n * length],
        };
        for (i, cell) in cells.iter().enumerate() {
            let (at, end) = (i * length, i * length + 1 + cell.ids.len());
            out.ids[at] = cls;
            out.padding[at..end].fill(false);
            for (slot, &id) in out.ids[at + 1..end].iter_mut().zip(&cell.ids) {
                *slot = i64::from(id);
            }
            if let Some(values) = &mut out.values {
                values[at + 1..end].copy_from_slice(&cell.values);
            }
        }
        out
    }
}

impl Arranged {
    /// Place of token `k` of cell `i`, the cell's own not counted.
    pub(super) fn place(&self, i: usize, k: usize) -> usize {
        i * self.length + 1 + k
    }

    /// Genes of all places.
    pub(super) fn ids_on(&self, device: &Device) -> Tensor<2, Int> {
        let shape = [self.cells, self.length];
        Tensor::from_data(TensorData::new(self.ids.clone(), shape), device)
    }

    pub(super) fn on_device(&self, device: &Device) -> Sequences {
        let shape = [self.cells, self.length];
        let matrix =
            |v: &Vec<f32>| Tensor::<2>::from_data(TensorData::new(v.clone(), shape), device);
        let padded = self.padding.contains(&true);
        Sequences {
            ids: self.ids_on(device),
            values: self.values.as_ref().map(matrix),
            hidden: self.hidden.as_ref().map(matrix),
            padding: padded.then(|| {
                let mask = TensorData::new(self.padding.clone(), shape);
                Tensor::<2, Bool>::from_data(mask, device)
            }),
        }
    }
}
