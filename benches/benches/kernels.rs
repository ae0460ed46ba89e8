//! Criterion benches of the kernels whose speed the design counts on: those of the host, and those
//! that every device of the build composes.

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ndarray::Array2;
use sc_data::tokens::bin_cell;
use sc_eval::neighbors::{Ties, knn};
use sc_models::device::{AVAILABLE, open};
use sc_models::hyena::{ShortFilter, long_conv};
use sc_models::layers::attention::attend;
use sc_models::layers::dropout::Dropout;
use sc_models::layers::gelu::{gelu, gelu_tanh};
use sc_models::layers::layernorm::LayerNorm;
use sc_models::layers::linear::Linear;
use sc_models::layers::nb::{Scope, scaled_nll};
use sc_models::layers::sparse::{sparse_linear, spmm};
use sc_models::layers::zinb::{nb_nll, zinb_nll};
use sc_models::weights::host;
use sc_train::TrainConfig;
use sc_train::training::adamw::AdamW;
use std::hint::black_box;
use std::sync::Arc;

/// Kernels on slices, which know no device.
fn slices(c: &mut Criterion) {
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

/// Values without a pattern between `low` and `high`, `[rows, columns]`.
fn values([rows, columns]: [usize; 2], low: f32, high: f32, device: &Device) -> Tensor<2> {
    let value = |i: usize| low + (high - low) * ((i * 7919) % 997) as f32 / 997.0;
    let data: Vec<f32> = (0..rows * columns).map(value).collect();
    Tensor::from_data(TensorData::new(data, [rows, columns]), device)
}

/// A kernel forward and backward, until its gradient is on the host.
fn both(x: &Tensor<2>, kernel: impl Fn(Tensor<2>) -> Tensor<2>) {
    let x = x.clone().require_grad();
    let grads = kernel(x.clone()).sum().backward();
    black_box(x.grad(&grads).map(|g| host(g.sum())));
}

/// Kernels of every device in the build that the machine can open.
fn devices(c: &mut Criterion) {
    let counts = Arc::new(scfm_benches::counts(64, 2000, 0.08));
    let scope = Arc::new(vec![Scope::All; 64]);
    for name in AVAILABLE {
        let Ok(device) = open(name) else { continue };
        let device = device.autodiff();
        let wide = values([2400, 512], -2.0, 2.0, &device);
        let projected = values([2400, 768], -1.0, 1.0, &device);
        let genes = values([64, 2000], 0.1, 3.0, &device);
        let weight = values([2000, 128], -1.0, 1.0, &device);
        let dispersion = values([1, 2000], 0.5, 2.0, &device);
        let mut bench = |what: &str, run: &dyn Fn()| {
            c.bench_with_input(BenchmarkId::new(what, name), &(), |b, ()| b.iter(run));
        };
        bench("gelu, 2,400 × 512", &|| both(&wide, gelu));
        bench("gelu_tanh, 2,400 × 512", &|| both(&wide, gelu_tanh));
        let dropout = Dropout::new(0.1);
        bench("dropout, 2,400 × 512", &|| {
            both(&wide, |x| dropout.forward(x))
        });
        bench("attention, 2 × 1,200 × 256, 4 heads", &|| {
            both(&projected, |x| {
                let x = x.reshape([2, 1200, 768]);
                attend(x, 4, &dropout, None).reshape([2400, 256])
            });
        });
        let linear = Linear::new(512, 512, &device);
        bench("linear, 2,400 × 512 × 512", &|| {
            both(&wide, |x| linear.forward(x))
        });
        let norm = LayerNorm::new(512, &device);
        bench("layer norm, 2,400 × 512", &|| {
            both(&wide, |x| norm.forward(x))
        });
        bench("layer norm of a sum with dropout, 2,400 × 512", &|| {
            both(&wide, |x| norm.of_sum(x.clone(), x, &dropout))
        });
        let sequence = |x: Tensor<2>| x.reshape([2, 1200, 512]);
        let kernel = values([2400, 512], -0.1, 0.1, &device);
        let bias = values([1, 512], -0.1, 0.1, &device).reshape([512]);
        bench("long convolution, 2 × 1,200 × 512", &|| {
            both(&wide, |x| {
                let y = long_conv(sequence(x), kernel.clone(), bias.clone());
                y.reshape([2400, 512])
            });
        });
        let short = ShortFilter::new(512, 3, 2, &device);
        bench("short convolution, 2 × 1,200 × 512", &|| {
            both(&wide, |x| {
                short.forward(sequence(x), 1200).reshape([2400, 512])
            });
        });
        bench("AdamW, a layer of 512 × 512", &|| {
            let x = wide.clone().narrow(0, 0, 8);
            let grads = linear.forward(x).sum().backward();
            let grads = GradientsParams::from_grads(grads, &linear);
            let config = TrainConfig::default();
            let (_, norm) = AdamW::default().step(linear.clone(), grads, &config, 1);
            black_box(host(norm));
        });
        bench("sparse linear, 64 cells × 2,000 genes × 128", &|| {
            both(&weight, |w| sparse_linear(&counts, w));
        });
        bench("scaled negative binomial, 64 × 2,000", &|| {
            both(&genes, |m| {
                let loss = scaled_nll(m, dispersion.clone(), &counts, &scope);
                loss.reshape([64, 1])
            });
        });
        bench("negative binomial, 64 × 2,000", &|| {
            both(&genes, |m| {
                nb_nll(m, dispersion.clone(), &counts).reshape([64, 1])
            });
        });
        bench("zero-inflated negative binomial, 64 × 2,000", &|| {
            both(&genes, |m| {
                let logits = m.clone().log();
                zinb_nll(m, dispersion.clone(), logits, &counts).reshape([64, 1])
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = slices, devices
}
criterion_main!(benches);
