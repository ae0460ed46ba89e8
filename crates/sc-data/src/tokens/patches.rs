//! scCLIP: neighbouring features cut into patches of equal width, kept sparse (reference A1.2).
//!
//! The order of the features is what a patch means, so it belongs to the model.

use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};

/// What a patch holds of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PatchValue {
    /// `ln(1 + scaled count)` over the largest of the gene in the training cells (RNA).
    #[default]
    MaxAbs,
    /// `ln(1 + scaled count)`.
    Log1p,
    /// 1 where there is anything (ATAC).
    Binary,
}

/// Width of a patch: features divided by patches, rounded up; the last patches may lie beyond.
///
/// # Errors
/// [`DataError::Invalid`] without features or patches.
pub fn patch_width(features: usize, patches: usize) -> Result<usize> {
    if features == 0 || patches == 0 {
        return Err(DataError::invalid(format!(
            "{features} features cannot be cut into {patches} patches"
        )));
    }
    Ok(features.div_ceil(patches))
}

/// One cell as patches: for every value its patch, its place in the patch, and itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patches {
    /// Patch of every value, ascending.
    pub patch: Vec<u32>,
    /// Place within the patch.
    pub place: Vec<u32>,
    /// Values.
    pub values: Vec<f32>,
}

/// Cuts one cell; `largest` `[features]` holds each feature's largest value in the training cells, for
/// [`PatchValue::MaxAbs`]. A feature that no training cell has keeps its value.
///
/// # Errors
/// [`DataError::Invalid`] when a feature lies outside the patches or, with `MaxAbs`, outside `largest`.
pub fn patches(
    features: &[u32],
    values: &[f32],
    (count, width): (usize, usize),
    kind: PatchValue,
    largest: &[f32],
) -> Result<Patches> {
    let mut out = Patches::default();
    for (&feature, &value) in features.iter().zip(values) {
        let (patch, place) = (
            feature as usize / width.max(1),
            feature as usize % width.max(1),
        );
        if patch >= count {
            return Err(DataError::invalid(format!(
                "feature {feature} lies outside {count} patches of {width}; the features of the file \
                 are not those of the model"
            )));
        }
        let value = match kind {
            PatchValue::Log1p => value,
            PatchValue::Binary => f32::from(u8::from(value > 0.0)),
            PatchValue::MaxAbs => match largest.get(feature as usize) {
                Some(&largest) if largest > 0.0 => value / largest,
                Some(_) => value,
                None => {
                    return Err(DataError::invalid(format!(
                        "feature {feature} has no largest value; {} were fitted",
                        largest.len()
                    )));
                }
            },
        };
        if value != 0.0 {
            out.patch.push(patch as u32);
            out.place.push(place as u32);
            out.values.push(value);
        }
    }
    Ok(out)
}

/// Raises `largest` `[features]` to the absolute values of one more training cell.
pub fn fit_largest(largest: &mut [f32], features: &[u32], values: &[f32]) {
    for (&feature, &value) in features.iter().zip(values) {
        if let Some(slot) = largest.get_mut(feature as usize) {
            *slot = slot.max(value.abs());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_fall_into_patches_in_their_order() {
        let width = patch_width(10, 4).unwrap();
        assert_eq!(width, 3);
        let mut largest = vec![0.0; 10];
        fit_largest(&mut largest, &[1, 9], &[4.0, 2.0]);
        let cut = |kind| patches(&[1, 4, 9], &[2.0, 3.0, 2.0], (4, width), kind, &largest).unwrap();
        let found = cut(PatchValue::MaxAbs);
        assert_eq!(
            (&found.patch[..], &found.place[..]),
            (&[0, 1, 3][..], &[1, 1, 0][..])
        );
        assert_eq!(found.values, [0.5, 3.0, 1.0]);
        assert_eq!(cut(PatchValue::Binary).values, [1.0; 3]);
        assert!(patches(&[12], &[1.0], (4, 3), PatchValue::Binary, &[]).is_err());
        assert!(patches(&[1], &[1.0], (4, 3), PatchValue::MaxAbs, &[]).is_err());
        assert!(patch_width(0, 4).is_err());
    }
}
