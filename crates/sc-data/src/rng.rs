//! Counter-based random streams.
//!
//! Every draw in scfm comes from a stream named by `(seed, purpose, cell, epoch)`. Two runs that
//! visit the same cell in another order, minibatch or thread therefore draw the same numbers.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A stream of random numbers that depends only on its four names.
///
/// `purpose` separates uses ("mask", "bins", "split", …); `cell` is a key of the cell's identity
/// ([`crate::identity`]), never its row, or 0 for draws that are not per cell; `epoch`
/// counts passes over the data, or steps where a step is what repeats.
///
/// ```
/// use rand::RngExt as _;
/// let a: u64 = sc_data::rng::stream(7, "mask", 42, 0).random();
/// let b: u64 = sc_data::rng::stream(7, "mask", 42, 0).random();
/// let c: u64 = sc_data::rng::stream(7, "mask", 43, 0).random();
/// assert!(a == b && a != c);
/// ```
pub fn stream(seed: u64, purpose: &str, cell: u64, epoch: u64) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&cell.to_le_bytes());
    hasher.update(&epoch.to_le_bytes());
    hasher.update(purpose.as_bytes());
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}
