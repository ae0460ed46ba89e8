//! Positions of the elements of a chunk.

use std::ops::Range;

use super::meta::{Kind, Meta};

/// Number of elements of a box.
pub(super) fn product(extents: &[u64]) -> u64 {
    extents.iter().fold(1, |a, &b| a.saturating_mul(b))
}

/// The `k`-th position of a grid, row-major.
pub(super) fn position(mut k: u64, grid: &[Range<u64>], counts: &[u64]) -> Vec<u64> {
    let mut at = vec![0; grid.len()];
    for axis in (0..grid.len()).rev() {
        at[axis] = grid[axis].start + k % counts[axis];
        k /= counts[axis];
    }
    at
}

/// Copies the part of the box `ranges` that is in a chunk into `out`, row by row.
pub(super) fn place(
    out: &mut [u8],
    ranges: &[Range<u64>],
    chunk: &[u8],
    at: &[u64],
    extents: &[u64],
    width: usize,
) {
    let axes = ranges.len();
    let overlap: Vec<Range<u64>> = (0..axes)
        .map(|a| {
            let start = at[a] * extents[a];
            ranges[a].start.max(start)..ranges[a].end.min(start + extents[a])
        })
        .collect();
    let lengths: Vec<u64> = overlap.iter().map(|r| r.end - r.start).collect();
    let (run, rows) = match lengths.split_last() {
        Some((run, outer)) => (*run as usize, product(outer)),
        None => (1, 1),
    };
    for row in 0..rows {
        let (mut from, mut to, mut rest) = (0u64, 0u64, row);
        // Strides grow from the last axis, which is copied whole.
        let (mut from_stride, mut to_stride) = (1u64, 1u64);
        for a in (0..axes).rev() {
            let step = match a + 1 == axes {
                true => 0,
                false => {
                    let step = rest % lengths[a];
                    rest /= lengths[a];
                    step
                }
            };
            let here = overlap[a].start + step;
            from += (here - at[a] * extents[a]) * from_stride;
            to += (here - ranges[a].start) * to_stride;
            from_stride *= extents[a];
            to_stride *= ranges[a].end - ranges[a].start;
        }
        let (from, to) = (from as usize * width, to as usize * width);
        let bytes = run * width;
        out[to..to + bytes].copy_from_slice(&chunk[from..from + bytes]);
    }
}

/// Transposes a stored chunk whose axes are `meta.order` into the order of the array.
pub(super) fn untransposed(bytes: &[u8], meta: &Meta, width: usize) -> Vec<u8> {
    let axes = meta.chunk.len();
    let mut strides = vec![0usize; axes];
    let mut stride = 1;
    for &axis in meta.order.iter().rev() {
        strides[axis] = stride;
        stride *= meta.chunk[axis] as usize;
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = vec![0u64; axes];
    for _ in 0..bytes.len() / width {
        let from: usize = at.iter().zip(&strides).map(|(&a, s)| a as usize * s).sum();
        out.extend_from_slice(&bytes[from * width..(from + 1) * width]);
        for axis in (0..axes).rev() {
            at[axis] += 1;
            if at[axis] < meta.chunk[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    out
}

/// Converts big-endian elements to little-endian.
pub(super) fn swap(bytes: &mut [u8], kind: &Kind) {
    let unit = match kind {
        Kind::Number(_) => kind.width(),
        Kind::Utf32(_) => 4,
        _ => 1,
    };
    for word in bytes.chunks_exact_mut(unit.max(1)) {
        word.reverse();
    }
}
