//! `--set a.b=value`: one value of a matrix, changed from the command line.

use crate::error::Error;
use std::path::Path;
use toml::{Table, Value};

/// Applies one assignment. Arrays of tables take a number or the `name` of an entry as key:
/// `methods.pca.options.components=30`, `data.0.path=FILE`.
pub(crate) fn apply(table: &mut Table, assignment: &str) -> Result<(), Error> {
    let fault = |message: String| Error::config(format!("--set {assignment}"), message);
    let (key, raw) = assignment
        .split_once('=')
        .ok_or_else(|| fault("write KEY=VALUE".to_owned()))?;
    let parts: Vec<&str> = key.trim().split('.').collect();
    if parts.iter().any(|p| p.is_empty()) {
        return Err(fault(
            "the key has an empty part; write a.b=value".to_owned(),
        ));
    }
    let value = anchored(&parts, value(raw.trim()));
    set(table, &parts, value).map_err(fault)
}

/// A TOML value, or the text itself where it is none: paths need no quotes.
fn value(raw: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {raw}"));
    match parsed.ok().and_then(|mut t| t.remove("value")) {
        Some(value) => value,
        None => Value::String(raw.to_owned()),
    }
}

/// Paths of the command line count from the current folder, those of the file from its own.
fn anchored(parts: &[&str], value: Value) -> Value {
    let is_path = matches!(
        parts,
        ["data", "path"] | ["data", _, "path"] | ["methods", _, "model"]
    );
    match &value {
        Value::String(text) if is_path => match std::path::absolute(Path::new(text)) {
            Ok(path) => Value::String(path.to_string_lossy().into_owned()),
            Err(_) => value,
        },
        _ => value,
    }
}

fn set(table: &mut Table, parts: &[&str], value: Value) -> Result<(), String> {
    let Some((first, rest)) = parts.split_first() else {
        return Err("the key is empty; write a.b=value".to_owned());
    };
    if rest.is_empty() {
        table.insert((*first).to_owned(), value);
        return Ok(());
    }
    let entry = table
        .entry((*first).to_owned())
        .or_insert_with(|| Value::Table(Table::new()));
    match entry {
        Value::Table(inner) => set(inner, rest, value),
        Value::Array(items) => set_in_array(items, first, rest, value),
        _ => Err(format!(
            "`{first}` holds a plain value and has no keys below it"
        )),
    }
}

fn set_in_array(
    items: &mut [Value],
    array: &str,
    parts: &[&str],
    value: Value,
) -> Result<(), String> {
    let Some((which, rest)) = parts.split_first() else {
        return Err(format!(
            "`{array}` is an array; write {array}.NAME.KEY=VALUE"
        ));
    };
    let names: Vec<String> = items
        .iter()
        .enumerate()
        .map(|(i, item)| match item.get("name").and_then(Value::as_str) {
            Some(name) => name.to_owned(),
            None => i.to_string(),
        })
        .collect();
    let index = names
        .iter()
        .position(|n| n == which)
        .or_else(|| which.parse().ok().filter(|i| *i < items.len()));
    match index.map(|i| &mut items[i]) {
        Some(Value::Table(inner)) => set(inner, rest, value),
        _ => Err(format!(
            "`{array}` has no entry `{which}`; it has {}",
            names.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str, assignment: &str) -> Result<Table, String> {
        let mut table: Table = toml::from_str(text).expect("a table");
        apply(&mut table, assignment).map_err(|e| e.to_string())?;
        Ok(table)
    }

    #[test]
    fn values_are_toml_or_text() {
        assert_eq!(value("3"), Value::Integer(3));
        assert_eq!(value("[1, 2]"), Value::Array(vec![1.into(), 2.into()]));
        assert_eq!(value("some text"), Value::String("some text".to_owned()));
        assert_eq!(value("\"3\""), Value::String("3".to_owned()));
    }

    #[test]
    fn arrays_are_entered_by_name_or_number() {
        let text = "[[methods]]\nname = \"pca\"\n[[methods]]\nname = \"hvg\"\n";
        for key in ["methods.hvg.options.genes", "methods.1.options.genes"] {
            let table = applied(text, &format!("{key}=500")).expect("a known entry");
            let genes = table["methods"][1]["options"]["genes"].as_integer();
            assert_eq!(genes, Some(500));
        }
        let said = applied(text, "methods.vae.x=1").expect_err("an unknown entry");
        assert!(said.contains("pca, hvg"), "{said}");
    }

    #[test]
    fn paths_count_from_the_current_folder() {
        let table = applied("", "data.path=some.h5ad").expect("a path");
        let path = table["data"]["path"].as_str().unwrap_or_default();
        assert!(
            Path::new(path).is_absolute() && path.ends_with("some.h5ad"),
            "{path}"
        );
    }

    #[test]
    fn what_is_no_assignment_says_so() {
        assert!(applied("", "data.path").is_err());
        assert!(applied("", "data..path=1").is_err());
        assert!(applied("name = \"x\"", "name.y=1").is_err());
    }
}
