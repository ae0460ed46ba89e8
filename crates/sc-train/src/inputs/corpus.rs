//! The cells of a training or embedding run: rows of a store, in the columns of a vocabulary.

use crate::error::{Result, TrainError};
use crate::inputs::data_spec::{MISSING, Obs, Role};
use sc_data::CsrMatrix;
use sc_data::dataset::Dataset;
use sc_data::genes::GeneMatch;
use sc_data::identity::seen_key;
use sc_data::sampling::loader::Loader;
use sc_data::sampling::sampler::{self, Blocks};
use std::collections::BTreeMap;
use std::sync::Arc;

pub use sc_data::Counts;

/// Minibatches prefetched.
const READ_AHEAD: usize = 2;

/// Number of cells in a minibatch that is large enough for cells to learn from each other.
pub const FEW: usize = 256;

/// Order of the cells of a corpus.
#[derive(Clone, Debug, Default)]
pub enum Order {
    /// Every cell once per epoch, in random order.
    #[default]
    Shuffled,
    /// The same, block by block.
    Blocks(Blocks),
    /// Drawn with replacement, by the weight of each of the rows.
    Weighted(Arc<Vec<f64>>),
}

/// Cells of one data set in the columns of one vocabulary.
#[derive(Clone)]
pub struct Corpus {
    /// Where counts come from.
    pub counts: Arc<dyn Counts>,
    /// Position of the file's genes in the vocabulary.
    pub genes: Arc<GeneMatch>,
    /// Sequencing batch of every cell of the file.
    pub batches: Arc<Vec<u32>>,
    /// Rows in use.
    pub rows: Arc<Vec<usize>>,
    /// A key of every cell of the file, by which cells are ordered before they are shuffled or cut
    /// into sentences, so that their row does not matter; see
    /// [`sc_data::identity::CellKeys::draw_keys`]. Empty when unknown: the order is then that of
    /// the file.
    pub keys: Arc<Vec<u64>>,
    /// Columns of `obs` of every cell of the file, as far as the model uses them.
    pub obs: Arc<Obs>,
    /// Order in training, unless the model has its own.
    pub order: Order,
}

/// A minibatch on the host.
#[derive(Clone, Debug)]
pub struct CellBatch {
    /// Row in the file of every cell.
    pub rows: Vec<usize>,
    /// The name of every cell in every random stream: a key of its counts, so that draws depend neither
    /// on its row nor on the rest of the file; see [`sc_data::identity::seen_key`].
    pub keys: Vec<u64>,
    /// Counts, `[cells, genes]`.
    pub counts: CsrMatrix,
    /// Sequencing batch of every cell.
    pub batches: Vec<u32>,
    /// Columns of `obs` of the cells of the file.
    pub obs: Arc<Obs>,
}

impl CellBatch {
    /// Positions of the labelled cells in the minibatch, and their labels.
    pub fn labelled(&self) -> (Vec<i64>, Vec<i64>) {
        let labels = (0i64..).zip(self.codes(Role::Label));
        let known = labels.filter(|(_, code)| *code != MISSING);
        known.map(|(i, code)| (i, i64::from(code))).unzip()
    }

    /// The name of the minibatch in random streams, for draws shared by its cells: that of its
    /// first cell.
    pub fn first_key(&self) -> u64 {
        self.keys.first().copied().unwrap_or_default()
    }

    /// Codes of the cells; [`MISSING`] where there is none.
    pub fn codes(&self, role: Role) -> Vec<u32> {
        self.obs.codes(role, &self.rows)
    }
}

impl Corpus {
    /// The cells of `dataset` at `rows` in the columns of a vocabulary, without keys and columns of
    /// `obs`, to be shuffled. `batches` are the codes of every cell of the data set.
    pub fn new(dataset: &Dataset, genes: GeneMatch, batches: Vec<u32>, rows: Vec<usize>) -> Self {
        Self {
            counts: dataset.counts().clone(),
            genes: Arc::new(genes),
            batches: Arc::new(batches),
            rows: Arc::new(rows),
            obs: Arc::default(),
            keys: Arc::default(),
            order: Order::Shuffled,
        }
    }

    /// Number of sequencing batches.
    pub fn batch_levels(&self) -> usize {
        self.batches.iter().max().map_or(0, |&b| b as usize + 1)
    }

    /// The minibatches of an epoch in this corpus's order.
    ///
    /// # Errors
    /// [`sc_data::DataError::Invalid`] for invalid weights.
    pub fn minibatches(&self, size: usize, seed: u64, epoch: u64) -> Result<Vec<Vec<usize>>> {
        Ok(match &self.order {
            Order::Shuffled => sampler::shuffled(&self.ordered(), size, seed, epoch),
            // Blocks are adjacent in the file.
            Order::Blocks(blocks) => {
                sampler::block_shuffled(&self.rows, *blocks, size, seed, epoch)
            }
            Order::Weighted(weights) => {
                let mut places: Vec<usize> = (0..self.rows.len()).collect();
                places.sort_by_key(|&at| self.key(self.rows[at]));
                let rows: Vec<usize> = places.iter().map(|&at| self.rows[at]).collect();
                let weights: Vec<f64> = places.iter().map(|&at| weights[at]).collect();
                sampler::weighted(&rows, &weights, size, seed, epoch)?
            }
        })
    }

