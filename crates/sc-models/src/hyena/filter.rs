//! The implicit long filter: a perceptron of the position with sine activations, times a window.

use super::config::{Direction, FilterConfig, OperatorConfig, Training};
use crate::layers::linear::Linear;
use crate::layers::observe::Observer;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

/// `h(t) = FFN(z(t)) · (exp(−t |δ|) + shift)` for every channel (Poli et al. 2023, eq. 7).
#[derive(Module, Debug)]
pub struct HyenaFilter {
    pos_emb: Positions,
    implicit_filter: Vec<Linear>,
    /// One frequency for the sines of all layers.
    freq: Param<Tensor<2>>,
    modulation: Modulation,
    /// Weight of the convolution's input in its output.
    bias: Param<Tensor<1>>,
    shift: f64,
    normalized: bool,
    skip: bool,
    /// Number of adjacent copies of the window: past and future share it.
    windows: usize,
}

#[derive(Module, Debug)]
struct Positions {
    z: Param<Tensor<3>>,
    t: Param<Tensor<3>>,
}

#[derive(Module, Debug)]
struct Modulation {
    deltas: Param<Tensor<3>>,
}

fn param<const D: usize>(
    data: Vec<f32>,
    shape: [usize; D],
    training: Training,
    device: &Device,
) -> Param<Tensor<D>> {
    let tensor = Tensor::from_data(TensorData::new(data, shape), device);
    Param::from_tensor(tensor).set_require_grad(training == Training::Learned)
}

/// `n` numbers from `a` to `b`, inclusive.
fn spread(a: f64, b: f64, n: usize) -> impl Iterator<Item = f64> {
    let step = if n > 1 { (b - a) / (n - 1) as f64 } else { 0.0 };
    (0..n).map(move |i| a + step * i as f64)
}

/// Features of every position, `[rows, features]`, and its time, `[rows]`.
fn positions(config: &OperatorConfig) -> (Vec<f32>, Vec<f32>) {
    let (rows, bands) = (config.rows(config.length), (config.filter.features - 1) / 2);
    let signed = config.direction == Direction::CellPainTr;
    let first = if signed {
        1.0 - config.length as f64
    } else {
        0.0
    };
    let times = spread(if signed { -1.0 } else { 0.0 }, 1.0, rows);
    // CellPainTR sets every frequency to the smallest one.
    let last = if signed { 1e-4 } else { bands as f64 - 1.0 };
    let frequencies: Vec<f64> = spread(1e-4, last, bands).collect();
    let (mut z, mut t) = (
        Vec::with_capacity(rows * config.filter.features),
        Vec::new(),
    );
    for (i, time) in times.enumerate() {
        let angle = std::f64::consts::TAU * (first + i as f64) / config.length as f64;
        z.push(time as f32);
        z.extend(frequencies.iter().map(|f| (f * angle).cos() as f32));
        z.extend(frequencies.iter().map(|f| -(f * angle).sin() as f32));
        t.push(time as f32);
    }
    (z, t)
}

/// Decay rates of the window, from the slowest channel to the fastest.
fn decays(config: &FilterConfig, channels: usize) -> Vec<f32> {
    let log = config.target.ln();
    spread(log / config.slow_decay, log / config.fast_decay, channels)
        .map(|v| v as f32)
        .collect()
}

impl HyenaFilter {
    pub(super) fn new(config: &OperatorConfig, device: &Device) -> Self {
        let f = &config.filter;
        let channels = config.channels();
        let windows = if config.direction == Direction::Both {
            2
        } else {
            1
        };
        let (z, t) = positions(config);
        let (rows, w) = (t.len(), f.width);
        let mut layers = vec![Linear::new(f.features, w, device)];
        layers.extend((0..f.inner_layers).map(|_| Linear::new(w, w, device)));
        layers.push(Linear::new(w, windows * channels, device).without_bias());
        Self {
            pos_emb: Positions {
                z: param(z, [1, rows, f.features], f.positions, device),
                t: param(t, [1, rows, 1], Training::Fixed, device),
            },
            implicit_filter: layers,
            freq: param(
                vec![f.frequency as f32; w],
                [1, w],
                Training::Learned,
                device,
            ),
            modulation: Modulation {
                deltas: param(decays(f, channels), [1, 1, channels], f.decays, device),
            },
            bias: Param::from_tensor(Tensor::zeros([channels], device)),
            shift: f.shift,
            normalized: f.normalized,
            skip: f.skip,
            windows,
        }
    }

    /// The first `rows` rows of the filter, `[rows, channels]`; past and future concatenated where
    /// there are two.
    pub fn forward(&self, rows: usize) -> Tensor<2> {
        self.forward_observed(rows, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_observed(&self, rows: usize, seen: &mut impl Observer) -> Tensor<2> {
        let z = self.pos_emb.z.val().narrow(1, 0, rows);
        let t = self.pos_emb.t.val().narrow(1, 0, rows).reshape([rows, 1]);
        seen.see("pos_emb.z", &z);
        seen.see("pos_emb.t", &t);
        let [_, _, features] = z.dims();
        let last = self.implicit_filter.len() - 1;
        let h = z.reshape([rows, features]);
        let h = self.implicit_filter[..last]
            .iter()
            .fold(h, |h, linear| (linear.forward(h) * self.freq.val()).sin());
        let h = self.implicit_filter[last].forward(h);
        seen.see("filter_mlp", &h);
        let deltas = self.modulation.deltas.val();
        let [_, _, channels] = deltas.dims();
        let window = (t.neg() * deltas.abs().reshape([1, channels])).exp();
        seen.see("window", &window);
        let window = match self.windows {
            1 => window,
            n => Tensor::cat(vec![window; n], 1),
        };
        let h = h * (window + self.shift);
        let h = if self.normalized {
            let norm = h.clone().abs().sum_dim(1);
            h / norm
        } else {
            h
        };
        seen.see("filter", &h);
        h
    }

    /// Weight of the input in the output, `[channels]`; zero where it is not added.
    pub fn bias(&self) -> Tensor<1> {
        let bias = self.bias.val();
        if self.skip { bias } else { bias * 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_decays_are_those_of_the_paper() {
        let config = OperatorConfig {
            width: 3,
            length: 5,
            ..OperatorConfig::default()
        };
        let (z, t) = positions(&config);
        assert_eq!(t, [0.0, 0.25, 0.5, 0.75, 1.0]);
        // Third position: time, cos and −sin of 1e-4 and of 1 times 4π/5.
        let angle = std::f64::consts::TAU * 2.0 / 5.0;
        let expected = [
            0.5,
            (1e-4 * angle).cos(),
            angle.cos(),
            -(1e-4 * angle).sin(),
            -angle.sin(),
        ];
        for (a, b) in z[10..15].iter().zip(expected) {
            assert!((f64::from(*a) - b).abs() < 1e-7, "{a} {b}");
        }
        let d = decays(&config.filter, 3);
        assert!((d[0] + 3.070_113_5).abs() < 1e-5 && (d[2] + 15.350_567).abs() < 1e-5);
        let signed = OperatorConfig {
            direction: Direction::CellPainTr,
            ..config
        };
        let (z, t) = positions(&signed);
        assert_eq!(t.len(), 9);
        assert_eq!((t[0], t[4], t[8]), (-1.0, 0.0, 1.0));
        assert_eq!(z[1], z[2]);
    }
}
