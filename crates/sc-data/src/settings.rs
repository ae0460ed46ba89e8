//! Settings of models, simulations, runs and experiments: TOML, with `a.b=value` on top.

pub mod keys;

use crate::error::{DataError, Result};
use serde::de::DeserializeOwned;
use std::path::Path;
use toml::{Table, Value};

/// Reads a TOML file.
///
/// # Errors
/// [`DataError::File`] with the line, when it is not TOML.
pub fn read(path: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(path).map_err(|e| DataError::io(path, e))?;
    text.parse()
        .map_err(|e: toml::de::Error| DataError::file(path, e.to_string().trim_end()))
}

/// Applies assignments such as `train.steps=500`, in order.
///
/// # Errors
/// [`DataError::Invalid`] naming the assignment.
pub fn change(mut table: Table, assignments: &[String]) -> Result<Table> {
    for text in assignments {
        let assignment = Assignment::parse(text)?;
        assignment.apply(&mut table)?;
    }
    Ok(table)
}

/// Converts a table into settings; unknown keys are errors that list the known ones, and a value
/// of the wrong type is reported with its key.
///
/// # Errors
/// [`DataError::Invalid`] with `from`, the key and the value.
pub fn parse<T: DeserializeOwned>(table: Table, from: &str) -> Result<T> {
    let fail = |e: String| DataError::Invalid(format!("{from}: {e}"));
    let table = Value::Table(table);
    // Non-finite numbers would become null in JSON.
    if let Some((key, value)) = not_finite(&table, "") {
        return Err(fail(format!(
            "{key} = {value}; settings are finite numbers"
        )));
    }
    // Through JSON, since the architecture parses part of a model's settings later.
    let value = serde_json::to_value(table).map_err(|e| fail(e.to_string()))?;
    keys::parse(value).map_err(fail)
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

/// `a.b=value`: one value of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The key, part by part. In an array of tables a part is an index or the `name` of an entry:
    /// `methods.pca.options.components`, `data.0.path`.
    pub key: Vec<String>,
    /// A TOML value, or the text itself where it is not TOML: paths need no quotes.
    pub value: Value,
    text: String,
}

impl Assignment {
    /// Reads `KEY=VALUE`.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when there is no `=`, or a part of the key is empty.
    pub fn parse(text: &str) -> Result<Self> {
        let fail = |what: &str| Err(DataError::Invalid(format!("{text}: {what}")));
        let Some((key, value)) = text.split_once('=') else {
            return fail("write KEY=VALUE, as in train.steps=500");
        };
        let key: Vec<String> = key.trim().split('.').map(str::to_owned).collect();
        if key.iter().any(String::is_empty) {
            return fail("the key has an empty part; write a.b=value");
        }
        Ok(Self {
            key,
            value: value_of(value.trim()),
            text: text.to_owned(),
        })
    }

    /// Sets the value in `table`; missing tables are created.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when the key leads through a value, or to no entry of an array.
    pub fn apply(&self, table: &mut Table) -> Result<()> {
        set(table, &self.key, self.value.clone())
            .map_err(|e| DataError::Invalid(format!("{}: {e}", self.text)))
    }
}

fn value_of(text: &str) -> Value {
    let parsed = format!("v = {text}").parse::<Table>().ok();
    let value = parsed.and_then(|mut t| t.remove("v"));
    value.unwrap_or_else(|| Value::String(text.to_string()))
}

fn set(table: &mut Table, key: &[String], value: Value) -> std::result::Result<(), String> {
    let Some((first, rest)) = key.split_first() else {
        return Err("the key is empty; write a.b=value".to_owned());
    };
    if rest.is_empty() {
        table.insert(first.clone(), value);
        return Ok(());
    }
    let entry = table
        .entry(first.clone())
        .or_insert_with(|| Value::Table(Table::new()));
    match entry {
        Value::Table(inner) => set(inner, rest, value),
        Value::Array(items) => set_in_array(items, first, rest, value),
        _ => Err(format!(
            "'{first}' is a value, not a table, so it has no keys"
        )),
    }
}

fn set_in_array(
    items: &mut [Value],
    array: &str,
    key: &[String],
    value: Value,
) -> std::result::Result<(), String> {
    let Some((which, rest)) = key.split_first() else {
        return Err(format!(
            "'{array}' is an array; write {array}.NAME.KEY=VALUE"
        ));
    };
    let name = |(i, item): (usize, &Value)| match item.get("name").and_then(Value::as_str) {
        Some(name) => name.to_owned(),
        None => i.to_string(),
    };
    let names: Vec<String> = items.iter().enumerate().map(name).collect();
    let by_name = names.iter().position(|n| n == which);
    let by_number = which.parse().ok().filter(|i: &usize| *i < items.len());
    match by_name.or(by_number).map(|i| &mut items[i]) {
        Some(Value::Table(inner)) => set(inner, rest, value),
        _ => Err(format!(
            "'{array}' has no entry '{which}'; it has {}",
            names.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str, assignment: &str) -> Result<Table> {
        change(text.parse().unwrap(), &[assignment.to_owned()])
    }

    #[test]
    fn assignments_make_tables_and_keep_types() {
        let of = |assignment| applied("", assignment).unwrap();
        assert_eq!(of("train.steps=5")["train"]["steps"].as_integer(), Some(5));
        assert_eq!(of("name=a b")["name"].as_str(), Some("a b"));
        assert_eq!(of("name=\"3\"")["name"].as_str(), Some("3"));
        assert_eq!(of("x=[1, 2]")["x"].as_array().unwrap().len(), 2);
        for (text, wrong) in [
            ("", "steps"),
            ("", "data..path=1"),
            ("name = \"x\"", "name.y=1"),
        ] {
            let error = applied(text, wrong).unwrap_err().to_string();
            assert!(error.starts_with(wrong), "{error}");
        }
    }

    #[test]
    fn arrays_are_entered_by_name_or_number() {
        let text = "[[methods]]\nname = \"pca\"\n[[methods]]\nname = \"hvg\"\n";
        for key in ["methods.hvg.options.genes", "methods.1.options.genes"] {
            let table = applied(text, &format!("{key}=500")).unwrap();
            let genes = table["methods"][1]["options"]["genes"].as_integer();
            assert_eq!(genes, Some(500));
        }
        let error = applied(text, "methods.vae.x=1").unwrap_err().to_string();
        assert!(error.contains("pca, hvg"), "{error}");
    }

    #[test]
    fn numbers_that_are_not_finite_are_told_by_their_key() {
        for value in ["nan", "inf", "-inf"] {
            let table = applied("", &format!("train.clip={value}")).unwrap();
            let error = parse::<serde_json::Value>(table, "here")
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("here: train.clip = "), "{error}");
        }
    }
}
