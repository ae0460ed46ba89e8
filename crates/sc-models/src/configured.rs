//! What every network has: settings it is built from, a rule for its initial weights, published names.

use crate::error::Result;
use crate::init::{Init, initialise};
use crate::weights::Names;
use burn::module::{Module, ModuleDisplay};
use burn::tensor::Device;

/// A network that is built from its settings.
///
/// ```
/// use sc_models::configured::Configured as _;
/// use sc_models::vae::{Vae, VaeConfig};
///
/// let config = VaeConfig { genes: 50, ..VaeConfig::default() };
/// # #[cfg(feature = "flex")] {
/// let device = burn::tensor::Device::flex();
/// let vae = Vae::initial(&config, 7, &device)?;
/// # let _ = vae;
/// # }
/// # Ok::<(), sc_models::ModelError>(())
/// ```
pub trait Configured: Module + ModuleDisplay + Sized {
    /// Its sizes and choices.
    type Config;
    /// Distribution of the initial values by the name of a tensor, where it is not PyTorch's default.
    const INIT: fn(&str) -> Option<Init>;
    /// Published names of its tensors.
    const NAMES: Names;

    /// The network to load weights into, or to count: its weights are not drawn, and as far as the
    /// layers allow not even allocated, so that the largest network can be counted anywhere.
    ///
    /// # Errors
    /// [`crate::ModelError::Config`] for an invalid configuration.
    fn empty(config: &Self::Config, device: &Device) -> Result<Self>;

    /// The network with initial weights drawn from `seed`, the same on every device.
    ///
    /// # Errors
    /// As [`Self::empty`].
    fn initial(config: &Self::Config, seed: u64, device: &Device) -> Result<Self> {
        Ok(initialise(Self::empty(config, device)?, seed, Self::INIT))
    }
}
