//! Attention on the host, block by block of queries: scores of a block stay in cache and are
//! recomputed in the backward pass, so memory does not grow with the square of the length.

use crate::layers::dropout::Mask;
use crate::layers::host::HostOp;
use crate::layers::simd::{Body, dot, softmax_row, vectorised};
use burn::tensor::{Bool, Tensor};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;
use std::sync::Arc;

/// Queries per block: their scores against 1,200 keys fill half a megabyte.
const BLOCK: usize = 96;

/// Sizes of the joint projection `[sequences, length, 3 d]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) sequences: usize,
    pub(super) length: usize,
    pub(super) heads: usize,
    pub(super) d: usize,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Attention {
    pub(super) shape: Shape,
    /// True at padding, `[sequences, length]`, and what is added to its scores.
    pub(super) padding: Option<(Arc<Vec<bool>>, f32)>,
    pub(super) dropout: Option<Mask>,
}

/// Copies a padding mask to the host.
pub(super) fn host_mask(padding: &Tensor<2, Bool>) -> Arc<Vec<bool>> {
    Arc::new(
        padding
            .clone()
            .into_data_as::<bool>()
            .try_into_vec::<bool>()
            .expect("invariant: a boolean mask"),
    )
}

/// Queries, keys and values of one head of one sequence, row-major `[length, head]` each.
struct Head {
    parts: [Vec<f32>; 3],
}

impl Shape {
    fn head(&self) -> usize {
        self.d / self.heads
    }

    /// Sequence and head of a task.
    fn place(&self, task: usize) -> (usize, usize) {
        (task / self.heads, task % self.heads)
    }

    fn read(&self, projected: &[f32], task: usize) -> Head {
        let (sequence, head) = self.place(task);
        let width = self.head();
        let part = |p: usize| {
            let mut out = Vec::with_capacity(self.length * width);
            for i in 0..self.length {
                let at = (sequence * self.length + i) * 3 * self.d + p * self.d + head * width;
                out.extend_from_slice(&projected[at..at + width]);
            }
            out
        };
        Head {
            parts: [part(0), part(1), part(2)],
        }
    }

    fn scale(&self) -> f32 {
        (1.0 / (self.head() as f64).sqrt()) as f32
    }
}

fn view(x: &[f32], rows: usize, cols: usize) -> MatRef<'_, f32> {
    MatRef::from_row_major_slice(x, rows, cols)
}

fn view_mut(x: &mut [f32], rows: usize, cols: usize) -> MatMut<'_, f32> {
    MatMut::from_row_major_slice_mut(x, rows, cols)
}

impl Attention {
    /// Number of keys of a sequence: all but masked padding at its end. Without dropout, whose
    /// draws are counted along all keys, only these are attended to: a cell's embedding is then
    /// bitwise independent of the padding by the longest cell of the minibatch.
    fn keys(&self, task: usize) -> usize {
        let l = self.shape.length;
        match (&self.padding, self.dropout) {
            (Some((padding, bias)), None) if *bias == f32::NEG_INFINITY => {
                let sequence = self.shape.place(task).0;
                let own = &padding[sequence * l..(sequence + 1) * l];
                own.iter().rposition(|p| !p).map_or(l, |last| last + 1)
            }
            _ => l,
        }
    }

    /// Softmax weights of the queries `first..first + rows` against the first `keys`, into `weights`.
    fn weights(
        &self,
        head: &Head,
        task: usize,
        (first, rows): (usize, usize),
        keys: usize,
        weights: &mut [f32],
    ) {
        let (l, width) = (self.shape.length, self.shape.head());
        let count = keys;
        let queries = view(
            &head.parts[0][first * width..(first + rows) * width],
            rows,
            width,
        );
        let keys = view(&head.parts[1][..count * width], count, width);
        let scale = self.shape.scale();
        matmul(
            view_mut(weights, rows, count),
            Accum::Replace,
            queries,
            keys.transpose(),
            scale,
            Par::Seq,
        );
        let sequence = self.shape.place(task).0;
        let padding = self
            .padding
            .as_ref()
            .map(|(p, bias)| (&p[sequence * l..(sequence + 1) * l], bias));
        if let Some((padding, bias)) = padding {
            for row in weights.chunks_exact_mut(count) {
                for (w, &p) in row.iter_mut().zip(padding) {
                    *w = if p { *w + bias } else { *w };
                }
            }
        }
        vectorised(Softmax {
            weights,
            length: count,
        });
    }

    /// Multiplies `x` by the dropout factors of the block; does nothing without dropout.
    fn drop_block(&self, task: usize, first: usize, x: &mut [f32]) {
        let Some(mask) = self.dropout else { return };
        let start = (first * self.shape.length) as u32;
        vectorised(DropBlock {
            mask: mask.part(task as u32),
            start,
            x,
        });
    }

    /// The context of one head, `[length, head]`.
    fn forward_head(&self, projected: &[f32], task: usize) -> Vec<f32> {
        let (l, width) = (self.shape.length, self.shape.head());
        let head = self.shape.read(projected, task);
        let mut context = vec![0f32; l * width];
        let keys = self.keys(task);
        let mut weights = vec![0f32; BLOCK.min(l) * keys];
        // Queries of padding separately, so that they do not change the blocks of the others.
        let blocks = [0..keys, keys..l].map(|all| {
            let last = all.end;
            all.step_by(BLOCK)
                .map(move |first| (first, BLOCK.min(last - first)))
        });
        for (first, rows) in blocks.into_iter().flatten() {
            let weights = &mut weights[..rows * keys];
            self.weights(&head, task, (first, rows), keys, weights);
            self.drop_block(task, first, weights);
            let out = &mut context[first * width..(first + rows) * width];
            let values = view(&head.parts[2][..keys * width], keys, width);
            matmul(
                view_mut(out, rows, width),
                Accum::Replace,
                view(weights, rows, keys),
                values,
                1.0,
                Par::Seq,
            );
        }
        context
    }

