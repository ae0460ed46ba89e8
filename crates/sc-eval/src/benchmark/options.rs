//! Options of baselines and controls: every one is used or refused.

use crate::error::EvalError;
use serde::{Deserialize, Serialize};

/// Options of a baseline or control. An option that the method does not have is refused by
/// [`MethodOptions::check`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodOptions {
    /// The method, where it is not the name of the row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Principal components of `pca`, and of what is computed on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<usize>,
    /// Most variable genes of `hvg`, `pca` and what is computed on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub genes: Option<usize>,
    /// Neighbours that vote in `knn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbors: Option<usize>,
    /// Dimensions of `random-embedding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<usize>,
}

/// The most of anything.
const MOST: usize = 100_000;

/// Which options a method has.
fn known(method: &str) -> &'static [&'static str] {
    match method {
        "hvg" => &["genes"],
        "pca" | "shuffled-labels" => &["components", "genes"],
        "knn" => &["components", "genes", "neighbors"],
        "random-embedding" => &["dimensions"],
        _ => &[],
    }
}

impl MethodOptions {
    /// What is set, by name, the method left out.
    pub fn given(&self) -> Vec<(&'static str, usize)> {
        let all = [
            ("components", self.components),
            ("genes", self.genes),
            ("neighbors", self.neighbors),
            ("dimensions", self.dimensions),
        ];
        all.into_iter().filter_map(|(k, v)| Some((k, v?))).collect()
    }

    /// The method of the row `name`, with options that it has and in their ranges.
    ///
    /// # Errors
    /// [`EvalError::Invalid`] for an option that the method does not have, or a value out of its range.
    pub fn check<'a>(&'a self, name: &'a str) -> Result<&'a str, EvalError> {
        let fail = |what: String| EvalError::invalid(format!("methods.{name}.options{what}"));
        let method = self.method.as_deref().unwrap_or(name);
        let known = known(method);
        for (key, value) in self.given() {
            if !known.contains(&key) {
                let has = match known {
                    [] => "it has no options".to_string(),
                    _ => format!("it has {}", known.join(", ")),
                };
                return Err(fail(format!(".{key} does nothing for {method}; {has}")));
            }
            if !(1..=MOST).contains(&value) {
                return Err(fail(format!(
                    ".{key} = {value}; must lie between 1 and {MOST}"
                )));
            }
        }
        Ok(method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn options(value: Value) -> MethodOptions {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn options_are_used_or_refused() {
        let pca = options(json!({ "components": 30 }));
        assert_eq!(
            (pca.check("pca").unwrap(), pca.components),
            ("pca", Some(30))
        );
        // A row of another name says which method it is.
        let named = options(json!({ "method": "pca", "components": 20 }));
        assert_eq!(named.check("pca-20").unwrap(), "pca");
        for (name, value, wanted) in [
            (
                "pca",
                json!({ "neighbors": 3 }),
                "options.neighbors does nothing for pca; it has components",
            ),
            ("one-hot", json!({ "genes": 3 }), "it has no options"),
            (
                "hvg",
                json!({ "genes": 0 }),
                "options.genes = 0; must lie between 1 and",
            ),
        ] {
            let error = options(value).check(name).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        for wrong in [json!({ "componets": 3 }), json!({ "neighbors": -1 })] {
            assert!(serde_json::from_value::<MethodOptions>(wrong).is_err());
        }
    }
}
