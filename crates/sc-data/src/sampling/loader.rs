//! Reading minibatches: many at a time where that is faster, and ahead of the computation.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use crate::counts::RawCounts;
use crate::error::Result;
use crate::sparse::CsrMatrix;

/// A source of rows of counts.
pub trait Counts: Send + Sync {
    /// Number of cells.
    fn cells(&self) -> usize;

    /// Number of genes.
    fn genes(&self) -> usize;

    /// The counts of the cells at `rows`, in that order, `[rows, genes]`.
    ///
    /// # Errors
    /// Any error of the file or its values.
    fn read(&self, rows: &[usize]) -> Result<CsrMatrix>;

    /// The same into a matrix whose memory is reused; after an error its content is unspecified.
    ///
    /// # Errors
    /// As [`Counts::read`].
    fn read_into(&self, rows: &[usize], out: &mut CsrMatrix) -> Result<()> {
        *out = self.read(rows)?;
        Ok(())
    }

    /// Cells worth reading at once; 1 where cells can be read one by one.
    fn window(&self) -> usize {
        1
    }
}

impl Counts for RawCounts {
    fn cells(&self) -> usize {
        self.matrix().rows()
    }

    fn genes(&self) -> usize {
        self.matrix().cols()
    }

    fn read(&self, rows: &[usize]) -> Result<CsrMatrix> {
        Ok(self.matrix().select_rows(rows))
    }
}

/// Minibatches in order, read in groups of many cells where that is faster.
///
/// The result does not depend on the size of the groups.
pub struct Windows<'a> {
    counts: &'a dyn Counts,
    /// Cells of a group.
    size: usize,
    minibatches: &'a [Vec<usize>],
    /// Distinct cells of the window, ascending, and their counts.
    cells: Vec<usize>,
    window: CsrMatrix,
    /// Minibatches of the window that have not been returned yet.
    ready: usize,
}

impl<'a> Windows<'a> {
    /// Reads `minibatches` of `counts` in order.
    ///
    /// `mixed` is the number of cells over which minibatches are mixed: the window of a
    /// block-wise shuffle, some thousand for cells in file order; `None` means all of them.
    pub fn new(
        counts: &'a dyn Counts,
        minibatches: &'a [Vec<usize>],
        mixed: Option<usize>,
    ) -> Self {
        let size = match counts.window() {
            1 => 1,
            window => mixed.unwrap_or(window),
        };
        Self {
            counts,
            size,
            minibatches,
            cells: Vec::new(),
            window: CsrMatrix::default(),
            ready: 0,
        }
    }

    /// Reads the next minibatch into `out`; `None` at the end.
    ///
    /// # Errors
    /// Any error of the file or its values.
    pub fn next_into(&mut self, out: &mut CsrMatrix) -> Option<Result<()>> {
        let (rows, rest) = self.minibatches.split_first()?;
        if self.size <= rows.len() {
            self.minibatches = rest;
            return Some(self.counts.read_into(rows, out));
        }
        if self.ready == 0
            && let Err(e) = self.fill()
        {
            self.minibatches = &[];
            return Some(Err(e));
        }
        self.minibatches = rest;
        self.ready -= 1;
        let at: Vec<usize> = rows
            .iter()
            .map(|r| {
                self.cells
                    .binary_search(r)
                    .expect("invariant: every row is in the window")
            })
            .collect();
        self.window.gather(&at, out);
        Some(Ok(()))
    }

    fn fill(&mut self) -> Result<()> {
        let mut cells = 0;
        let group = self.minibatches.iter().take_while(|m| {
            cells += m.len();
            cells <= self.size
        });
        self.ready = group.count().max(1);
        self.cells.clear();
        let group = self.minibatches.iter().take(self.ready);
        self.cells.extend(group.flatten());
        self.cells.sort_unstable();
        self.cells.dedup();
        self.counts.read_into(&self.cells, &mut self.window)
    }
}