    /// Gradients of queries, keys and values of one head.
    fn backward_head(&self, projected: &[f32], grad: &[f32], task: usize) -> [Vec<f32>; 3] {
        let (l, width) = (self.shape.length, self.shape.head());
        let scale = self.shape.scale();
        let head = self.shape.read(projected, task);
        let (sequence, number) = self.shape.place(task);
        let mut d_context = Vec::with_capacity(l * width);
        for i in 0..l {
            let at = (sequence * l + i) * self.shape.d + number * width;
            d_context.extend_from_slice(&grad[at..at + width]);
        }
        let mut out = [0; 3].map(|_| vec![0f32; l * width]);
        let [d_queries, d_keys, d_values] = &mut out;
        let (mut weights, mut dropped) =
            (vec![0f32; BLOCK.min(l) * l], vec![0f32; BLOCK.min(l) * l]);
        for first in (0..l).step_by(BLOCK) {
            let rows = BLOCK.min(l - first);
            let block = first * width..(first + rows) * width;
            let weights = &mut weights[..rows * l];
            let d_weights = &mut dropped[..rows * l];
            self.weights(&head, task, (first, rows), l, weights);
            let d_out = view(&d_context[block.clone()], rows, width);
            d_weights.copy_from_slice(weights);
            self.drop_block(task, first, d_weights);
            let used = view(d_weights, rows, l);
            matmul(
                view_mut(d_values, l, width),
                Accum::Add,
                used.transpose(),
                d_out,
                1.0,
                Par::Seq,
            );
            let values = view(&head.parts[2], l, width);
            matmul(
                view_mut(d_weights, rows, l),
                Accum::Replace,
                d_out,
                values.transpose(),
                1.0,
                Par::Seq,
            );
            self.drop_block(task, first, d_weights);
            vectorised(SoftmaxGradient {
                weights,
                d_weights,
                length: l,
            });
            let d_scores = view(d_weights, rows, l);
            let queries = view(&head.parts[0][block.clone()], rows, width);
            let keys = view(&head.parts[1], l, width);
            let target = view_mut(&mut d_queries[block], rows, width);
            matmul(target, Accum::Replace, d_scores, keys, scale, Par::Seq);
            matmul(
                view_mut(d_keys, l, width),
                Accum::Add,
                d_scores.transpose(),
                queries,
                scale,
                Par::Seq,
            );
        }
        out
    }
}

/// Softmax of every row.
struct Softmax<'a> {
    weights: &'a mut [f32],
    length: usize,
}

impl Body for Softmax<'_> {
    #[inline(always)]
    fn run(self) {
        for row in self.weights.chunks_exact_mut(self.length) {
            softmax_row(row);
        }
    }
}

/// Dropout factors times the block that starts at `start`.
struct DropBlock<'a> {
    mask: Mask,
    start: u32,
    x: &'a mut [f32],
}

impl Body for DropBlock<'_> {
    #[inline(always)]
    fn run(self) {
        for (i, v) in self.x.iter_mut().enumerate() {
            *v *= self.mask.factor(self.start.wrapping_add(i as u32));
        }
    }
}

/// From the gradient of the weights to that of the scores: `w (d − Σ w d)`, row by row.
struct SoftmaxGradient<'a> {
    weights: &'a [f32],
    d_weights: &'a mut [f32],
    length: usize,
}

impl Body for SoftmaxGradient<'_> {
    #[inline(always)]
    fn run(self) {
        let rows = self.d_weights.chunks_exact_mut(self.length);
        for (d, w) in rows.zip(self.weights.chunks_exact(self.length)) {
            let inner = dot(w, d);
            for (d, &w) in d.iter_mut().zip(w) {
                *d = w * (*d - inner);
            }
        }
    }
}

impl HostOp<1> for Attention {
    fn forward(&self, [projected]: [&[f32]; 1]) -> Vec<f32> {
        let s = self.shape;
        let width = s.head();
        let tasks = s.sequences * s.heads;
        let heads: Vec<Vec<f32>> = (0..tasks)
            .into_par_iter()
            .map(|task| self.forward_head(projected, task))
            .collect();
        let mut out = vec![0f32; s.sequences * s.length * s.d];
        for (task, context) in heads.iter().enumerate() {
            let (sequence, head) = s.place(task);
            for (i, row) in context.chunks_exact(width).enumerate() {
                let at = (sequence * s.length + i) * s.d + head * width;
                out[at..at + width].copy_from_slice(row);
            }
        }
        out
    }

    fn backward(
        &self,
        [projected]: [&[f32]; 1],
        grad: &[f32],
        _: [bool; 1],
    ) -> [Option<Vec<f32>>; 1] {
        let s = self.shape;
        let width = s.head();
        let tasks = s.sequences * s.heads;
        let heads: Vec<[Vec<f32>; 3]> = (0..tasks)
            .into_par_iter()
            .map(|task| self.backward_head(projected, grad, task))
            .collect();
        let mut out = vec![0f32; projected.len()];
        for (task, parts) in heads.iter().enumerate() {
            let (sequence, head) = s.place(task);
            for (p, part) in parts.iter().enumerate() {
                for (i, row) in part.chunks_exact(width).enumerate() {
                    let at = (sequence * s.length + i) * 3 * s.d + p * s.d + head * width;
                    out[at..at + width].copy_from_slice(row);
                }
            }
        }
        [Some(out)]
    }
}
