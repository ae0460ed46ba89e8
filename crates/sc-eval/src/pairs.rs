//! Distances between many cells, tile by tile.
//!
//! Distances are taken by differences, never by `|x|² + |y|² − 2xy`: the latter cancels for close
//! cells, and close cells are what every metric looks at. Relative error of a squared distance in
//! f32 is then at most about `(dims + 2) · 2⁻²⁴`, whatever the offset of the embedding.

use crate::error::EvalError;
use ndarray::{ArrayView1, ArrayView2};
use rayon::prelude::*;

/// Cells of one panel: two AVX2 registers, one AVX-512 register.
pub(crate) const LANES: usize = 16;
/// Query cells of one kernel call.
const ROWS: usize = 4;
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

/// A power of two that brings the largest coordinate to about 1, so that no square overflows.
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
    /// Packs `scale · x[row]` for every row of `order`; the last panel is filled up with zeros.
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

    fn panel(&self, p: usize) -> &[f32] {
        let size = LANES * self.dims;
        &self.data[p * size..(p + 1) * size]
    }
}

/// Four query cells, interleaved: dimension by dimension.
fn pack_rows(rows: &[ArrayView1<'_, f32>], dims: usize, scale: f32, out: &mut Vec<f32>) {
    out.clear();
    out.resize(dims * ROWS, 0.0);
    for (r, row) in rows.iter().enumerate() {
        for (j, v) in row.iter().enumerate() {
            out[j * ROWS + r] = v * scale;
        }
    }
}

/// Squared distances of four cells to the sixteen of a panel.
#[inline(always)]
fn kernel(rows: &[f32], panel: &[f32]) -> [[f32; LANES]; ROWS] {
    let mut acc = [[0f32; LANES]; ROWS];
    for (q, y) in rows
        .as_chunks::<ROWS>()
        .0
        .iter()
        .zip(panel.as_chunks::<LANES>().0)
    {
        for r in 0..ROWS {
            let x = q[r];
            for l in 0..LANES {
                let d = x - y[l];
                acc[r][l] += d * d;
            }
        }
    }
    acc
}

/// One task's share of query cells and the scratch it needs.
struct Queries<'a> {
    x: ArrayView2<'a, f32>,
    order: &'a [u32],
    scale: f32,
}

impl Queries<'_> {
    /// Packs every group of four query cells.
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
    let arch = pulp::Arch::new();
    let packed = Queries {
        x,
        order: queries,
        scale,
    }
    .pack();
    let mut found: Vec<(u32, u32)> = Vec::new();
    for start in (0..panels.count()).step_by(BLOCK) {
        let end = (start + BLOCK).min(panels.count());
        for (group, rows) in packed.iter().enumerate() {
            let here = (queries.len() - group * ROWS).min(ROWS);
            let mut limits = [f32::NEG_INFINITY; ROWS];
            for (r, l) in limits.iter_mut().enumerate().take(here) {
                *l = limit(state, group * ROWS + r);
            }
            found.clear();
            arch.dispatch(
                #[inline(always)]
                || {
                    for p in start..end {
                        let d = kernel(rows, panels.panel(p));
                        for (r, (d, limit)) in d.iter().zip(limits).enumerate() {
                            let mut any = false;
                            for v in d {
                                any |= *v <= limit;
                            }
                            if any {
                                for (l, v) in d.iter().enumerate() {
                                    if *v <= limit {
                                        found.push((r as u32, (p * LANES + l) as u32));
                                    }
                                }
                            }
                        }
                    }
                },
            );
            for &(r, position) in &found {
                if (position as usize) < panels.cells {
                    hit(state, group * ROWS + r as usize, position as usize);
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
    // Many segments (every cell its own) must not make a tile large.
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
    let arch = pulp::Arch::new();
    let packed = Queries {
        x,
        order: rows,
        scale,
    }
    .pack();
    let mut buffer = vec![[0f32; BLOCK * LANES]; ROWS];
    for start in (0..panels.count()).step_by(BLOCK) {
        let end = (start + BLOCK).min(panels.count());
        let (first, last) = (start * LANES, (end * LANES).min(panels.cells));
        let segment = bounds.partition_point(|&b| b <= first) - 1;
        for (group, q) in packed.iter().enumerate() {
            let here = (rows.len() - group * ROWS).min(ROWS);
            arch.dispatch(
                #[inline(always)]
                || {
                    for p in start..end {
                        let d = kernel(q, panels.panel(p));
                        let at = (p - start) * LANES;
                        for r in 0..ROWS {
                            for l in 0..LANES {
                                buffer[r][at + l] = match distance {
                                    Distance::Euclidean => d[r][l].sqrt(),
                                    Distance::HalfSquared => d[r][l],
                                };
                            }
                        }
                    }
                    for r in 0..here {
                        let out = &mut sums[(group * ROWS + r) * segments..][..segments];
                        let (mut from, mut s) = (first, segment);
                        while from < last {
                            let to = bounds[s + 1].min(last);
                            out[s] += sum(&buffer[r][from - first..to - first]);
                            from = to;
                            s += 1;
                        }
                    }
                },
            );
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

/// Squared Euclidean distance in f64, summed from the first dimension to the last.
pub(crate) fn exact_squared(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    let term = |(&x, &y): (&f32, &f32)| (f64::from(x) - f64::from(y)).powi(2);
    match (a.as_slice(), b.as_slice()) {
        (Some(a), Some(b)) => a.iter().zip(b).map(term).sum(),
        _ => a.iter().zip(b.iter()).map(term).sum(),
    }
}

/// Position of the nearest packed cell for every row of `x` (the first among equals), by f32
/// distances.
pub(crate) fn nearest(x: ArrayView2<'_, f32>, panels: &Panels, scale: f32) -> Vec<u32> {
    let rows: Vec<u32> = (0..x.nrows() as u32).collect();
    let parts: Vec<Vec<u32>> = rows
        .par_chunks(TILE)
        .map(|rows| {
            let arch = pulp::Arch::new();
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
                let here = (rows.len() - group * ROWS).min(ROWS);
                let mut best = [(f32::INFINITY, 0u32); ROWS];
                arch.dispatch(
                    #[inline(always)]
                    || {
                        for p in 0..panels.count() {
                            let d = kernel(q, panels.panel(p));
                            let here = (panels.cells - p * LANES).min(LANES);
                            for (d, best) in d.iter().zip(&mut best) {
                                for (l, &v) in d.iter().enumerate().take(here) {
                                    if v < best.0 {
                                        *best = (v, (p * LANES + l) as u32);
                                    }
                                }
                            }
                        }
                    },
                );
                out.extend(best.iter().take(here).map(|b| b.1));
            }
            out
        })
        .collect();
    parts.concat()
}
