//! `same_size_as`: a baseline with the vocabulary and as many parameters as another model.

use super::fit;
use crate::error::{Result, TrainError};
use crate::inputs::data_spec::{DataSpec, Levels};
use crate::presets;
use crate::spec::ModelSpec;
use sc_data::settings;
use sc_models::device::DEFAULT;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::path::Path;

/// Match of a model's size to another's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SameSize {
    /// The other model.
    pub model: String,
    /// Its parameters on these data.
    pub its_parameters: usize,
    /// Parameters of this one.
    pub parameters: usize,
    /// The hidden width that was found.
    pub width: usize,
}

impl fmt::Display for SameSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} parameters with a hidden width of {}; {} has {}",
            self.parameters, self.width, self.model, self.its_parameters
        )
    }
}

/// The model in [`ModelSpec::same_size_as`].
pub(crate) struct Other {
    name: String,
    pub(crate) spec: ModelSpec,
}

/// Takes the other model out of `spec`, which gets its vocabulary; `None` without `same_size_as`.
pub(crate) fn other(spec: &mut ModelSpec) -> Result<Option<Other>> {
    let Some(asked) = spec.same_size_as.take() else {
        return Ok(None);
    };
    let (name, other): (_, ModelSpec) = match asked {
        Value::String(named) => {
            let path = Path::new(&named);
            let about = |e| TrainError::Config(format!("same_size_as: {e}"));
            let table = presets::read(path, &[]).map_err(about)?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            (name.into_owned(), settings::parse(table, &named)?)
        }
        whole => {
            let parsed = serde_json::from_value::<ModelSpec>(whole);
            let other = parsed.map_err(|e| TrainError::Config(format!("same_size_as: {e}")))?;
            (other.architecture.clone(), other)
        }
    };
    spec.vocabulary = other.vocabulary;
    Ok(Some(Other { name, spec: other }))
}

/// Gives `spec`, for `data`, the width with which it matches the size of `other`, whose columns of
/// `obs` these `levels`.
pub(crate) fn find(
    spec: &ModelSpec,
    data: &DataSpec,
    other: Other,
    levels: Levels,
) -> Result<(ModelSpec, SameSize)> {
    let device = sc_models::device::open(DEFAULT)?;
    let theirs = DataSpec {
        levels,
        ..data.clone()
    };
    let counted = other.spec.task(&theirs).and_then(|t| t.parameters(&device));
    let wanted =
        counted.map_err(|e| TrainError::Config(format!("same_size_as {}: {e}", other.name)))?;
    let found = fit(spec, data, wanted, &device)?;
    let same = SameSize {
        model: other.name,
        its_parameters: wanted,
        parameters: found.parameters,
        width: found.width,
    };
    Ok((found.spec, same))
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::presets::{assumed, assumed_with, of, size, taken};
    use crate::registry::{ARCHITECTURES, Architecture, Features};
    use crate::size::Fitted;

    /// The tiny preset of `baseline` at the size of that of `model`, on `data`, and the requested
    /// size.
    fn fitted(baseline: &str, model: &str, data: &DataSpec) -> (Result<Fitted>, usize) {
        let tiny = |name| of(name, "tiny").unwrap().unwrap();
        let mut ours = tiny(baseline);
        ours.same_size_as = Some(format!("{model}-tiny").into());
        let theirs = other(&mut ours).unwrap().unwrap();
        assert_eq!(theirs.spec, tiny(model));
        let wanted = size(&theirs.spec, data).unwrap().parameters;
        let device = sc_models::device::open(DEFAULT).unwrap();
        let data = taken(&ours, data).unwrap();
        (fit(&ours, &data, wanted, &device), wanted)
    }

    /// One unit of width is one parameter per gene in the MLP and two in the others, and half of
    /// that is the best possible match: below 1 % of most tiny models, and 1.1 % of scHyena, whose
    /// 72,141 parameters are the fewest, and of scCLIP on 2,000 features.
    #[test]
    fn every_baseline_takes_the_size_of_every_foundation_model() {
        let (baselines, models): (Vec<&Architecture>, Vec<&Architecture>) =
            ARCHITECTURES.iter().partition(|a| a.widen.is_some());
        assert_eq!(baselines.len(), 4);
        for model in models {
            let data = match model.features {
                Features::Genes => assumed(model.features),
                Features::GenesAndPeaks => assumed_with(1000, 1000),
            };
            for baseline in &baselines {
                let (found, wanted) = fitted(baseline.name, model.name, &data);
                let off = found.unwrap().parameters.abs_diff(wanted) as f64 / wanted as f64;
                assert!(off < 0.011, "{} as {}: {off}", baseline.name, model.name);
            }
        }
    }

    #[test]
    fn fewer_parameters_than_features_are_out_of_reach() {
        // scCLIP uses patches; the others have a weight for every one of 120,000 features.
        let data = assumed(Features::GenesAndPeaks);
        let (refused, wanted) = fitted("vae", "scclip", &data);
        let said = refused.unwrap_err().to_string();
        assert!(said.contains(&wanted.to_string()), "{said}");
    }
}
