//! Where two configurations differ: one of a model's folder that somebody changed by hand would build
//! another network, or read cells in another way, than the weights were trained with.

use serde_json::Value;

/// The first key whose values differ, with both.
pub(super) fn first_difference(now: &Value, then: &Value) -> Option<(String, Value, Value)> {
    differs(now, then, String::new())
}

fn differs(now: &Value, then: &Value, key: String) -> Option<(String, Value, Value)> {
    let below = |name: &str| match key.is_empty() {
        true => name.to_owned(),
        false => format!("{key}.{name}"),
    };
    match (now, then) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k)));
            let of = |map: &serde_json::Map<String, Value>, name: &str| {
                map.get(name).cloned().unwrap_or(Value::Null)
            };
            names
                .into_iter()
                .find_map(|name| differs(&of(a, name), &of(b, name), below(name)))
        }
        (now, then) if now == then => None,
        (now, then) => Some((key, now.clone(), then.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_key_that_differs_is_named() {
        let then = json!({ "seed": 0, "spec": { "network": { "width": 8, "heads": [1, 2] } } });
        assert_eq!(first_difference(&then, &then), None);
        let mut now = then.clone();
        now["spec"]["network"]["width"] = json!(16);
        let wanted = ("spec.network.width".to_owned(), json!(16), json!(8));
        assert_eq!(first_difference(&now, &then), Some(wanted));
        let mut now = then.clone();
        now["niche"] = json!(1);
        let wanted = ("niche".to_owned(), json!(1), Value::Null);
        assert_eq!(first_difference(&now, &then), Some(wanted));
    }
}
