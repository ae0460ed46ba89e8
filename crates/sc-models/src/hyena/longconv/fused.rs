//! The long convolution on the host: one task per sixteen channels.
//!
//! A task keeps its filter's spectrum and walks the minibatch in order, so sums over the minibatch do
//! not depend on the number of threads, and a cell's output not on the other cells.

use super::fft::{CHANNELS, LANES, Lane, Plan, Spectrum};
use crate::layers::host::HostOp;
use crate::layers::simd::{Body, vectorised};
use rayon::prelude::*;
use std::sync::Arc;

/// Convolution of `[sequences, length, d]`.
#[derive(Clone, Debug)]
pub(super) struct LongConv {
    sequences: usize,
    length: usize,
    d: usize,
    plan: Arc<Plan>,
}

/// Two channels `1, 2` share a complex number, so a product with two real filters needs the value at
/// the opposite frequency: `Y = Z · sum + conj(Z₋) · difference`.
struct Filter {
    /// `(K₁ + K₂) / 2n`.
    sum: Spectrum,
    /// `(K₁ − K₂) / 2n`.
    difference: Spectrum,
}

/// Whether a filter is applied forward or reversed in time.
#[derive(Clone, Copy, PartialEq)]
enum Time {
    Forward,
    Reversed,
}

impl LongConv {
    pub(super) fn new(sequences: usize, length: usize, d: usize) -> Self {
        Self {
            sequences,
            length,
            d,
            plan: Arc::new(Plan::new((2 * length).saturating_sub(1))),
        }
    }

    fn blocks(&self) -> usize {
        self.d.div_ceil(CHANNELS)
    }

    /// First channel of a block, and how many there are in its real and imaginary halves.
    #[inline(always)]
    fn channels(&self, block: usize) -> (usize, [usize; 2]) {
        let first = block * CHANNELS;
        let left = self.d - first;
        (
            first,
            [left.min(LANES), left.saturating_sub(LANES).min(LANES)],
        )
    }

    /// Row `row` of `from` `[rows, d]` into point `at`.
    #[inline(always)]
    fn read(&self, from: &[f32], row: usize, block: usize, x: &mut Spectrum, at: usize) {
        let (first, [a, b]) = self.channels(block);
        let start = row * self.d + first;
        x.re[at][..a].copy_from_slice(&from[start..start + a]);
        x.im[at][..b].copy_from_slice(&from[start + a..start + a + b]);
    }

    /// One sequence, padded with zeros.
    #[inline(always)]
    fn read_sequence(&self, from: &[f32], sequence: usize, block: usize, x: &mut Spectrum) {
        x.clear();
        for t in 0..self.length {
            self.read(from, sequence * self.length + t, block, x, t);
        }
    }

    /// The point that holds row `row` of a filter; `None` for the row without effect.
    #[inline(always)]
    fn lag(&self, row: usize) -> Option<usize> {
        match row {
            n if n < self.length => Some(n),
            n if n > self.length => Some(self.plan.len() + n - 2 * self.length),
            _ => None,
        }
    }

    #[inline(always)]
    fn filter(&self, kernel: &[f32], block: usize) -> Filter {
        let n = self.plan.len();
        let mut z = Spectrum::zeros(n);
        for row in 0..2 * self.length {
            if let Some(at) = self.lag(row) {
                self.read(kernel, row, block, &mut z, at);
            }
        }
        self.plan.forward(&mut z);
        let scale = 0.25 / n as f32;
        let mut out = Filter {
            sum: Spectrum::zeros(n),
            difference: Spectrum::zeros(n),
        };
        for (at, &mirror) in self.plan.mirror().iter().enumerate() {
            let (a, b) = (z.re[at], z.im[at]);
            let (c, d) = (z.re[mirror as usize], z.im[mirror as usize]);
            for i in 0..LANES {
                // Twice the spectra of the two real filters.
                let first = [a[i] + c[i], b[i] - d[i]];
                let second = [b[i] + d[i], c[i] - a[i]];
                out.sum.re[at][i] = (first[0] + second[0]) * scale;
                out.sum.im[at][i] = (first[1] + second[1]) * scale;
                out.difference.re[at][i] = (first[0] - second[0]) * scale;
                out.difference.im[at][i] = (first[1] - second[1]) * scale;
            }
        }
        out
    }

    /// Multiplies a spectrum by the filter, in place.
    #[inline(always)]
    fn multiply(&self, x: &mut Spectrum, filter: &Filter, time: Time) {
        let sign = if time == Time::Forward { 1.0 } else { -1.0 };
        for (at, &mirror) in self.plan.mirror().iter().enumerate() {
            let mirror = mirror as usize;
            if mirror < at {
                continue;
            }
            let here = (x.re[at], x.im[at]);
            let there = (x.re[mirror], x.im[mirror]);
            (x.re[at], x.im[at]) = product(here, there, filter, at, sign);
            (x.re[mirror], x.im[mirror]) = product(there, here, filter, mirror, sign);
        }
    }

