//! Distances between many cells, tile by tile.
//!
//! Distances are computed from differences, never by `|x|² + |y|² − 2xy`: the latter cancels for
//! close cells, and close cells are what every metric depends on. Relative error of a squared
//! distance in f32 is then at most about `(dims + 2) · 2⁻²⁴`, whatever the offset of the embedding.

mod kernel;

use crate::error::EvalError;
use kernel::squared_distances;
use ndarray::{ArrayView1, ArrayView2};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Cells of one panel: two AVX2 registers, one AVX-512 register.
pub(crate) const LANES: usize = 16;
/// Query cells of one kernel call.
const ROWS: usize = 8;
/// Panels of one block: 512 cells, which stay in the second-level cache while queries pass by.
const BLOCK: usize = 32;
/// Query cells of one parallel task.
pub(crate) const TILE: usize = 256;

/// Refuses embeddings with NaN or infinities.
pub(crate) fn check_finite(what: &'static str, x: ArrayView2<'_, f32>) -> Result<(), EvalError> {
    match x
        .outer_iter()
        .position(|row| row.iter().any(|v| !v.is_finite()))
    {
        Some(row) => Err(EvalError::NotFinite { what, row }),
        None => Ok(()),
    }
}

/// A power of two that scales the largest coordinate to about 1, so that no square overflows.
pub(crate) fn safe_scale(x: ArrayView2<'_, f32>) -> f32 {
    let max = x.iter().fold(0f32, |m, v| m.max(v.abs()));
    if max > 0.0 {
        (-(max.log2().floor().clamp(-120.0, 120.0))).exp2()
    } else {
        1.0
    }
}

/// Cells interleaved 16 by 16: panel `p` holds, for every dimension, the values of 16 cells.
pub(crate) struct Panels {
    dims: usize,
    cells: usize,
    data: Vec<f32>,
}

impl Panels {
    /// Packs `scale · x[row]` for every row of `order`; the last panel is padded with zeros.
    pub(crate) fn pack(x: ArrayView2<'_, f32>, order: &[u32], scale: f32) -> Self {
        let dims = x.ncols();
        let mut data = vec![0.0; order.len().div_ceil(LANES) * LANES * dims];
        for (position, &row) in order.iter().enumerate() {
            let base = (position / LANES) * LANES * dims + position % LANES;
            for (j, v) in x.row(row as usize).iter().enumerate() {
                data[base + j * LANES] = v * scale;
            }
        }
        Self {
            dims,
            cells: order.len(),
            data,
        }
    }

    fn count(&self) -> usize {
        self.cells.div_ceil(LANES)
    }

    /// The panels `start..end`, one after another.
    fn range(&self, start: usize, end: usize) -> &[f32] {
        let size = LANES * self.dims;
        &self.data[start * size..end * size]
    }
}

/// The query cells of one kernel call, interleaved: dimension by dimension.
fn pack_rows(rows: &[ArrayView1<'_, f32>], dims: usize, scale: f32, out: &mut Vec<f32>) {
    out.clear();
    out.resize(dims * ROWS, 0.0);
    for (r, row) in rows.iter().enumerate() {
        for (j, v) in row.iter().enumerate() {
            out[j * ROWS + r] = v * scale;
        }
    }
}

/// One task's share of query cells and its scratch memory.
struct Queries<'a> {
    x: ArrayView2<'a, f32>,
    order: &'a [u32],
    scale: f32,
}

impl Queries<'_> {
    /// Packs every group of query cells.
    fn pack(&self) -> Vec<Vec<f32>> {
        self.order
            .chunks(ROWS)
            .map(|group| {
                let rows: Vec<_> = group.iter().map(|&i| self.x.row(i as usize)).collect();
                let mut out = Vec::new();
                pack_rows(&rows, self.x.ncols(), self.scale, &mut out);
                out
            })
            .collect()
    }
}

