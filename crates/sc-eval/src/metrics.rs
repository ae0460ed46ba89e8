//! The metrics, named as in scib-metrics.

pub mod scgraph;
