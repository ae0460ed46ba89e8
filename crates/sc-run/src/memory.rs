//! Checks whether a network fits into memory, before anything is allocated.

use crate::error::{Result, RunError};

/// Bytes per parameter in training: weight, gradient and both moments.
pub const TRAINING: u64 = 16;

/// Refuses a network of this many parameters, of `bytes` each, that does not fit into memory. Other
/// devices have their own memory, which is not checked.
///
/// # Errors
/// [`RunError::TooLarge`] with both numbers.
pub fn fits(parameters: usize, bytes: u64, device: &str) -> Result<()> {
    match (device, sc_data::memory::free()) {
        ("flex" | "ndarray", Some(free)) => refuse(parameters, bytes, free),
        _ => Ok(()),
    }
}

fn refuse(parameters: usize, bytes: u64, free: u64) -> Result<()> {
    let needed = (parameters as u64).saturating_mul(bytes);
    if needed <= free {
        return Ok(());
    }
    Err(RunError::TooLarge {
        parameters,
        needed: needed as f64 / 1e9,
        free: free as f64 / 1e9,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_told_in_numbers() {
        assert!(refuse(10, TRAINING, 160).is_ok());
        let error = refuse(2_000_000_000, TRAINING, 8_000_000_000).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("32.0 GB") && error.contains("8.0 GB are free"),
            "{error}"
        );
        assert!(refuse(usize::MAX, TRAINING, u64::MAX - 1).is_err());
        assert!(fits(usize::MAX, TRAINING, "cuda").is_ok());
    }
}
