//! Which cells are read, in which order, and on which side of a split.

pub mod collection;
pub mod loader;
pub mod sampler;
pub mod split;
