//! Minibatches of a data set, in order.

use super::Dataset;
use crate::categories::Categories;
use crate::error::Result;
use crate::sampling::loader::Loader;
use crate::sparse::CsrMatrix;

/// Minibatches prefetched.
const AHEAD: usize = 2;

/// A minibatch of cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Minibatch {
    /// Rows of the data set.
    pub rows: Vec<usize>,
    /// Their counts, `[cells, genes]`.
    pub counts: CsrMatrix,
    /// Their codes in every requested column; [`crate::categories::MISSING`] where a cell has no
    /// value.
    pub codes: Vec<Vec<u32>>,
}

impl Dataset {
    /// Reads `minibatches` of rows, prefetched on a separate thread, with their codes in
    /// `columns`. The caller decides the order of cells, see [`crate::sampling::sampler`].
    ///
    /// ```
    /// use sc_data::{Dataset, sampling::sampler::shuffled, io::store::CountsPolicy};
    /// # use sc_data::simulate::{SimConfig, simulate_to_file};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("cells.h5ad");
    /// # let config = SimConfig { cells: 50, genes: 40, ..SimConfig::default() };
    /// # simulate_to_file(&config, &path, |_| ())?;
    ///
    /// let dataset = Dataset::open(&path, &CountsPolicy::RequireCounts)?;
    /// let labels = dataset.categories("cell_type")?;
    /// let rows: Vec<usize> = (0..dataset.cells()).collect();
    /// let mut cells = 0;
    /// for minibatch in dataset.minibatches(shuffled(&rows, 16, 0, 0), &[&labels]) {
    ///     let minibatch = minibatch?;
    ///     cells += minibatch.counts.rows();
    ///     assert_eq!(minibatch.codes[0].len(), minibatch.rows.len());
    /// }
    /// assert_eq!(cells, 50);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn minibatches<'a>(
        &self,
        minibatches: Vec<Vec<usize>>,
        columns: &'a [&'a Categories],
    ) -> impl Iterator<Item = Result<Minibatch>> + 'a {
        let mut loader = Loader::start(self.counts.clone(), minibatches.clone(), None, AHEAD);
        minibatches.into_iter().map_while(move |rows| {
            let mut counts = CsrMatrix::default();
            let read = loader.next_into(&mut counts)?;
            let of = |c: &&Categories| rows.iter().map(|&r| c.codes()[r]).collect();
            let codes = columns.iter().map(of).collect();
            Some(read.map(|()| Minibatch {
                rows,
                counts,
                codes,
            }))
        })
    }
}
