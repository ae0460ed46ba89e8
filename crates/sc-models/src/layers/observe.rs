//! Optional inspection of intermediate tensors, at no cost when unused.

use burn::tensor::Tensor;
use std::collections::BTreeMap;

/// Receives the intermediate tensors of a forward pass, by name.
pub trait Observer {
    /// Called with every named intermediate, in the order of computation.
    fn see<const D: usize>(&mut self, name: &str, tensor: &Tensor<D>);
}

/// Ignores everything.
impl Observer for () {
    fn see<const D: usize>(&mut self, _name: &str, _tensor: &Tensor<D>) {}
}

/// Keeps a host copy of every tensor, last axis fastest.
#[derive(Debug, Default)]
pub struct Record(pub BTreeMap<String, Vec<f32>>);

impl Observer for Record {
    fn see<const D: usize>(&mut self, name: &str, tensor: &Tensor<D>) {
        self.0
            .insert(name.to_string(), crate::weights::host(tensor.clone()));
    }
}

/// The span of layer `index`, until it is dropped: how long each takes, at the level `trace`. On a device
/// that works on its own, how long it takes to be asked.
pub(crate) fn layer_span(index: usize) -> tracing::span::EnteredSpan {
    tracing::trace_span!("layer", index).entered()
}
