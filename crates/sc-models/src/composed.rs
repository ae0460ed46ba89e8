//! A model composed of parts: tokeniser, encoder and objective, each chosen separately.
//!
//! Published models differ in all three at once, so a comparison of two of them cannot show which
//! part made the difference. Here all but one part can be kept fixed: every encoder has the
//! same embedding, the same pre-norm blocks and the same feed-forward layers, and differs only in
//! how tokens attend to each other; every head reads the same tokens and the same cell embedding.

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
