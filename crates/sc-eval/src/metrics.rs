//! The metrics, named as in scib-metrics.
//!
//! Every function returns [`crate::Outcome`]: a score with its [resampling](crate::scored), or the
//! typed reason why there is none. `Mode::Compat` follows scib-metrics 0.5.10 (scGraph:
//! scgraph-eval 0.1.2) with its quirks; `Mode::Strict` is what an honest evaluation computes.

pub mod aggregate;
pub mod clustering;
pub mod connectivity;
pub mod kbet;
pub mod lisi;
pub mod matching;
pub mod pcr;
pub mod sbee;
pub mod scgraph;
pub mod silhouette;
