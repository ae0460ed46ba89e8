//! Reading minibatches: many at a time where that is faster, and ahead of whoever computes.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use crate::counts::RawCounts;
use crate::error::Result;
use crate::sparse::CsrMatrix;

/// Something that hands out rows of counts.
pub trait Counts: Send + Sync {
    /// Number of cells.
    fn cells(&self) -> usize;

    /// Number of genes.
    fn genes(&self) -> usize;

    /// The counts of the cells at `rows`, in that order, `[rows, genes]`.
    ///
    /// # Errors
    /// Whatever is wrong with the file or its values.
    fn read(&self, rows: &[usize]) -> Result<CsrMatrix>;

    /// The same into a matrix whose memory is used again; after an error it holds nothing of use.
    ///
    /// # Errors
    /// As [`Counts::read`].
    fn read_into(&self, rows: &[usize], out: &mut CsrMatrix) -> Result<()> {
        *out = self.read(rows)?;
        Ok(())
    }

    /// Cells worth reading at once; 1 where cells can be read alone.
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

/// Cells that are read together, because successive minibatches come from the same places.
#[derive(Default)]
struct Window {
    /// Distinct cells, ascending.
    cells: Vec<usize>,
    counts: CsrMatrix,
}

impl Window {
    fn read(&mut self, counts: &dyn Counts, minibatches: &[Vec<usize>]) -> Result<()> {
        self.cells.clear();
        self.cells.extend(minibatches.iter().flatten());
        self.cells.sort_unstable();
        self.cells.dedup();
        counts.read_into(&self.cells, &mut self.counts)
    }

    /// The cells at `rows`, all of which were read.
    fn gather(&self, rows: &[usize], out: &mut CsrMatrix) {
        let at = rows.iter().map(|r| self.cells.binary_search(r));
        let at: Vec<usize> = at.map(Result::unwrap_or_default).collect();
        self.counts.gather(&at, out);
    }
}

/// Cells of one window: `mixed`, or what the source likes; 1 where cells can be read alone.
fn window_size(counts: &dyn Counts, mixed: Option<usize>) -> usize {
    match counts.window() {
        1 => 1,
        window => mixed.unwrap_or(window),
    }
}

/// How many of the next minibatches make a window of `size` cells; at least one.
fn in_window(minibatches: &[Vec<usize>], size: usize) -> usize {
    let mut cells = 0;
    let fit = minibatches.iter().take_while(|m| {
        cells += m.len();
        cells <= size
    });
    fit.count().max(1)
}

/// Minibatches one after the other, read in groups of many cells where that is faster.
///
/// What comes out does not depend on the size of the groups.
pub struct Windows<'a> {
    counts: &'a dyn Counts,
    /// Cells of a group.
    size: usize,
    minibatches: &'a [Vec<usize>],
    window: Window,
    /// Minibatches of the window that have not been given out.
    ready: usize,
}

impl<'a> Windows<'a> {
    /// Reads `minibatches` of `counts` in order.
    ///
    /// `mixed` is how many cells of successive minibatches come from the same places: the window of a
    /// block-wise shuffle, some thousand for cells in file order; `None` is all of them.
    pub fn new(
        counts: &'a dyn Counts,
        minibatches: &'a [Vec<usize>],
        mixed: Option<usize>,
    ) -> Self {
        Self {
            counts,
            size: window_size(counts, mixed),
            minibatches,
            window: Window::default(),
            ready: 0,
        }
    }

    /// The next minibatch into `out`; `None` when all have been read.
    ///
    /// # Errors
    /// Whatever is wrong with the file or its values.
    pub fn next_into(&mut self, out: &mut CsrMatrix) -> Option<Result<()>> {
        let (rows, rest) = self.minibatches.split_first()?;
        if self.size <= rows.len() && self.ready == 0 {
            self.minibatches = rest;
            return Some(self.counts.read_into(rows, out));
        }
        if self.ready == 0 {
            self.ready = in_window(self.minibatches, self.size);
            let group = &self.minibatches[..self.ready];
            if let Err(e) = self.window.read(self.counts, group) {
                self.minibatches = &[];
                return Some(Err(e));
            }
        }
        self.minibatches = rest;
        self.ready -= 1;
        self.window.gather(rows, out);
        Some(Ok(()))
    }
}