/// Calls `hit(query, position)` for every pair whose approximate scaled squared distance does not
/// exceed `limit(query)`; the limit is read again for every block of 512 cells.
///
/// `queries` are rows of `x`, `position` counts the packed cells. Order of calls for one query:
/// ascending positions.
pub(crate) fn candidates<S>(
    (x, queries, scale): (ArrayView2<'_, f32>, &[u32], f32),
    panels: &Panels,
    state: &mut S,
    limit: impl Fn(&S, usize) -> f32,
    mut hit: impl FnMut(&mut S, usize, usize),
) {
    let arch = Arch::new();
    let packed = (Queries {
        x,
        order: queries,
        scale,
    })
    .pack();
    let mut squared = vec![0f32; BLOCK * ROWS * LANES];
    let mut found: Vec<(u32, u32)> = Vec::new();
    for start in (0..panels.count()).step_by(BLOCK) {
        let end = (start + BLOCK).min(panels.count());
        let block = panels.range(start, end);
        for (group, rows) in packed.iter().enumerate() {
            let here = (queries.len() - group * ROWS).min(ROWS);
            let mut limits = [f32::NEG_INFINITY; ROWS];
            for (r, l) in limits.iter_mut().enumerate().take(here) {
                *l = limit(state, group * ROWS + r);
            }
            let squared = &mut squared[..(end - start) * ROWS * LANES];
            squared_distances(arch, rows, block, squared);
            found.clear();
            arch.dispatch(Within {
                squared,
                limits: &limits,
                start,
                found: &mut found,
            });
            for &(r, position) in &found {
                if (position as usize) < panels.cells {
                    hit(state, group * ROWS + r as usize, position as usize);
                }
            }
        }
    }
}

/// Lists (row, position) of the squared distances within their row's limit.
struct Within<'a> {
    squared: &'a [f32],
    limits: &'a [f32; ROWS],
    start: usize,
    found: &'a mut Vec<(u32, u32)>,
}

// Not a closure: closures are not inlined into the code compiled for the widest vectors.
impl WithSimd for Within<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (p, panel) in self
            .squared
            .as_chunks::<{ ROWS * LANES }>()
            .0
            .iter()
            .enumerate()
        {
            let rows = panel.as_chunks::<LANES>().0.iter().zip(self.limits);
            for (r, (d, &limit)) in rows.enumerate() {
                let mut hits = 0u32;
                for v in d {
                    hits += u32::from(*v <= limit);
                }
                if hits > 0 {
                    let first = (self.start + p) * LANES;
                    for (l, v) in d.iter().enumerate() {
                        if *v <= limit {
                            self.found.push((r as u32, (first + l) as u32));
                        }
                    }
                }
            }
        }
    }
}

/// The distance summed by [`segment_sums`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distance {
    /// Euclidean.
    Euclidean,
    /// Half the squared Euclidean distance: `1 − cosine` for vectors of length 1.
    HalfSquared,
}

/// For every row of `x`, the sum of its distances to the cells of every segment.
///
/// `order` lists rows so that each segment is contiguous, `bounds` holds the segment boundaries
/// (`segments + 1` entries). `finish(row, sums)` turns the sums of one row into its result; rows
/// are those of `order`, results come back in that order. Memory: one tile of rows × segments.
pub(crate) fn segment_sums<T: Send>(
    x: ArrayView2<'_, f32>,
    order: &[u32],
    bounds: &[usize],
    distance: Distance,
    finish: impl Fn(u32, &[f64]) -> T + Sync,
) -> Vec<T> {
    let scale = safe_scale(x);
    let unscale = match distance {
        Distance::Euclidean => 1.0 / f64::from(scale),
        Distance::HalfSquared => 0.5 / f64::from(scale).powi(2),
    };
    let panels = Panels::pack(x, order, scale);
    let segments = bounds.len() - 1;
    // Many segments (each cell its own) must not make a tile large.
    let tile = ((1 << 21) / segments.max(1)).clamp(ROWS, TILE);
    let parts: Vec<Vec<T>> = order
        .par_chunks(tile)
        .map(|rows| {
            let mut sums = vec![0f64; rows.len() * segments];
            tile_sums((x, rows, scale), &panels, bounds, distance, &mut sums);
            rows.iter()
                .zip(sums.chunks_exact_mut(segments))
                .map(|(&row, s)| {
                    s.iter_mut().for_each(|v| *v *= unscale);
                    finish(row, s)
                })
                .collect()
        })
        .collect();
    parts.into_iter().flatten().collect()
}

