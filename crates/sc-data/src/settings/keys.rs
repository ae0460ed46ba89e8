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

/// Number types in plain words.
fn plain(message: &str) -> String {
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
    let Some(Value::Object(here)) = at(root, path) else {
        return;
    };
    let matters = |key: &&String| {
        let mut without = root.clone();
        let place = path.iter().try_fold(&mut without, |v, k| v.get_mut(k));
        let removed = place.and_then(|v| v.as_object_mut()?.remove(*key));
        let again = serde_json::from_value::<T>(without);
        removed.is_some() && again.map_or_else(|e| e.to_string() != message, |_| true)
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

fn at<'a>(root: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(root, |v, key| v.get(key))
}
