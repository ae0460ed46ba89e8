//! Both towers, their shared space, and the contrastive loss.

use super::config::{ScClipConfig, Temperature};
use super::tower::{Modality, Tower};
use crate::configured::Configured;
use crate::error::Result;
use crate::init::Init;
use crate::layers::linear::Linear;
use crate::layers::lookup::unit;
use crate::layers::observe::Observer;
use crate::weights::Names;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use sc_data::CsrMatrix;

/// scCLIP.
#[derive(Module, Debug)]
pub struct ScClip {
    atac_model: Tower,
    rna_model: Tower,
    atac_projection: Linear,
    rna_projection: Linear,
    criterion: Criterion,
    normalize: bool,
    /// Logarithm of the upper bound of the scale.
    largest: Option<f64>,
}

#[derive(Module, Debug)]
struct Criterion {
    logit_scale: Param<Tensor<1>>,
}

impl ScClip {
    /// Builds the model on `device`; weights are set by [`crate::init::initialise`].
    ///
    /// # Errors
    /// [`crate::ModelError::Config`] for an invalid configuration.
    pub fn new(config: &ScClipConfig, device: &Device) -> Result<Self> {
        config.check()?;
        let projection = |width| Linear::new(width, config.projection, device).without_bias();
        let scale = Tensor::full([1], config.temperature.log_scale(), device);
        let (learned, largest) = match config.temperature {
            Temperature::Fixed { .. } => (false, None),
            Temperature::Learned { largest, .. } => (true, largest.map(f64::ln)),
        };
        Ok(Self {
            atac_model: Tower::new(&config.atac, device),
            rna_model: Tower::new(&config.rna, device),
            atac_projection: projection(config.atac.width),
            rna_projection: projection(config.rna.width),
            criterion: Criterion {
                logit_scale: Param::from_tensor(scale).set_require_grad(learned),
            },
            normalize: config.normalize,
            largest,
        })
    }

    /// Cells in the shared space, `[cells, projection]`. Features are those of the tower, in their
    /// order; features beyond its patches are ignored.
    ///
    /// # Shapes
    /// - cells: `[cells, features]`
    pub fn embed(&self, cells: &CsrMatrix, modality: Modality) -> Tensor<2> {
        self.embed_observed(cells, modality, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn embed_observed(
        &self,
        cells: &CsrMatrix,
        modality: Modality,
        seen: &mut impl Observer,
    ) -> Tensor<2> {
        let (tower, projection) = match modality {
            Modality::Atac => (&self.atac_model, &self.atac_projection),
            Modality::Rna => (&self.rna_model, &self.rna_projection),
        };
        let projected = projection.forward(tower.forward_observed(cells, modality, seen));
        seen.see(&format!("{}.projected", modality.name()), &projected);
        let embeds = if self.normalize {
            unit(projected)
        } else {
            projected
        };
        seen.see(&format!("{}.embeds", modality.name()), &embeds);
        embeds
    }

    /// Scaled similarities, `[cells, cells]`: open chromatin in rows, expression in columns.
    pub fn similarity(&self, atac: Tensor<2>, rna: Tensor<2>) -> Tensor<2> {
        let log_scale = self.criterion.logit_scale.val();
        let log_scale = match self.largest {
            Some(largest) => log_scale.clamp_max(largest),
            None => log_scale,
        };
        atac.matmul(rna.transpose()) * log_scale.exp().unsqueeze::<2>()
    }
}

/// Initial weights where they differ from PyTorch's defaults: positions and first tokens are 0.
pub const INIT: fn(&str) -> Option<Init> = |path| {
    let zero = path.ends_with("cls_token") || path.ends_with("position_embeddings");
    zero.then_some(Init::Constant(0.0))
};

/// Published names.
pub const NAMES: Names = Names {
    rename: |path| path.to_string(),
    alias: |name| name.trim_start_matches("module.").to_string(),
    unused: &[],
};

impl Configured for ScClip {
    type Config = ScClipConfig;
    const INIT: fn(&str) -> Option<Init> = INIT;
    const NAMES: Names = NAMES;

    fn empty(config: &ScClipConfig, device: &Device) -> Result<Self> {
        Self::new(config, device)
    }
}
