//! Precision of the products of linear layers and attention.
//!
//! GPUs multiply 16-bit numbers many times as fast as 32-bit ones. Only products are rounded:
//! weights, norms, softmax, losses and the optimiser stay in float32, as under PyTorch's autocast.

use crate::error::{ModelError, Result};
use burn::tensor::{Device, FloatDType, Tensor};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

/// Numbers that are multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with the range of float32 and three digits.
    Bf16,
    /// 16 bits with four digits and a small range, for which gradients are scaled.
    F16,
}

/// All of them.
const ALL: [(&str, Precision); 3] = [
    ("f32", Precision::F32),
    ("bf16", Precision::Bf16),
    ("f16", Precision::F16),
];

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ALL.iter().find(|(_, p)| p == self).map_or("", |(n, _)| n);
        f.write_str(name)
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let known = ALL.iter().find(|(n, _)| *n == name);
        let known = known.map(|(_, p)| *p);
        known.ok_or_else(|| format!("unknown precision '{name}'; known: f32, bf16, f16"))
    }
}

thread_local! {
    static CURRENT: Cell<Precision> = const { Cell::new(Precision::F32) };
}

impl Precision {
    /// Refuses a precision that `device` does not compute in.
    ///
    /// # Errors
    /// [`ModelError::Device`].
    pub fn check(self, device: &Device) -> Result<()> {
        match self.lowered() {
            Some(numbers) if !device.supports_dtype(numbers) => Err(ModelError::Device(format!(
                "this device does not compute in {self}; use --precision f32, or another device"
            ))),
            _ => Ok(()),
        }
    }

    /// Runs `work`, in which this thread's products have this precision; backward passes have that
    /// of their forward pass.
    pub fn during<R>(self, work: impl FnOnce() -> R) -> R {
        struct Restore(Precision);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let _restore = Restore(CURRENT.replace(self));
        work()
    }

    /// The precision of this thread's products.
    pub(crate) fn current() -> Self {
        CURRENT.get()
    }

    /// Numbers that values are rounded to before products.
    fn lowered(self) -> Option<FloatDType> {
        match self {
            Self::F32 => None,
            Self::Bf16 => Some(FloatDType::BF16),
            Self::F16 => Some(FloatDType::F16),
        }
    }

    /// `a · b` with rounded factors; the result is float32 again.
    pub(crate) fn matmul<const D: usize>(self, a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
        match self.lowered() {
            None => a.matmul(b),
            Some(numbers) => {
                let product = a.cast(numbers).matmul(b.cast(numbers));
                product.cast(FloatDType::F32)
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::init::{Init, initialise};
    use crate::layers::linear::Linear;
    use crate::testing::{bent, spread};
    use crate::weights::host;

    #[test]
    fn a_product_is_rounded_and_its_gradient_with_it() {
        let device = Device::flex().autodiff();
        let layer = initialise(Linear::new(24, 16, &device), 1, |_| Some(Init::Normal(0.3)));
        let x = spread([10, 24], &device).require_grad();
        let run = || {
            let y = layer.forward(x.clone());
            let grads = bent(y.clone()).backward();
            let weight = layer.weight.val().grad(&grads).unwrap();
            [host(y), host(x.grad(&grads).unwrap()), host(weight)]
        };
        let exact = run();
        for (precision, digits) in [(Precision::Bf16, 8), (Precision::F16, 11)] {
            let rounded = precision.during(run);
            for (a, b) in exact.iter().zip(&rounded) {
                let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
                let off = a.iter().zip(b).map(|(a, b)| (a - b).abs());
                let off = off.fold(0f32, f32::max) / largest;
                // Both factors are rounded by half a unit, and so is the product.
                let unit = 0.5f32.powi(digits);
                assert!(off > unit / 64.0 && off < 1.5 * unit, "{precision}: {off}");
            }
        }
        assert_eq!(run(), exact);
    }

    #[test]
    fn names_are_those_of_the_settings() {
        for (name, precision) in ALL {
            assert_eq!(name.parse(), Ok(precision));
            assert_eq!(precision.to_string(), name);
            let written = serde_json::to_string(&precision).unwrap();
            assert_eq!(written, format!("\"{name}\""));
        }
        assert!("f8".parse::<Precision>().unwrap_err().contains("bf16"));
    }
}
