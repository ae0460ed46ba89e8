//! Settings read from JSON, with errors that name the key.
//!
//! serde reports what is wrong with a value but not where. The key is found afterwards: it is
//! the one whose removal changes the error.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads settings; an error begins with the key, as in `train.steps: invalid type: …`.
///
/// # Errors
/// The error of serde, with its key.
pub fn parse<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value.clone()).map_err(|e: serde_json::Error| {
        let message = e.to_string();
        let mut path = Vec::new();
        find::<T>(&value, &message, &mut path);
        // The message names the key itself.
        if message.starts_with("unknown field") {
            path.pop();
        }
        match path.is_empty() {
            true => plain(&message),
            false => format!("{}: {}", path.join("."), plain(&message)),
        }
    })
}

/// What serde says, with the types of numbers as a user calls them.
pub fn plain(message: &str) -> String {
    let mut message = message.to_string();
    for (types, word) in [
        (
            ["usize", "u64", "u32", "u16"].as_slice(),
            "an integer of 0 or more",
        ),
        (["i64", "i32"].as_slice(), "an integer"),
        (["f64", "f32"].as_slice(), "a number"),
    ] {
        for name in types {
            let end = format!("expected {name}");
            if let Some(rest) = message.strip_suffix(&end) {
                message = format!("{rest}expected {word}");
            }
        }
    }
    message
}

/// Adds the keys that lead to the value in `message`.
fn find<T: DeserializeOwned>(root: &Value, message: &str, path: &mut Vec<String>) {
    let here = match at(root, path) {
        Some(Value::Object(here)) => here,
        Some(Value::Array(items)) => return find_in_array::<T>(root, items, message, path),
        _ => return,
    };
    let matters = |key: &&String| {
        let mut without = root.clone();
        let removed = at_mut(&mut without, path).and_then(|v| v.as_object_mut()?.remove(*key));
        removed.is_some() && is_other::<T>(without, message)
    };
    let found: Vec<&String> = here.keys().filter(matters).collect();
    // Without its kind every other setting of a variant is unknown.
    let best = found.iter().find(|k| **k != "kind").or(found.first());
    let names_kind = here.len() > 1 && best.is_some_and(|k| *k == "kind");
    if let Some(key) = best.filter(|_| !names_kind || message.contains("variant")) {
        path.push((*key).clone());
        find::<T>(root, message, path);
    }
}

/// Entries are called by their name, as assignments call them, or else by their number.
fn find_in_array<T: DeserializeOwned>(
    root: &Value,
    items: &[Value],
    message: &str,
    path: &mut Vec<String>,
) {
    let matters = |place: &usize| {
        let mut without = root.clone();
        let removed = at_mut(&mut without, path).and_then(|v| {
            let items = v.as_array_mut()?;
            (*place < items.len()).then(|| items.remove(*place))
        });
        removed.is_some() && is_other::<T>(without, message)
    };
    if let Some(place) = (0..items.len()).find(matters) {
        let name = items[place].get("name").and_then(Value::as_str);
        path.push(name.map_or_else(|| place.to_string(), str::to_owned));
        find::<T>(root, message, path);
    }
}

/// Whether `value` is fine, or something else is wrong with it.
fn is_other<T: DeserializeOwned>(value: Value, message: &str) -> bool {
    let again = serde_json::from_value::<T>(value);
    again.map_or_else(|e| e.to_string() != message, |_| true)
}

fn at<'a>(root: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(root, |v, key| match v {
        Value::Array(items) => items.get(place(items, key)?),
        _ => v.get(key),
    })
}

fn at_mut<'a>(root: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(root, |v, key| match v {
        Value::Array(items) => {
            let place = place(items, key)?;
            items.get_mut(place)
        }
        _ => v.get_mut(key),
    })
}

/// Where the entry called `key` stands.
fn place(items: &[Value], key: &str) -> Option<usize> {
    let is_it = |item: &Value| item.get("name").and_then(Value::as_str) == Some(key);
    items.iter().position(is_it).or_else(|| key.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only whether they can be read matters")]
    struct Settings {
        seeds: Vec<u64>,
        methods: Vec<Method>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only whether they can be read matters")]
    struct Method {
        name: String,
        genes: u64,
    }

    #[test]
    fn a_value_in_an_array_is_called_by_its_entry() {
        let of = |seeds: Value, genes: Value| {
            let methods = json!([{ "name": "hvg", "genes": 1 }, { "name": "pca", "genes": genes }]);
            parse::<Settings>(json!({ "seeds": seeds, "methods": methods })).unwrap_err()
        };
        let said = of(json!([0]), json!(-1));
        assert!(
            said.starts_with("methods.pca.genes: invalid value"),
            "{said}"
        );
        assert!(said.ends_with("expected an integer of 0 or more"), "{said}");
        let said = of(json!([0, -1]), json!(1));
        assert!(said.starts_with("seeds.1: invalid value"), "{said}");
    }
}
