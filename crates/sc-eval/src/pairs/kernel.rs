//! The inner loop: squared distances of a few cells to a panel of cells, in explicit SIMD.
//!
//! Multiplication and addition stay apart (no fused multiply-add) and every lane sums its own
//! pair from the first dimension to the last, so the bits are the same on every machine.

use super::{LANES, ROWS};
use pulp::{Arch, Simd, WithSimd};

/// Squared distances of the packed rows to every panel of `panels` (complete panels only).
///
/// `rows` holds `ROWS` cells interleaved by dimension, `out[panel][row][lane]` receives the result.
pub(super) fn squared_distances(arch: Arch, rows: &[f32], panels: &[f32], out: &mut [f32]) {
    if rows.is_empty() {
        out.fill(0.0);
        return;
    }
    arch.dispatch(Block { rows, panels, out });
}

struct Block<'a> {
    rows: &'a [f32],
    panels: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let size = self.rows.len() / ROWS * LANES;
        let outs = self.out.chunks_exact_mut(ROWS * LANES);
        for (panel, out) in self.panels.chunks_exact(size).zip(outs) {
            // As many rows at once as leave every sum in a register.
            match S::F32_LANES {
                16 => few::<S, 1, 8>(simd, self.rows, panel, out),
                8 => few::<S, 2, 4>(simd, self.rows, panel, out),
                4 => few::<S, 4, 2>(simd, self.rows, panel, out),
                _ => plain(self.rows, panel, out),
            }
        }
    }
}

/// `V` vectors make a panel, `R` rows are summed at a time.
#[inline(always)]
fn few<S: Simd, const V: usize, const R: usize>(
    simd: S,
    rows: &[f32],
    panel: &[f32],
    out: &mut [f32],
) {
    let vectors = S::as_simd_f32s(panel).0.as_chunks::<V>().0;
    let rows = rows.as_chunks::<ROWS>().0;
    let results = S::as_mut_simd_f32s(out).0.as_chunks_mut::<V>().0;
    for (group, results) in results.chunks_exact_mut(R).enumerate() {
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for (x, y) in rows.iter().zip(vectors) {
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = simd.splat_f32s(x[group * R + r]);
                for (sum, &y) in sums.iter_mut().zip(y) {
                    let d = simd.sub_f32s(x, y);
                    *sum = simd.add_f32s(*sum, simd.mul_f32s(d, d));
                }
            }
        }
        results.copy_from_slice(&sums);
    }
}

/// The same without vectors.
fn plain(rows: &[f32], panel: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for (x, y) in rows
        .as_chunks::<ROWS>()
        .0
        .iter()
        .zip(panel.as_chunks::<LANES>().0)
    {
        for (r, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            for (sum, y) in out.iter_mut().zip(y) {
                let d = x[r] - y;
                *sum += d * d;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_and_plain_loops_give_the_same_bits() {
        let dims = 7;
        let value = |i: usize| ((i * 2_654_435_761) % 1000) as f32 / 37.0 - 11.0;
        let rows: Vec<f32> = (0..dims * ROWS).map(value).collect();
        let panels: Vec<f32> = (0..3 * dims * LANES).map(|i| value(i + 99)).collect();
        let (mut a, mut b) = (vec![0f32; 3 * ROWS * LANES], vec![0f32; 3 * ROWS * LANES]);
        squared_distances(Arch::new(), &rows, &panels, &mut a);
        for (panel, out) in panels
            .chunks_exact(dims * LANES)
            .zip(b.chunks_exact_mut(ROWS * LANES))
        {
            plain(&rows, panel, out);
        }
        assert_eq!(a, b);
    }
}