    #[inline(always)]
    fn forward_block(&self, [u, kernel, bias]: [&[f32]; 3], block: usize) -> Vec<f32> {
        let filter = self.filter(kernel, block);
        let mut x = Spectrum::zeros(self.plan.len());
        let mut out = vec![0f32; self.sequences * self.length * CHANNELS];
        for (sequence, out) in out.chunks_exact_mut(self.length * CHANNELS).enumerate() {
            self.read_sequence(u, sequence, block, &mut x);
            self.plan.forward(&mut x);
            self.multiply(&mut x, &filter, Time::Forward);
            self.plan.inverse(&mut x);
            self.write(&x, u, bias, sequence, block, out);
        }
        out
    }

    /// The first points of `x` plus `bias · from`, as rows of [`CHANNELS`].
    #[inline(always)]
    fn write(
        &self,
        x: &Spectrum,
        from: &[f32],
        bias: &[f32],
        sequence: usize,
        block: usize,
        out: &mut [f32],
    ) {
        let (first, [a, b]) = self.channels(block);
        for (t, row) in out.chunks_exact_mut(CHANNELS).enumerate() {
            let start = (sequence * self.length + t) * self.d + first;
            let skip = &from[start..start + a + b];
            for (i, o) in row[..a].iter_mut().enumerate() {
                *o = x.re[t][i] + bias[first + i] * skip[i];
            }
            for (i, o) in row[a..a + b].iter_mut().enumerate() {
                *o = x.im[t][i] + bias[first + a + i] * skip[a + i];
            }
        }
    }

    /// Gradients of the input `[sequences · length, channels]`, of the filter `[2 length, channels]`
    /// and of the bias, of one block.
    #[inline(always)]
    fn backward_block(
        &self,
        [u, kernel, bias]: [&[f32]; 3],
        grad: &[f32],
        wanted: [bool; 3],
        block: usize,
    ) -> [Vec<f32>; 3] {
        let n = self.plan.len();
        let filter = self.filter(kernel, block);
        let (mut x, mut g) = (Spectrum::zeros(n), Spectrum::zeros(n));
        let mut total = Spectrum::zeros(n);
        let rows = self.sequences * self.length;
        let mut d_input = vec![0f32; if wanted[0] { rows * CHANNELS } else { 0 }];
        for sequence in 0..self.sequences {
            self.read_sequence(grad, sequence, block, &mut g);
            self.plan.forward(&mut g);
            if wanted[1] {
                self.read_sequence(u, sequence, block, &mut x);
                self.plan.forward(&mut x);
                self.correlate(&g, &x, &mut total);
            }
            if wanted[0] {
                self.multiply(&mut g, &filter, Time::Reversed);
                self.plan.inverse(&mut g);
                let size = self.length * CHANNELS;
                let out = &mut d_input[sequence * size..(sequence + 1) * size];
                self.write(&g, grad, bias, sequence, block, out);
            }
        }
        let mut d_kernel = Vec::new();
        if wanted[1] {
            self.plan.inverse(&mut total);
            d_kernel = self.filter_rows(&total, block);
        }
        [d_input, d_kernel, self.skip_gradient(u, grad, block)]
    }

    /// Adds `G₁ conj(U₁) + i G₂ conj(U₂)`, the spectrum of both channels' correlations.
    #[inline(always)]
    fn correlate(&self, g: &Spectrum, u: &Spectrum, total: &mut Spectrum) {
        for (at, &mirror) in self.plan.mirror().iter().enumerate() {
            let mirror = mirror as usize;
            for i in 0..LANES {
                let [g1r, g1i, g2r, g2i] = apart(g, at, mirror, i);
                let [u1r, u1i, u2r, u2i] = apart(u, at, mirror, i);
                let (p1r, p1i) = (g1r * u1r + g1i * u1i, g1i * u1r - g1r * u1i);
                let (p2r, p2i) = (g2r * u2r + g2i * u2i, g2i * u2r - g2r * u2i);
                total.re[at][i] += p1r - p2i;
                total.im[at][i] += p1i + p2r;
            }
        }
    }

    #[inline(always)]
    fn filter_rows(&self, total: &Spectrum, block: usize) -> Vec<f32> {
        let (_, [a, b]) = self.channels(block);
        // The spectra of `correlate` are doubled twice.
        let scale = 0.25 / self.plan.len() as f32;
        let mut out = vec![0f32; 2 * self.length * CHANNELS];
        for (row, out) in out.chunks_exact_mut(CHANNELS).enumerate() {
            let Some(at) = self.lag(row) else { continue };
            let (first, second) = out.split_at_mut(a);
            for (o, t) in first.iter_mut().zip(&total.re[at]) {
                *o = t * scale;
            }
            for (o, t) in second[..b].iter_mut().zip(&total.im[at]) {
                *o = t * scale;
            }
        }
        out
    }

