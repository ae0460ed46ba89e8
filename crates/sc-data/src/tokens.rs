//! Tokenisers: from a cell to the input of a model.
//!
//! Each is a pure function of one cell's row (gene indices ascending, and their values), its own
//! parameters, and where the original draws at random, a stream named by `(seed, purpose, cell,
//! epoch)`. Tokens therefore never depend on the other cells in the minibatch. Random draws can
//! also be passed in, which is how the reference cases of the original implementations are
//! compared.

pub mod bins;
mod config;
pub mod macrogenes;
pub mod profile;
pub mod ranks;
pub mod sampled;
pub mod uce;

pub use bins::{Admissible, MAX_BINS, admissible, bin_cell, bin_row, bin_row_highest};
pub use config::{PatchValue, Ties, Tokenizer};

/// Which of `n` tokens are kept where at most `most` fit, ascending, drawn from the stream of
/// `(seed, "genes", cell, epoch)`; `None` where all are.
pub fn part(n: usize, most: usize, [seed, cell, epoch]: [u64; 3]) -> Option<Vec<usize>> {
    (n > most).then(|| {
        let mut rng = crate::rng::stream(seed, "genes", cell, epoch);
        let mut chosen = rand::seq::index::sample(&mut rng, n, most).into_vec();
        chosen.sort_unstable();
        chosen
    })
}
