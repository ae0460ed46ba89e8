//! Honest evaluation of cell embeddings.
//!
//! No burn and no trainer here: embeddings are plain arrays `[cells, dims]`, labels are plain
//! codes, and everything is judged by the same metrics, probes and intervals, whatever made it.

pub mod results;