    #[inline(always)]
    fn skip_gradient(&self, u: &[f32], grad: &[f32], block: usize) -> Vec<f32> {
        let (first, [a, b]) = self.channels(block);
        let mut out = vec![0f32; CHANNELS];
        let rows = u.chunks_exact(self.d).zip(grad.chunks_exact(self.d));
        for (u, g) in rows {
            let range = first..first + a + b;
            for (o, (u, g)) in out.iter_mut().zip(u[range.clone()].iter().zip(&g[range])) {
                *o += u * g;
            }
        }
        out
    }

    /// Blocks of [`CHANNELS`] columns put side by side, `[rows, d]`.
    fn gather(&self, blocks: &[&[f32]], rows: usize) -> Vec<f32> {
        let mut out = vec![0f32; rows * self.d];
        out.par_chunks_mut(self.d)
            .enumerate()
            .for_each(|(row, out)| {
                for (out, block) in out.chunks_mut(CHANNELS).zip(blocks) {
                    let from = &block[row * CHANNELS..];
                    out.copy_from_slice(&from[..out.len()]);
                }
            });
        out
    }
}

/// Twice the spectra of the two channels of a lane: `Z + conj(Z₋)` and `−i (Z − conj(Z₋))`.
#[inline(always)]
fn apart(z: &Spectrum, at: usize, mirror: usize, i: usize) -> [f32; 4] {
    let (a, b, c, d) = (z.re[at][i], z.im[at][i], z.re[mirror][i], z.im[mirror][i]);
    [a + c, b - d, b + d, c - a]
}

/// `Z · sum + conj(Z₋) · difference` at one frequency; `sign` −1 conjugates the filter.
#[inline(always)]
fn product(z: (Lane, Lane), m: (Lane, Lane), f: &Filter, at: usize, sign: f32) -> (Lane, Lane) {
    let (sr, si) = (f.sum.re[at], f.sum.im[at]);
    let (dr, di) = (f.difference.re[at], f.difference.im[at]);
    let (mut re, mut im) = ([0.0; LANES], [0.0; LANES]);
    for i in 0..LANES {
        let (si, di) = (si[i] * sign, di[i] * sign);
        re[i] = z.0[i] * sr[i] - z.1[i] * si + m.0[i] * dr[i] + m.1[i] * di;
        im[i] = z.0[i] * si + z.1[i] * sr[i] + m.0[i] * di - m.1[i] * dr[i];
    }
    (re, im)
}

/// The forward pass of one block, as a loop for the vector instructions at hand.
struct Forward<'a> {
    op: &'a LongConv,
    inputs: [&'a [f32]; 3],
    block: usize,
    out: &'a mut Vec<f32>,
}

impl Body for Forward<'_> {
    #[inline(always)]
    fn run(self) {
        *self.out = self.op.forward_block(self.inputs, self.block);
    }
}

/// The same backward.
struct Gradient<'a> {
    op: &'a LongConv,
    inputs: [&'a [f32]; 3],
    grad: &'a [f32],
    wanted: [bool; 3],
    block: usize,
    out: &'a mut [Vec<f32>; 3],
}

impl Body for Gradient<'_> {
    #[inline(always)]
    fn run(self) {
        *self.out = self
            .op
            .backward_block(self.inputs, self.grad, self.wanted, self.block);
    }
}

impl HostOp<3> for LongConv {
    fn forward(&self, inputs: [&[f32]; 3]) -> Vec<f32> {
        let blocks: Vec<Vec<f32>> = (0..self.blocks())
            .into_par_iter()
            .map(|block| {
                let mut out = Vec::new();
                vectorised(Forward {
                    op: self,
                    inputs,
                    block,
                    out: &mut out,
                });
                out
            })
            .collect();
        let blocks: Vec<&[f32]> = blocks.iter().map(Vec::as_slice).collect();
        self.gather(&blocks, self.sequences * self.length)
    }

    fn backward(
        &self,
        inputs: [&[f32]; 3],
        grad: &[f32],
        wanted: [bool; 3],
    ) -> [Option<Vec<f32>>; 3] {
        let blocks: Vec<[Vec<f32>; 3]> = (0..self.blocks())
            .into_par_iter()
            .map(|block| {
                let mut out = [const { Vec::new() }; 3];
                vectorised(Gradient {
                    op: self,
                    inputs,
                    grad,
                    wanted,
                    block,
                    out: &mut out,
                });
                out
            })
            .collect();
        let rows = [self.sequences * self.length, 2 * self.length, 1];
        std::array::from_fn(|k| {
            let parts: Vec<&[f32]> = blocks.iter().map(|b| b[k].as_slice()).collect();
            wanted[k].then(|| self.gather(&parts, rows[k]))
        })
    }
}
