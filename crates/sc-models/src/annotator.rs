//! Any network with a classifier of cells on its embedding.

use crate::configured::Configured;
use crate::error::Result;
use crate::init::{Init, initialise};
use crate::layers::classifier::{Activation, Classifier};
use crate::layers::dropout::Dropout;
use crate::ranges;
use crate::weights::Names;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// Settings of the classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassifierConfig {
    /// Layers, the one to the classes included.
    pub layers: usize,
    /// Dropout of the embedding.
    pub dropout: f64,
}

impl Default for ClassifierConfig {
    fn default() -> Self {
        Self {
            layers: 2,
            dropout: 0.1,
        }
    }
}

impl ClassifierConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`crate::ModelError::Config`] names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        const OF: &str = "classifier.";
        ranges::layers(OF, &[("layers", self.layers)])?;
        ranges::sizes(OF, &[("layers", self.layers)])?;
        ranges::below_one(OF, &[("dropout", self.dropout)])
    }
}

/// A network, the width of its embedding, and the classifier on it.
#[derive(Clone, Debug, PartialEq)]
pub struct AnnotatorConfig<C> {
    /// The network.
    pub network: C,
    /// Embedding dimension.
    pub width: usize,
    /// Number of classes.
    pub classes: usize,
    /// The classifier.
    pub classifier: ClassifierConfig,
}

/// A network with a classifier.
#[derive(Module, Debug)]
pub struct Annotator<M: Module> {
    /// The network.
    pub network: M,
    classifier: Classifier,
    dropout: Dropout,
}

impl<M: Module> Annotator<M> {
    /// A classifier with initial weights drawn from `seed` on a `network`.
    pub fn on<C>(network: M, config: &AnnotatorConfig<C>, seed: u64, device: &Device) -> Self {
        let classifier = Classifier::new(
            config.width,
            config.classes,
            config.classifier.layers,
            Activation::Relu,
            device,
        );
        Self {
            network,
            classifier: initialise(classifier, seed, |_| None),
            dropout: Dropout::new(config.classifier.dropout),
        }
    }

    /// Logits `[cells, classes]` of embeddings `[cells, width]`.
    pub fn classify(&self, cells: Tensor<2>) -> Tensor<2> {
        self.classifier.forward(self.dropout.forward(cells))
    }
}

/// Begins the paths of the network's tensors.
const NETWORK: &str = "network.";

fn rename<M: Configured>(path: &str) -> String {
    match path.strip_prefix(NETWORK) {
        Some(inner) => (M::NAMES.rename)(inner),
        None => path.to_owned(),
    }
}

fn init<M: Configured>(path: &str) -> Option<Init> {
    (M::INIT)(path.strip_prefix(NETWORK)?)
}

impl<M: Configured> Configured for Annotator<M> {
    type Config = AnnotatorConfig<M::Config>;
    const INIT: fn(&str) -> Option<Init> = init::<M>;
    // The network keeps its published names, so that its weights are found in both.
    const NAMES: Names = Names {
        rename: rename::<M>,
        ..M::NAMES
    };

    fn empty(config: &Self::Config, device: &Device) -> Result<Self> {
        config.classifier.check()?;
        let network = M::empty(&config.network, device)?;
        Ok(Self::on(network, config, 0, device))
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::vae::{Vae, VaeConfig};
    use crate::weights::tensors;

    #[test]
    fn the_network_keeps_its_names() {
        let device = Device::flex();
        let network = VaeConfig {
            genes: 7,
            ..VaeConfig::default()
        };
        let alone = tensors(&Vae::empty(&network, &device).unwrap(), &Vae::NAMES);
        let config = AnnotatorConfig {
            width: network.latent,
            network,
            classes: 3,
            classifier: ClassifierConfig::default(),
        };
        let annotator = Annotator::<Vae>::initial(&config, 0, &device).unwrap();
        let mut both = tensors(&annotator, &Annotator::<Vae>::NAMES);
        both.retain(|name, _| !name.starts_with("classifier."));
        assert_eq!(
            both.keys().collect::<Vec<_>>(),
            alone.keys().collect::<Vec<_>>()
        );
    }
}
