//! Tokenisers: how a cell becomes the input of a model.
//!
//! Each is a pure function of one cell's row (gene positions ascending, and their values), its own
//! parameters, and where the original draws at random, a stream named by `(seed, purpose, cell,
//! epoch)`. Tokens therefore never depend on which other cells are in the minibatch. What is drawn can
//! also be given, which is how the cases of the original implementations are compared.

pub mod bins;
mod config;
pub mod macrogenes;
pub mod patches;
pub mod profile;
pub mod ranks;
pub mod sampled;
pub mod sentences;
pub mod uce;

pub use bins::{Admissible, MAX_BINS, admissible, bin_cell, bin_row, bin_row_highest};
pub use config::{Ties, Tokenizer};
