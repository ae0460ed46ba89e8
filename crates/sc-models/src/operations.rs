//! How many additions and multiplications the products of this process took, from which the logs
//! tell how much of the machine's speed a run reaches.

use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Additions and multiplications in the products of all forward passes so far: those of linear
/// layers, of attention and with sparse cells. The backward pass takes about twice as many; the
/// Fourier transforms of long convolutions are not counted.
pub fn counted() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Counts a product of `[rows, inner]` and `[inner, columns]`.
pub(crate) fn count_product(rows: usize, columns: usize, inner: usize) {
    count(2 * rows as u64 * columns as u64 * inner as u64);
}

pub(crate) fn count(operations: u64) {
    COUNT.fetch_add(operations, Ordering::Relaxed);
}