/// Minibatches prefetched on a separate thread.
pub struct Loader {
    ready: Option<Receiver<Result<CsrMatrix>>>,
    used: Sender<CsrMatrix>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// Starts reading `minibatches` of `counts`, at most `ahead` of them in advance;
    /// `mixed` as in [`Windows::new`].
    pub fn start(
        counts: Arc<dyn Counts>,
        minibatches: Vec<Vec<usize>>,
        mixed: Option<usize>,
        ahead: usize,
    ) -> Self {
        let (send, ready) = sync_channel(ahead);
        let (used, returned) = channel();
        let thread = std::thread::spawn(move || {
            read_all(
                Windows::new(&*counts, &minibatches, mixed),
                &send,
                &returned,
            )
        });
        Self {
            ready: Some(ready),
            used,
            thread: Some(thread),
        }
    }

    /// The next minibatch into `out`, whose memory is reused; `None` at the end.
    ///
    /// # Errors
    /// Any error of the file or its values; nothing follows an error.
    pub fn next_into(&mut self, out: &mut CsrMatrix) -> Option<Result<()>> {
        let next = self.ready.as_ref()?.recv().ok()?;
        Some(next.map(|matrix| {
            let before = std::mem::replace(out, matrix);
            // The receiver is dropped when the last minibatch has been read.
            let _ = self.used.send(before);
        }))
    }
}

fn read_all(
    mut windows: Windows<'_>,
    send: &SyncSender<Result<CsrMatrix>>,
    returned: &Receiver<CsrMatrix>,
) {
    let mut spare: VecDeque<CsrMatrix> = VecDeque::new();
    loop {
        spare.extend(returned.try_iter());
        let mut out = spare.pop_front().unwrap_or_default();
        let Some(read) = windows.next_into(&mut out) else {
            return;
        };
        let failed = read.is_err();
        // The receiver is dropped when no more minibatches are needed.
        if send.send(read.map(|()| out)).is_err() || failed {
            return;
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.ready = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::sampler::{Blocks, block_shuffled};

    /// Counts that are best read in windows of this many cells.
    struct Windowed(RawCounts, usize);

    impl Counts for Windowed {
        fn cells(&self) -> usize {
            self.0.cells()
        }
        fn genes(&self) -> usize {
            self.0.genes()
        }
        fn read(&self, rows: &[usize]) -> Result<CsrMatrix> {
            self.0.read(rows)
        }
        fn window(&self) -> usize {
            self.1
        }
    }

    fn counts() -> RawCounts {
        let dense: Vec<f32> = (0..60 * 5).map(|k| (k * 7 % 4) as f32).collect();
        RawCounts::new(CsrMatrix::from_dense(5, &dense)).unwrap()
    }

    #[test]
    fn windows_do_not_change_what_is_read() {
        let blocks = Blocks {
            block: 4,
            window: 24,
        };
        let rows: Vec<usize> = (0..60).collect();
        let minibatches = block_shuffled(&rows, blocks, 7, 1, 0);
        for (window, mixed) in [(1, None), (10, None), (24, Some(24)), (1000, Some(3))] {
            let source: Arc<dyn Counts> = Arc::new(Windowed(counts(), window));
            let mut loader = Loader::start(source, minibatches.clone(), mixed, 2);
            let mut out = CsrMatrix::default();
            for rows in &minibatches {
                loader.next_into(&mut out).unwrap().unwrap();
                assert_eq!(out, counts().matrix().select_rows(rows), "{window}");
            }
            assert!(loader.next_into(&mut out).is_none());
        }
    }

    #[test]
    fn dropping_a_loader_stops_its_thread() {
        use std::sync::atomic::{AtomicUsize, Ordering};

        /// Counts the minibatches that are read.
        struct Counting(RawCounts, Arc<AtomicUsize>);

        impl Counts for Counting {
            fn cells(&self) -> usize {
                self.0.cells()
            }
            fn genes(&self) -> usize {
                self.0.genes()
            }
            fn read(&self, rows: &[usize]) -> Result<CsrMatrix> {
                self.1.fetch_add(1, Ordering::SeqCst);
                self.0.read(rows)
            }
        }

        let read = Arc::new(AtomicUsize::new(0));
        let source: Arc<dyn Counts> = Arc::new(Counting(counts(), read.clone()));
        let mut loader = Loader::start(source.clone(), vec![vec![0]; 1000], None, 1);
        loader
            .next_into(&mut CsrMatrix::default())
            .unwrap()
            .unwrap();
        drop(loader);
        // The thread has ended: it has dropped the counts, and prefetched no more than requested.
        assert_eq!(Arc::strong_count(&source), 1);
        assert!((1..10).contains(&read.load(Ordering::SeqCst)));
    }
}
