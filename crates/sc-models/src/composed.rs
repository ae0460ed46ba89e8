//! A model put together of parts: tokens, a way to mix them, and a question, each chosen apart.
//!
//! Published models differ in all three at once, so a comparison of two of them cannot say which
//! part made the difference. Here everything but one part can be held still: every encoder has the
//! same embedding, the same pre-norm blocks and the same feed-forward layers, and differs in how
//! tokens see each other only; every head reads the same tokens and the same cell.

mod config;
mod embedding;
mod heads;
mod mixing;
mod model;
#[cfg(all(test, feature = "flex"))]
mod tests;

pub use config::{CellVector, ComposedConfig, EncoderConfig, HeadConfig};
pub use embedding::Sequences;
pub use heads::CountDistribution;
pub use model::{Composed, INIT, NAMES, SPECIAL_TOKENS, States, special};
