//! Matrix products on the host, tile by tile.
//!
//! Every value is one sum in a fixed order, whichever tile it is in and whichever thread computes
//! it, so results do not depend on the number of threads or of rows.

use super::simd::{Body, vectorised};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Rows and columns of a tile, which fills a quarter of a megabyte.
const TILE: [usize; 2] = [128, 512];
/// Rows whose sums are joined at a time; fixed, so that the sum does not depend on the number of
/// threads.
const ROWS: usize = 256;

/// A finished tile.
pub(crate) struct Part<'a> {
    /// Its first column.
    column: usize,
    values: MatMut<'a, f32>,
}

impl Part<'_> {
    /// Adds the part of `row` that belongs to these columns to every row.
    pub(crate) fn add_to_rows(self, row: &[f32]) {
        let width = self.values.ncols();
        let row = &row[self.column..self.column + width];
        for out in self.values.row_iter_mut() {
            let out = out.try_as_row_major_mut();
            let out = out.expect("invariant: rows are contiguous").as_slice_mut();
            vectorised(Add { out, row });
        }
    }
}

/// `a · b` into row-major `out`; `done` is called with every tile while it is in the cache.
pub(crate) fn multiply(
    out: &mut [f32],
    a: MatRef<'_, f32>,
    b: MatRef<'_, f32>,
    done: impl Fn(Part<'_>) + Sync,
) {
    let whole = MatMut::from_row_major_slice_mut(out, a.nrows(), b.ncols());
    let tile = |([row, column], mut values): ([usize; 2], MatMut<'_, f32>)| {
        let a = a.subrows(row, values.nrows());
        let b = b.subcols(column, values.ncols());
        matmul(values.as_mut(), Accum::Replace, a, b, 1.0, Par::Seq);
        done(Part { column, values });
    };
    let tiles = tiles(whole);
    // A small product is over before another thread is awake.
    if tiles.len() == 1 {
        tiles.into_iter().for_each(tile);
    } else {
        tiles.into_par_iter().for_each(tile);
    }
}

/// The matrix cut into tiles, each with its first row and column.
fn tiles(whole: MatMut<'_, f32>) -> Vec<([usize; 2], MatMut<'_, f32>)> {
    let mut out = Vec::new();
    let (rows, columns) = (whole.nrows(), whole.ncols());
    let mut below = whole;
    for row in (0..rows).step_by(TILE[0]) {
        let height = TILE[0].min(rows - row);
        let (band, rest) = below.split_at_row_mut(height);
        below = rest;
        let mut right = band;
        for column in (0..columns).step_by(TILE[1]) {
            let width = TILE[1].min(columns - column);
            let (tile, rest) = right.split_at_col_mut(width);
            right = rest;
            out.push(([row, column], tile));
        }
    }
    out
}

/// The sum of all rows of a row-major matrix of `width` columns.
pub(crate) fn sum_rows(values: &[f32], width: usize) -> Vec<f32> {
    let parts = values.par_chunks((ROWS * width).max(1)).map(|rows| {
        let mut out = vec![0f32; width];
        for row in rows.chunks_exact(width) {
            vectorised(Add { out: &mut out, row });
        }
        out
    });
    let parts: Vec<Vec<f32>> = parts.collect();
    let mut out = vec![0f32; width];
    for row in &parts {
        vectorised(Add { out: &mut out, row });
    }
    out
}

struct Add<'a> {
    out: &'a mut [f32],
    row: &'a [f32],
}

impl Body for Add<'_> {
    #[inline(always)]
    fn run(self) {
        for (o, v) in self.out.iter_mut().zip(self.row) {
            *o += v;
        }
    }
}
