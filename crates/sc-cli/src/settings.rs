//! TOML files with `--set a.b=value` on top.

use crate::error::{Result, at, message};
use serde::de::DeserializeOwned;
use std::path::Path;
use toml::{Table, Value};

/// Reads a TOML file and applies the overrides.
pub(crate) fn read(path: Option<&Path>, sets: &[String]) -> Result<Table> {
    let table = match path {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| at(path, e))?;
            text.parse::<Table>()
                .map_err(|e| at(path, e.to_string().trim_end()))?
        }
        None => Table::new(),
    };
    change(table, sets)
}

/// Applies overrides.
pub(crate) fn change(mut table: Table, sets: &[String]) -> Result<Table> {
    for set in sets {
        apply(&mut table, set)?;
    }
    Ok(table)
}

/// Turns a table into settings; unknown keys are errors that name the known ones, and a value that
/// does not fit is told with its key.
pub(crate) fn parse<T: DeserializeOwned>(table: Table, from: &str) -> Result<T> {
    let table = Value::Table(table);
    // JSON, on the way to which they would become null, has no such numbers.
    if let Some((key, value)) = not_finite(&table, "") {
        return Err(message(format!(
            "{from}: {key} = {value}; settings are finite numbers"
        )));
    }
    // Through JSON, since part of a model's settings are read by the architecture later.
    let value = serde_json::to_value(table)?;
    sc_train::keys::parse(value).map_err(|e| message(format!("{from}: {e}")))
}

/// The key of the first number that is not finite.
fn not_finite(value: &Value, key: &str) -> Option<(String, f64)> {
    match value {
        Value::Float(v) if !v.is_finite() => Some((key.to_string(), *v)),
        Value::Array(all) => all.iter().find_map(|v| not_finite(v, key)),
        Value::Table(table) => table.iter().find_map(|(k, v)| match key {
            "" => not_finite(v, k),
            _ => not_finite(v, &format!("{key}.{k}")),
        }),
        _ => None,
    }
}

fn apply(table: &mut Table, set: &str) -> Result<()> {
    let (path, value) = set.split_once('=').ok_or_else(|| {
        message(format!(
            "--set {set}: write KEY=VALUE, as in train.steps=500"
        ))
    })?;
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    let last = keys.pop().filter(|k| !k.is_empty());
    let last = last.ok_or_else(|| message(format!("--set {set}: the key is empty")))?;
    let mut at = table;
    for key in keys {
        at = at
            .entry(key)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| message(format!("--set {set}: '{key}' is a value, not a table")))?;
    }
    at.insert(last.to_string(), value_of(value.trim()));
    Ok(())
}

/// A TOML value where the text is one, and a string where it is not.
fn value_of(text: &str) -> Value {
    format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_make_tables_and_keep_types() {
        let sets = [
            "train.steps=5".to_string(),
            "name=a b".into(),
            "x=[1, 2]".into(),
        ];
        let table = read(None, &sets).unwrap();
        assert_eq!(table["train"]["steps"].as_integer(), Some(5));
        assert_eq!(table["name"].as_str(), Some("a b"));
        assert_eq!(table["x"].as_array().unwrap().len(), 2);
        assert!(read(None, &["steps".into()]).is_err());
    }

    #[test]
    fn numbers_that_are_not_finite_are_told_by_their_key() {
        for value in ["nan", "inf", "-inf"] {
            let table = read(None, &[format!("train.clip={value}")]).unwrap();
            let error = parse::<serde_json::Value>(table, "here")
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("here: train.clip = "), "{error}");
        }
    }
}
