//! The architectures as tasks: tokens, objective, embedding. One room each.

pub mod cellplm;
pub mod scgpt;
