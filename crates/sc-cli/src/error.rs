//! Errors of the binary: a message for people, on one line where that is possible.

use std::path::Path;

/// Anything a verb can fail with; the message is the whole story.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Result of a verb.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with this message.
pub(crate) fn message(text: impl Into<String>) -> Error {
    text.into().into()
}

/// An error about the file or folder at `path`.
pub(crate) fn at(path: &Path, text: impl std::fmt::Display) -> Error {
    message(format!("{}: {text}", path.display()))
}

/// Reads the JSON `text` of the file at `path`; an error shows the key and the value that are wrong.
pub(crate) fn json<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    let error = match serde_json::from_str::<T>(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    // Written one key a line, the line that an error names says which it is.
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
    Err(at(path, format!("{place}{error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_key_of_a_wrong_value_is_named() {
        let path = Path::new("result.json");
        let read = |text| json::<BTreeMap<String, f64>>(path, text);
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
