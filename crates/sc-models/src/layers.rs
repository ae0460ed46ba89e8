//! Layers shared by the architectures.

pub mod attention;
pub mod classifier;
pub mod dropout;
pub mod encoder;
pub mod flow;
pub(crate) mod gamma;
pub mod gelu;
pub mod gradient;
#[cfg(feature = "flex")]
pub(crate) mod host;
pub mod layernorm;
pub mod linear;
pub mod lookup;
pub mod named;
pub mod nb;
pub mod norm;
pub mod observe;
#[cfg(feature = "flex")]
pub(crate) mod products;
pub mod sequential;
pub(crate) mod simd;
pub mod softmax;
pub mod sparse;
pub mod zinb;
