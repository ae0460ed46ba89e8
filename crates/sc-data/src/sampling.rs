//! Selection and order of cells, and splits.

pub mod collection;
pub mod loader;
pub mod sampler;
pub mod split;