    /// The group of every sequencing batch for minibatches of up to `size` cells of one batch: its
    /// own code, or a shared group for all batches that are too small to fill half of a minibatch
    /// (of
    /// [`FEW`] cells, where minibatches are larger), and the number of these.
    ///
    /// Where every batch is small this mixes them, which hurts a model whose cells attend to each
    /// other far less than minibatches of a few cells.
    pub fn groups(&self, size: usize) -> (BTreeMap<u32, u32>, usize) {
        let mut cells: BTreeMap<u32, usize> = BTreeMap::new();
        for &row in self.rows.iter() {
            *cells.entry(self.batches[row]).or_default() += 1;
        }
        let small = |n: usize| n * 2 < size.min(FEW);
        let few = cells.values().filter(|n| small(**n)).count();
        let group = |(&code, &n): (&u32, &usize)| (code, if small(n) { u32::MAX } else { code });
        (cells.iter().map(group).collect(), few)
    }

    /// Minibatches of one sequencing batch each.
    ///
    /// # Errors
    /// [`TrainError::Config`] for another order than a shuffle.
    pub fn grouped(&self, size: usize, seed: u64, epoch: u64) -> Result<Vec<Vec<usize>>> {
        self.grouped_by(|row| self.batches[row], size, (seed, epoch))
    }

    /// Minibatches of one sequencing batch each, small batches together, see [`Self::groups`].
    ///
    /// # Errors
    /// [`TrainError::Config`] for another order than a shuffle.
    pub fn grouped_small_together(
        &self,
        size: usize,
        seed: u64,
        epoch: u64,
    ) -> Result<Vec<Vec<usize>>> {
        let (groups, _) = self.groups(size);
        self.grouped_by(|row| groups[&self.batches[row]], size, (seed, epoch))
    }

    fn grouped_by(
        &self,
        group: impl Fn(usize) -> u32,
        size: usize,
        (seed, epoch): (u64, u64),
    ) -> Result<Vec<Vec<usize>>> {
        match self.order {
            Order::Shuffled => Ok(sampler::grouped(&self.ordered(), group, size, seed, epoch)),
            _ => Err(TrainError::Config(
                "train.sampling: this model takes minibatches of one sequencing batch each, in random \
                 order; leave sampling out"
                    .into(),
            )),
        }
    }

    /// The key of the cell at `row`; the row itself where keys are unknown.
    pub fn key(&self, row: usize) -> u64 {
        self.keys.get(row).copied().unwrap_or(row as u64)
    }

    /// [`Self::rows`] in the order of the cells' keys.
    pub fn ordered(&self) -> Vec<usize> {
        let mut rows = self.rows.to_vec();
        rows.sort_by_key(|&row| self.key(row));
        rows
    }

    /// Number of cells over which minibatches are mixed, for [`Corpus::stream`].
    pub fn mixed(&self) -> Option<usize> {
        match &self.order {
            Order::Blocks(blocks) => Some(blocks.window),
            _ => None,
        }
    }

    /// Reads the cells at `rows` of the file.
    ///
    /// # Errors
    /// Any error of the file or its values.
    pub fn read(&self, rows: &[usize]) -> Result<CellBatch> {
        self.cell_batch(rows, &self.counts.read(rows)?)
    }

    /// Reads `minibatches` of rows of the file in order, prefetched on a separate thread; `mixed`
    /// as in
    /// [`Loader::start`].
    pub fn stream<'a>(
        &'a self,
        minibatches: &'a [Vec<usize>],
        mixed: Option<usize>,
    ) -> impl Iterator<Item = Result<CellBatch>> + 'a {
        let counts = self.counts.clone();
        let mut loader = Loader::start(counts, minibatches.to_vec(), mixed, READ_AHEAD);
        let mut cells = CsrMatrix::default();
        minibatches.iter().map_while(move |rows| {
            let read = loader.next_into(&mut cells)?;
            Some(match read {
                Ok(()) => self.cell_batch(rows, &cells),
                Err(e) => Err(e.into()),
            })
        })
    }

    fn cell_batch(&self, rows: &[usize], counts: &CsrMatrix) -> Result<CellBatch> {
        let counts = self.genes.apply_matrix(counts)?;
        Ok(CellBatch {
            rows: rows.to_vec(),
            keys: counts.iter_rows().map(|(g, v)| seen_key(g, v)).collect(),
            counts,
            batches: rows.iter().map(|&r| self.batches[r]).collect(),
            obs: self.obs.clone(),
        })
    }
}