/// Minibatches read on a thread of their own, ahead of whoever takes them.
pub struct Loader {
    ready: Option<Receiver<Result<CsrMatrix>>>,
    used: Sender<CsrMatrix>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// Starts reading `minibatches` of `counts`, at most `ahead` of them before they are taken;
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
            let size = window_size(&*counts, mixed);
            let out = Outlet {
                send,
                returned,
                spare: Vec::new(),
            };
            match minibatches.first() {
                Some(first) if size > first.len() => by_window(&*counts, &minibatches, size, out),
                _ => one_by_one(&*counts, &minibatches, out),
            }
        });
        Self {
            ready: Some(ready),
            used,
            thread: Some(thread),
        }
    }

    /// The next minibatch into `out`, whose memory goes back to be used again; `None` at the end.
    ///
    /// # Errors
    /// Whatever is wrong with the file or its values; nothing follows an error.
    pub fn next_into(&mut self, out: &mut CsrMatrix) -> Option<Result<()>> {
        let next = self.ready.as_ref()?.recv().ok()?;
        Some(next.map(|matrix| {
            let before = std::mem::replace(out, matrix);
            // Nobody takes it when the last minibatch has been read.
            let _ = self.used.send(before);
        }))
    }
}

/// Where minibatches go, and where their memory comes back.
struct Outlet {
    send: SyncSender<Result<CsrMatrix>>,
    returned: Receiver<CsrMatrix>,
    spare: Vec<CsrMatrix>,
}

impl Outlet {
    /// Memory to read into: used before, if some has come back.
    fn memory(&mut self) -> CsrMatrix {
        self.spare.extend(self.returned.try_iter());
        self.spare.pop().unwrap_or_default()
    }

    /// Hands a minibatch on; `false` when nothing more is wanted or can follow.
    fn hand_on(&self, read: Result<CsrMatrix>) -> bool {
        let failed = read.is_err();
        self.send.send(read).is_ok() && !failed
    }
}

fn one_by_one(counts: &dyn Counts, minibatches: &[Vec<usize>], mut out: Outlet) {
    for rows in minibatches {
        let mut matrix = out.memory();
        let read = counts.read_into(rows, &mut matrix);
        if !out.hand_on(read.map(|()| matrix)) {
            return;
        }
    }
}

/// Reads the next window while minibatches are cut from the one before, so that no thread waits.
fn by_window(counts: &dyn Counts, minibatches: &[Vec<usize>], size: usize, mut out: Outlet) {
    std::thread::scope(|scope| {
        let (full, windows) = sync_channel::<Result<(Window, usize)>>(0);
        let (used, empty) = channel::<Window>();
        scope.spawn(move || {
            let mut rest = minibatches;
            while !rest.is_empty() {
                let n = in_window(rest, size);
                let mut window = empty.try_recv().unwrap_or_default();
                let read = window.read(counts, &rest[..n]);
                let failed = read.is_err();
                if full.send(read.map(|()| (window, n))).is_err() || failed {
                    return;
                }
                rest = &rest[n..];
            }
        });
        let mut rest = minibatches.iter();
        for window in windows {
            let (window, n) = match window {
                Ok(window) => window,
                Err(e) => {
                    out.hand_on(Err(e));
                    return;
                }
            };
            for rows in rest.by_ref().take(n) {
                let mut matrix = out.memory();
                window.gather(rows, &mut matrix);
                if !out.hand_on(Ok(matrix)) {
                    return;
                }
            }
            // The reader is gone after the last window.
            let _ = used.send(window);
        }
    });
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
    use crate::sampler::{Blocks, block_shuffled};

    /// Counts that like to be read in windows of this many cells.
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
        let loader = Loader::start(Arc::new(counts()), vec![vec![0]; 1000], None, 1);
        drop(loader);
    }
}
