//! The numbers of settings.

use serde_json::Value;

/// The keys that lead to every number below a table.
pub(crate) fn numbers(settings: &Value) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    below(settings, &mut Vec::new(), &mut found);
    found
}

fn below(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                path.push(key.clone());
                below(value, path, found);
                path.pop();
            }
        }
        Value::Number(_) => found.push(path.clone()),
        _ => {}
    }
}
