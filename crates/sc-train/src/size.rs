//! Baselines that match the size of another model: the width of the hidden layers is chosen so
//! that the number of parameters is equal, so that differences in performance cannot be due to
//! size.
//!
//! The width is the only setting that is changed: layers, latent and everything else stay as
//! configured.

mod same_as;

pub use same_as::SameSize;
pub(crate) use same_as::{find, other};

use crate::error::{Result, TrainError};
use crate::inputs::data_spec::DataSpec;
use crate::registry::ARCHITECTURES;
use crate::spec::ModelSpec;
use burn::tensor::Device;
use serde_json::Value;

/// Sets another hidden width in the settings of a network and returns them.
pub type Widen = fn(&ModelSpec, usize) -> Result<Value>;

/// Largest relative difference in parameters that still counts as the same size.
pub const NEAR: f64 = 0.05;

/// A model with matched size.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The model with that width in its network, and without [`ModelSpec::same_size_as`].
    pub spec: ModelSpec,
    /// Width of its first hidden layer.
    pub width: usize,
    /// Number of parameters.
    pub parameters: usize,
}

/// Sets the hidden width of `spec` with which its number of parameters, for `data`, is
/// closest to `wanted`.
///
/// # Errors
/// [`TrainError::Config`] for an architecture without an adjustable width, or when no width comes
/// within
/// [`NEAR`] of `wanted`.
pub fn fit(spec: &ModelSpec, data: &DataSpec, wanted: usize, device: &Device) -> Result<Fitted> {
    let known = spec.known()?;
    let widen = known.widen.ok_or_else(|| {
        let can = ARCHITECTURES.iter().filter(|a| a.widen.is_some());
        let can: Vec<&str> = can.map(|a| a.name).collect();
        TrainError::Config(format!(
            "same_size_as: {} has no adjustable width; {} have",
            known.name,
            can.join(", ")
        ))
    })?;
    let of = |width: usize| -> Result<Fitted> {
        let spec = ModelSpec {
            same_size_as: None,
            network: widen(spec, width)?,
            ..spec.clone()
        };
        let parameters = spec.task(data)?.parameters(device)?;
        Ok(Fitted {
            spec,
            width,
            parameters,
        })
    };
    let (mut low, mut high) = (of(1)?, of(1)?);
    // One more unit of width adds at least one parameter, or the width has no effect.
    while high.parameters < wanted && high.width <= wanted {
        low = high;
        high = of(2 * low.width)?;
    }
    while high.width - low.width > 1 {
        let middle = of(low.width.midpoint(high.width))?;
        if middle.parameters < wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    let away = |f: &Fitted| f.parameters.abs_diff(wanted);
    let nearest = if away(&low) <= away(&high) { low } else { high };
    if away(&nearest) as f64 > NEAR * wanted as f64 {
        return Err(TrainError::Config(format!(
            "same_size_as: expected {wanted} parameters, but {} has {} with a hidden width of {}, and no \
             other width is closer; change its layers or its latent",
            known.name, nearest.parameters, nearest.width
        )));
    }
    Ok(nearest)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::inputs::data_spec::numbered_batches;
    use serde_json::json;
    use std::sync::Arc;

    fn data(genes: usize) -> DataSpec {
        DataSpec {
            genes: Arc::new((0..genes).map(|g| g.to_string()).collect()),
            batches: numbered_batches(1),
            ..DataSpec::default()
        }
    }

    fn spec(value: Value) -> ModelSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_nearest_width_is_found_whichever_side_it_lies_on() {
        let vae = spec(json!({ "architecture": "vae", "network": { "layers": 2 } }));
        let count = |width: usize| {
            let network = json!({ "layers": 2, "hidden": width });
            let vae = spec(json!({ "architecture": "vae", "network": network }));
            let task = vae.task(&data(30)).unwrap();
            task.parameters(&Device::flex()).unwrap()
        };
        let unit = count(38) - count(37);
        for wanted in [count(37), count(37) - unit / 3, count(37) + unit / 3] {
            let found = fit(&vae, &data(30), wanted, &Device::flex()).unwrap();
            assert_eq!((found.width, found.parameters), (37, count(37)));
            assert_eq!(found.spec.network, json!({ "layers": 2, "hidden": 37 }));
        }
    }

    #[test]
    fn hidden_layers_keep_their_proportions() {
        let network = json!({ "hidden": [64, 16], "latent": 4 });
        let autoencoder = spec(json!({ "architecture": "autoencoder", "network": network }));
        let found = fit(&autoencoder, &data(50), 12_000, &Device::flex()).unwrap();
        let w = found.width as f64;
        assert_eq!(
            found.spec.network["hidden"],
            json!([w as u64, (w / 4.0).round() as u64])
        );
    }

    #[test]
    fn what_cannot_come_near_is_refused_with_both_numbers() {
        let refused = |value: Value, wanted: usize| {
            let refused = fit(&spec(value), &data(500), wanted, &Device::flex());
            refused.unwrap_err().to_string()
        };
        let e = refused(json!({ "architecture": "vae" }), 700);
        assert!(
            e.contains("700 parameters") && e.contains("width of 1,"),
            "{e}"
        );
        // Without a hidden layer there is nothing to widen.
        let network = json!({ "hidden": [] });
        let linear = json!({ "architecture": "autoencoder", "network": network });
        let e = refused(linear, 1_000_000);
        assert!(e.contains("1000000 parameters"), "{e}");
        let e = refused(json!({ "architecture": "scgpt" }), 1_000_000);
        assert!(
            e.contains("scgpt has no adjustable width") && e.contains("vae, autoencoder"),
            "{e}"
        );
    }
}
