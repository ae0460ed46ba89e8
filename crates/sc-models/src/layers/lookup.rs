//! Table look-ups, as in PyTorch where burn differs.

use burn::nn::Embedding;
use burn::tensor::{Bool, Int, Tensor};

/// Rows of `table` at `ids` `[minibatch, length]`; where `frozen` is true the table gets no
/// gradient (`padding_idx`).
pub fn lookup(
    table: &Embedding,
    ids: Tensor<2, Int>,
    frozen: Option<&Tensor<2, Bool>>,
) -> Tensor<3> {
    let rows = table.forward(ids);
    match frozen {
        Some(frozen) => {
            let mask = frozen.clone().unsqueeze_dim::<3>(2).expand(rows.dims());
            let still = rows.clone().detach();
            rows.mask_where(mask, still)
        }
        None => rows,
    }
}

/// Every vector along the last axis divided by its Euclidean norm, at least 1e-12.
pub fn unit<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    // Bounded before the root, whose gradient at 0 is infinite.
    let squares = x.clone().square().sum_dim(D - 1).clamp_min(1e-24);
    x / squares.sqrt()
}

/// Sines and cosines of positions, `[length, d]` row-major: columns `2i` and `2i + 1` have the
/// wavelength `2π · 10000^(2i/d)`.
///
/// In single precision and in the order of PyTorch's tutorial, as in most published models.
pub fn sinusoid(length: usize, d: usize) -> Vec<f32> {
    let step = (-(10_000f64.ln()) / d as f64) as f32;
    let mut out = Vec::with_capacity(length * d);
    for position in 0..length {
        for column in 0..d {
            let frequency = ((column - column % 2) as f32 * step).exp();
            let angle = position as f32 * frequency;
            out.push(if column % 2 == 0 {
                angle.sin()
            } else {
                angle.cos()
            });
        }
    }
    out
}
