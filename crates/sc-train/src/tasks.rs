//! The architectures as tasks: tokens, objective, embedding. One module each.

pub mod annotation;
pub mod cellplm;
pub mod composed;
pub mod geneformer;
pub mod nicheformer;
mod padded;
pub mod perceptron;
pub mod saturn;
pub mod scclip;
pub mod scgpt;
pub mod schyena;
pub mod scprint;
pub mod uce;
pub mod vae;

#[cfg(all(test, feature = "flex"))]
mod tests;
