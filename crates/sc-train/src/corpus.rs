//! The cells a model sees: rows of a store, in the columns of its vocabulary.

use crate::error::Result;
use sc_data::genes::GeneMatch;
use sc_data::loader::Windows;
use sc_data::store::CountsReader;
use sc_data::{CsrMatrix, DataError, LogNormalized};
use std::sync::Arc;

pub use sc_data::Counts;

/// Values the user vouches for as log-normalised, taken back to pseudo-counts with `exp(x) − 1`.
///
/// Models take counts and apply their own logarithm; taking the user's back first is what keeps
/// log-normalised input from being logged twice.
pub struct AssumedNormalized(pub CountsReader);

impl Counts for AssumedNormalized {
    fn cells(&self) -> usize {
        self.0.cells()
    }

    fn genes(&self) -> usize {
        self.0.genes()
    }

    fn window(&self) -> usize {
        self.0.window()
    }

    fn read(&self, rows: &[usize]) -> Result<CsrMatrix, DataError> {
        let values = self
            .0
            .read_normalized(rows)
            .map(LogNormalized::into_matrix)?;
        Ok(values.map_values(f32::exp_m1))
    }
}

/// Cells of one data set in the columns of one vocabulary.
#[derive(Clone)]
pub struct Corpus {
    /// Where counts come from.
    pub counts: Arc<dyn Counts>,
    /// The file's genes in the vocabulary.
    pub genes: Arc<GeneMatch>,
    /// Sequencing batch of every cell of the file.
    pub batches: Arc<Vec<u32>>,
    /// Rows to work on.
    pub rows: Arc<Vec<usize>>,
}

/// A minibatch on the host.
#[derive(Clone, Debug)]
pub struct CellBatch {
    /// Row in the file of every cell: the cell's name in every random stream.
    pub rows: Vec<usize>,
    /// Counts, `[cells, genes]`.
    pub counts: CsrMatrix,
    /// Sequencing batch of every cell.
    pub batches: Vec<u32>,
}

impl Corpus {
    /// Number of sequencing batches.
    pub fn batch_levels(&self) -> usize {
        self.batches.iter().max().map_or(0, |&b| b as usize + 1)
    }

    /// Reads the cells at `rows` of the file.
    ///
    /// # Errors
    /// Whatever is wrong with the file or its values.
    pub fn read(&self, rows: &[usize]) -> Result<CellBatch> {
        self.cell_batch(rows, &self.counts.read(rows)?)
    }

    /// Reads `minibatches` of rows of the file one after the other; `mixed` as in [`Windows::new`].
    pub fn stream<'a>(
        &'a self,
        minibatches: &'a [Vec<usize>],
        mixed: Option<usize>,
    ) -> impl Iterator<Item = Result<CellBatch>> + 'a {
        let mut windows = Windows::new(&*self.counts, minibatches, mixed);
        let mut cells = CsrMatrix::default();
        minibatches.iter().map_while(move |rows| {
            let read = windows.next_into(&mut cells)?;
            Some(match read {
                Ok(()) => self.cell_batch(rows, &cells),
                Err(e) => Err(e.into()),
            })
        })
    }

    fn cell_batch(&self, rows: &[usize], counts: &CsrMatrix) -> Result<CellBatch> {
        Ok(CellBatch {
            rows: rows.to_vec(),
            counts: self.genes.apply_matrix(counts)?,
            batches: rows.iter().map(|&r| self.batches[r]).collect(),
        })
    }
}
