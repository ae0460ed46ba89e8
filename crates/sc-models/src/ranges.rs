//! Ranges of settings, so that every invalid configuration is reported in the same form: the
//! setting, its value, and what is allowed.
//!
//! A size has an upper bound too, far above any network that was ever trained: a typo must be
//! reported by its name, not end in an allocation of terabytes.

use crate::error::{ModelError, Result};

/// Maximum sequence length, or number of anything in a network.
pub const MOST: usize = 1 << 22;

/// Maximum layer width.
pub const WIDEST: usize = 1 << 16;

/// Maximum number of layers of one kind.
pub const MOST_LAYERS: usize = 1024;

fn refuse(setting: &str, value: impl std::fmt::Display, right: &str) -> ModelError {
    ModelError::Config(format!("{setting} = {value}; must {right}"))
}

/// Sizes that are at least 1 and at most [`MOST`]; settings are named as in `vae: network.latent`.
///
/// # Errors
/// [`ModelError::Config`] for the first that is not.
pub fn sizes(of: &str, settings: &[(&str, usize)]) -> Result<()> {
    bounded(of, settings, 1..=MOST)
}

/// Layer widths: at least 1 and at most [`WIDEST`].
///
/// # Errors
/// [`ModelError::Config`] for the first that is not.
pub fn widths(of: &str, settings: &[(&str, usize)]) -> Result<()> {
    bounded(of, settings, 1..=WIDEST)
}

/// Numbers of layers: at least 1 and at most [`MOST_LAYERS`].
///
/// # Errors
/// [`ModelError::Config`] for the first that is not.
pub fn layers(of: &str, settings: &[(&str, usize)]) -> Result<()> {
    bounded(of, settings, 1..=MOST_LAYERS)
}

/// Numbers that may be 0, at most [`MOST`].
///
/// # Errors
/// [`ModelError::Config`] for the first that is not.
pub fn counts(of: &str, settings: &[(&str, usize)]) -> Result<()> {
    bounded(of, settings, 0..=MOST)
}

fn bounded(
    of: &str,
    settings: &[(&str, usize)],
    range: std::ops::RangeInclusive<usize>,
) -> Result<()> {
    match settings.iter().find(|(_, n)| !range.contains(n)) {
        None => Ok(()),
        Some((name, n)) => Err(refuse(
            &format!("{of}{name}"),
            n,
            &format!("lie between {} and {}", range.start(), range.end()),
        )),
    }
}

fn numbers(
    of: &str,
    settings: &[(&str, f64)],
    fits: impl Fn(f64) -> bool,
    right: &str,
) -> Result<()> {
    match settings.iter().find(|(_, v)| !fits(*v)) {
        None => Ok(()),
        Some((name, v)) => Err(refuse(&format!("{of}{name}"), v, right)),
    }
}

/// Shares from 0 to 1, inclusive.
///
/// # Errors
/// [`ModelError::Config`] for the first that is not.
pub fn shares(of: &str, settings: &[(&str, f64)]) -> Result<()> {
    let fits = |v| (0.0..=1.0).contains(&v);
    numbers(of, settings, fits, "lie in [0, 1]")
}

/// Shares from 0 to below 1.
///
/// # Errors
/// [`ModelError::Config`] for the first that is not.
pub fn below_one(of: &str, settings: &[(&str, f64)]) -> Result<()> {
    let fits = |v| (0.0..1.0).contains(&v);
    numbers(of, settings, fits, "lie in [0, 1)")
}

/// Weights of losses and other numbers that are finite and not negative.
///
/// # Errors
/// [`ModelError::Config`] for the first that is not.
pub fn not_negative(of: &str, settings: &[(&str, f64)]) -> Result<()> {
    let fits = |v: f64| (v as f32).is_finite() && v >= 0.0;
    numbers(
        of,
        settings,
        fits,
        "be finite and not negative, in single precision",
    )
}

/// Numbers that are finite and above 0.
///
/// # Errors
/// [`ModelError::Config`] for the first that is not.
pub fn positive(of: &str, settings: &[(&str, f64)]) -> Result<()> {
    let fits = |v: f64| (v as f32).is_finite() && v as f32 > 0.0;
    numbers(
        of,
        settings,
        fits,
        "be finite and above 0, in single precision",
    )
}

/// Numbers of any sign that are finite in single precision.
///
/// # Errors
/// [`ModelError::Config`] for the first that is not.
pub fn finite(of: &str, settings: &[(&str, f64)]) -> Result<()> {
    let fits = |v: f64| (v as f32).is_finite();
    numbers(of, settings, fits, "be finite in single precision")
}

/// A number of heads that divides a dimension.
///
/// # Errors
/// [`ModelError::Config`] when it does not.
pub fn divides(of: &str, (name, width): (&str, usize), heads: usize) -> Result<()> {
    match heads > 0 && width.is_multiple_of(heads) {
        true => Ok(()),
        false => Err(ModelError::Config(format!(
            "{of}{name} = {width} is not divisible by heads = {heads}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<()>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn what_is_out_of_range_is_told_by_name_and_value() {
        assert!(sizes("vae: network.", &[("latent", 10)]).is_ok());
        assert_eq!(
            message(sizes(
                "vae: network.",
                &[("hidden", 3), ("latent", 4_000_000_000)]
            )),
            "vae: network.latent = 4000000000; must lie between 1 and 4194304"
        );
        assert!(message(layers("", &[("layers", 5000)])).contains("layers = 5000"));
        assert!(message(below_one("", &[("mask", 1.0)])).contains("[0, 1)"));
        assert!(message(shares("", &[("mask", f64::NAN)])).contains("NaN"));
        assert!(message(positive("", &[("epsilon", 0.0)])).contains("above 0"));
        assert!(message(not_negative("", &[("l1", -1.0)])).contains("l1 = -1"));
        assert!(message(not_negative("", &[("l1", 1e300)])).contains("single precision"));
        assert!(message(positive("", &[("target", 1e-60)])).contains("single precision"));
        assert!(message(finite("", &[("shift", 1e300)])).contains("single"));
        assert!(message(divides("", ("width", 6), 4)).contains("heads = 4"));
        assert!(counts("", &[("batches", 0)]).is_ok());
    }
}