fn tile_sums(
    (x, rows, scale): (ArrayView2<'_, f32>, &[u32], f32),
    panels: &Panels,
    bounds: &[usize],
    distance: Distance,
    sums: &mut [f64],
) {
    let segments = bounds.len() - 1;
    let arch = Arch::new();
    let packed = (Queries {
        x,
        order: rows,
        scale,
    })
    .pack();
    let mut squared = vec![0f32; BLOCK * ROWS * LANES];
    let mut line = vec![0f32; BLOCK * LANES];
    for start in (0..panels.count()).step_by(BLOCK) {
        let end = (start + BLOCK).min(panels.count());
        let block = panels.range(start, end);
        let (first, last) = (start * LANES, (end * LANES).min(panels.cells));
        let segment = bounds.partition_point(|&b| b <= first) - 1;
        for (group, q) in packed.iter().enumerate() {
            let here = (rows.len() - group * ROWS).min(ROWS);
            let squared = &mut squared[..(end - start) * ROWS * LANES];
            squared_distances(arch, q, block, squared);
            let out = &mut sums[group * ROWS * segments..][..here * segments];
            let span = (first, last, segment);
            arch.dispatch(Add {
                squared,
                bounds,
                span,
                distance,
                line: &mut line,
                out,
            });
        }
    }
}

/// Adds the distances of a few rows to one block to their segments.
struct Add<'a> {
    squared: &'a [f32],
    bounds: &'a [usize],
    /// First cell of the block, the cell after its last, and the segment of the first.
    span: (usize, usize, usize),
    distance: Distance,
    line: &'a mut [f32],
    /// `[rows, segments]`.
    out: &'a mut [f64],
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (first, last, segment) = self.span;
        for (r, out) in self.out.chunks_exact_mut(self.bounds.len() - 1).enumerate() {
            let lines = self.line.as_chunks_mut::<LANES>().0;
            for (panel, line) in self
                .squared
                .as_chunks::<{ ROWS * LANES }>()
                .0
                .iter()
                .zip(lines)
            {
                let d = &panel.as_chunks::<LANES>().0[r];
                match self.distance {
                    Distance::Euclidean => line.iter_mut().zip(d).for_each(|(o, d)| *o = d.sqrt()),
                    Distance::HalfSquared => *line = *d,
                }
            }
            let (mut from, mut s) = (first, segment);
            while from < last {
                let to = self.bounds[s + 1].min(last);
                out[s] += sum(&self.line[from - first..to - first]);
                from = to;
                s += 1;
            }
        }
    }
}

/// Sum in f64 with eight running sums, always combined in the same order.
#[inline(always)]
fn sum(values: &[f32]) -> f64 {
    let mut acc = [0f64; 8];
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for l in 0..8 {
            acc[l] += f64::from(chunk[l]);
        }
    }
    let tail: f64 = rest.iter().map(|&v| f64::from(v)).sum();
    acc.iter().sum::<f64>() + tail
}

/// Squared Euclidean distance in f64: eight running sums over the dimensions, always combined in
/// the same order, so equal pairs of cells have equal distances.
pub(crate) fn exact_squared(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    match (a.as_slice(), b.as_slice()) {
        (Some(a), Some(b)) => exact_slices(a, b),
        _ => exact_slices(&a.to_vec(), &b.to_vec()),
    }
}

fn exact_slices(a: &[f32], b: &[f32]) -> f64 {
    let mut acc = [0f64; 8];
    let ((x, xr), (y, yr)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (x, y) in x.iter().zip(y) {
        for l in 0..8 {
            let d = f64::from(x[l]) - f64::from(y[l]);
            acc[l] += d * d;
        }
    }
    for (sum, (x, y)) in acc.iter_mut().zip(xr.iter().zip(yr)) {
        let d = f64::from(*x) - f64::from(*y);
        *sum += d * d;
    }
    ((acc[0] + acc[4]) + (acc[2] + acc[6])) + ((acc[1] + acc[5]) + (acc[3] + acc[7]))
}

/// Position of the nearest packed cell for every row of `x` (the first among equals), by f32
/// distances.
pub(crate) fn nearest(x: ArrayView2<'_, f32>, panels: &Panels, scale: f32) -> Vec<u32> {
    let rows: Vec<u32> = (0..x.nrows() as u32).collect();
    let parts: Vec<Vec<u32>> = rows
        .par_chunks(TILE)
        .map(|rows| {
            let arch = Arch::new();
            let all = panels.range(0, panels.count());
            let mut squared = vec![0f32; panels.count() * ROWS * LANES];
            let mut out = Vec::with_capacity(rows.len());
            for (group, q) in (Queries {
                x,
                order: rows,
                scale,
            })
            .pack()
            .iter()
            .enumerate()
            {
                squared_distances(arch, q, all, &mut squared);
                for r in 0..(rows.len() - group * ROWS).min(ROWS) {
                    let mut best = (f32::INFINITY, 0);
                    for c in 0..panels.cells {
                        let v = squared[(c / LANES * ROWS + r) * LANES + c % LANES];
                        if v < best.0 {
                            best = (v, c as u32);
                        }
                    }
                    out.push(best.1);
                }
            }
            out
        })
        .collect();
    parts.concat()
}
