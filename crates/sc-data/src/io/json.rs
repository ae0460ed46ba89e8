//! JSON files with errors that name the key.

use crate::error::{DataError, Result};
use std::path::Path;

/// Reads the JSON `text` of the file at `path`; an error names the key and value that are wrong.
///
/// # Errors
/// [`DataError::File`] with the message.
pub fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    let error = match serde_json::from_str::<T>(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    // Formatted with one key per line, so that the line of an error identifies the key.
    let pretty = serde_json::from_str::<serde_json::Value>(text)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_default();
    let line = serde_json::from_str::<T>(&pretty)
        .err()
        .and_then(|e| pretty.lines().nth(e.line().checked_sub(1)?));
    let place = match line.map(str::trim).filter(|l| l.contains(':')) {
        Some(line) => format!("at {}: ", line.trim_end_matches(',')),
        None => String::new(),
    };
    Err(DataError::file(path, format!("{place}{error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_key_of_a_wrong_value_is_named() {
        let path = Path::new("result.json");
        let read = |text| parse::<BTreeMap<String, f64>>(path, text);
        assert_eq!(read("{\"a\": 1.5}").unwrap()["a"], 1.5);
        let error = read("{\"a\": 1.5, \"seconds\": null}")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("result.json: at \"seconds\": null: invalid type: null"),
            "{error}"
        );
        assert!(read("{").unwrap_err().to_string().contains("EOF"));
    }
}
