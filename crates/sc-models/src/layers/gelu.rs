//! GELU in one pass forward and one backward on the host.
//!
//! burn composes it from a power, an error function or a hyperbolic tangent, each a call and a pass;
//! in a model with wide feed-forward layers that is a quarter of the time.

use burn::tensor::Tensor;

/// `x Φ(x)`.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(output) = fused::apply(x.clone(), fused::Form::Exact) {
        return output;
    }
    // burn's own has the gradient of the other form, which is off by up to 5e-4 of the gradient.
    let cdf = ((x.clone() * std::f64::consts::FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
    x * cdf
}

/// `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(output) = fused::apply(x.clone(), fused::Form::Tanh) {
        return output;
    }
    burn::tensor::activation::gelu_approximate(x)
}

#[cfg(feature = "flex")]
mod fused {
    use crate::layers::host::{self, HostOp};
    use crate::layers::simd::{Body, exp, vectorised};
    use burn::tensor::Tensor;
    use rayon::prelude::*;

    /// Values per task.
    const CHUNK: usize = 1 << 14;
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    const CUBIC: f32 = 0.044_715;

    #[derive(Clone, Copy, Debug)]
    pub(super) enum Form {
        Exact,
        Tanh,
    }

    #[derive(Clone, Debug)]
    struct Gelu(Form);

    pub(super) fn apply<const D: usize>(x: Tensor<D>, form: Form) -> Option<Tensor<D>> {
        let shape = x.dims();
        host::apply(Gelu(form), [host::Input::new(x)], shape)
    }

    /// `1/(1 + e⁻ᶻ)`, accurate in both tails.
    #[inline(always)]
    fn sigmoid(z: f32) -> f32 {
        let e = exp(-z.abs());
        let upper = 1.0 / (1.0 + e);
        if z < 0.0 { e * upper } else { upper }
    }

    /// The error function within four units in the last place: a quotient of polynomials on
    /// `[−3.84, 3.84]`, ±1 beyond.
    #[inline(always)]
    fn erf(x: f32) -> f32 {
        const P: [f32; 7] = [
            -2.726_142_4e-10,
            2.770_681_4e-8,
            -2.101_024e-6,
            -5.692_506_6e-5,
            -7.349_906_3e-4,
            -2.954_6e-3,
            -1.609_603_3e-2,
        ];
        const Q: [f32; 5] = [
            -1.456_607_2e-5,
            -2.133_740_5e-4,
            -1.682_827e-3,
            -7.373_329_3e-3,
            -1.426_473_9e-2,
        ];
        let x = x.clamp(-3.832_507, 3.832_507);
        let y = x * x;
        let p = P[1..].iter().fold(P[0], |s, c| s * y + c);
        let q = Q[1..].iter().fold(Q[0], |s, c| s * y + c);
        x * p / q
    }

    #[inline(always)]
    fn value(form: Form, x: f32) -> f32 {
        match form {
            Form::Exact => 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)),
            // 1 + tanh u is twice the sigmoid of 2 u.
            Form::Tanh => x * sigmoid(2.0 * SQRT_2_OVER_PI * (x + CUBIC * x * x * x)),
        }
    }

    #[inline(always)]
    fn slope(form: Form, x: f32) -> f32 {
        match form {
            Form::Exact => {
                let phi = 0.398_942_3 * exp(-0.5 * x * x);
                0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)) + x * phi
            }
            Form::Tanh => {
                let s = sigmoid(2.0 * SQRT_2_OVER_PI * (x + CUBIC * x * x * x));
                let inner = 2.0 * SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
                s + x * s * (1.0 - s) * inner
            }
        }
    }

    struct Forward<'a> {
        form: Form,
        x: &'a [f32],
        out: &'a mut [f32],
    }

    impl Body for Forward<'_> {
        #[inline(always)]
        fn run(self) {
            // The form is chosen outside the loop, so that each loop has no branches.
            match self.form {
                Form::Exact => each(self.x, self.out, |x, _| value(Form::Exact, x)),
                Form::Tanh => each(self.x, self.out, |x, _| value(Form::Tanh, x)),
            }
        }
    }

    /// `out` holds the gradient of the output on the way in.
    struct Backward<'a>(Forward<'a>);

    impl Body for Backward<'_> {
        #[inline(always)]
        fn run(self) {
            let Forward { form, x, out } = self.0;
            match form {
                Form::Exact => each(x, out, |x, g| g * slope(Form::Exact, x)),
                Form::Tanh => each(x, out, |x, g| g * slope(Form::Tanh, x)),
            }
        }
    }

    #[inline(always)]
    fn each(x: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32) {
        for (o, &x) in out.iter_mut().zip(x) {
            *o = f(x, *o);
        }
    }

    impl HostOp<1> for Gelu {
        fn forward(&self, [x]: [&[f32]; 1]) -> Vec<f32> {
            let mut out = vec![0f32; x.len()];
            let parts = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
            parts.for_each(|(out, x)| {
                let form = self.0;
                vectorised(Forward { form, x, out });
            });
            out
        }

        fn backward(&self, [x]: [&[f32]; 1], grad: &[f32], _: [bool; 1]) -> [Option<Vec<f32>>; 1] {
            let mut out = grad.to_vec();
            let parts = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
            parts.for_each(|(out, x)| {
                let form = self.0;
                vectorised(Backward(Forward { form, x, out }));
            });
            [Some(out)]
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::weights::host;
    use burn::tensor::{Device, TensorData};

    /// `Φ(x)` by Simpson's rule on the density, in `f64`.
    fn phi(x: f64) -> f64 {
        let n = 4000;
        let h = x / f64::from(n);
        let density = |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt();
        let sum: f64 = (0..=n)
            .map(|i| {
                let weight = match i {
                    0 => 1.0,
                    i if i == n => 1.0,
                    i if i % 2 == 1 => 4.0,
                    _ => 2.0,
                };
                weight * density(f64::from(i) * h)
            })
            .sum();
        0.5 + sum * h / 3.0
    }

    #[test]
    fn both_forms_and_their_slopes_are_exact_to_rounding() {
        let device = Device::flex().autodiff();
        let xs: Vec<f32> = (-400..=400).map(|i| i as f32 * 0.02).collect();
        let n = xs.len();
        let x = Tensor::<1>::from_data(TensorData::new(xs.clone(), [n]), &device).require_grad();
        let exact: fn(f64) -> [f64; 2] = |x| {
            let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
            [x * phi(x), phi(x) + x * density]
        };
        let tanh: fn(f64) -> [f64; 2] = |x| {
            let c = (2.0 / std::f64::consts::PI).sqrt();
            let t = (c * (x + 0.044_715 * x.powi(3))).tanh();
            let inner = c * (1.0 + 3.0 * 0.044_715 * x * x);
            let slope = 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner;
            [0.5 * x * (1.0 + t), slope]
        };
        type Form = fn(Tensor<1>) -> Tensor<1>;
        let forms: [(Form, _); 2] = [(gelu, exact), (gelu_tanh, tanh)];
        for (form, exact) in forms {
            let y = form(x.clone());
            let slope = host(x.grad(&y.clone().sum().backward()).unwrap());
            for ((&x, y), slope) in xs.iter().zip(host(y)).zip(slope) {
                let [value, expected] = exact(f64::from(x));
                let scale = f64::from(x).abs().max(1.0);
                assert!(
                    (f64::from(y) - value).abs() < 3e-7 * scale,
                    "{x}: {y} {value}"
                );
                assert!(
                    (f64::from(slope) - expected).abs() < 1e-6 * scale,
                    "{x}: {slope} {expected}"
                );
            }
        }
    }
}
