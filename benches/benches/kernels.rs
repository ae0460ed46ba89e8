//! Criterion benches of the kernels whose speed the design counts on.

use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::Array2;
use sc_data::tokens::bin_cell;
use sc_eval::neighbors::{Ties, knn};
use sc_models::layers::sparse::spmm;
use std::hint::black_box;

fn kernels(c: &mut Criterion) {
    let counts = scfm_benches::counts(256, 5000, 0.08);
    let weight = vec![0.5f32; 5000 * 256];
    c.bench_function("sparse linear, 256 cells × 5,000 genes × 256", |b| {
        b.iter(|| spmm(black_box(&counts), black_box(&weight), 256));
    });
    c.bench_function("bins of 256 cells × 400 values", |b| {
        b.iter(|| {
            for cell in 0..counts.rows() {
                let _ = black_box(bin_cell(counts.row(cell).1, 51, 0, cell as u64, 0));
            }
        });
    });
    let x = Array2::from_shape_fn((4000, 50), |(i, j)| ((i * 31 + j * 17) % 101) as f32);
    c.bench_function("exact 90 neighbours, 4,000 × 50", |b| {
        b.iter(|| knn(black_box(x.view()), 90, Ties::Index));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = kernels
}
criterion_main!(benches);
