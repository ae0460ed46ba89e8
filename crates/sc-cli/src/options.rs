//! Options of the baselines and controls of an experiment, `methods.NAME.options`: every one is used or
//! refused.

use crate::error::{Result, message};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Options of a method, in the method's own terms.
// Read by the methods, which take them one after the other.
#[allow(dead_code)]
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Options {
    /// The method, where it is not the name of the row.
    pub(crate) method: Option<String>,
    /// Principal components of `pca`, and of what is computed on them.
    pub(crate) components: Option<usize>,
    /// Most variable genes of `hvg`, `pca` and what is computed on them.
    pub(crate) genes: Option<usize>,
    /// Neighbours that vote in `knn`.
    pub(crate) neighbors: Option<usize>,
    /// Dimensions of `random-embedding`.
    pub(crate) dimensions: Option<usize>,
}

/// Every option any method has, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    method: Option<String>,
    components: Option<usize>,
    genes: Option<usize>,
    neighbors: Option<usize>,
    dimensions: Option<usize>,
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

/// Reads the options of the row `name`.
///
/// # Errors
/// An option that the method does not have, or a value out of its range.
pub(crate) fn read(name: &str, options: &Map<String, Value>) -> Result<Options> {
    let fail = |what: String| message(format!("methods.{name}.options{what}"));
    let written: Written = sc_train::keys::parse(Value::Object(options.clone()))
        .map_err(|e| fail(format!(": {e}")))?;
    let method = written.method.as_deref().unwrap_or(name);
    let known = known(method);
    let given = options.keys().filter(|k| *k != "method");
    if let Some(other) = given.clone().find(|k| !known.contains(&k.as_str())) {
        let has = match known {
            [] => "it has no options".to_string(),
            _ => format!("it has {}", known.join(", ")),
        };
        return Err(fail(format!(".{other} does nothing for {method}; {has}")));
    }
    for (key, value) in [
        ("components", written.components),
        ("genes", written.genes),
        ("neighbors", written.neighbors),
        ("dimensions", written.dimensions),
    ] {
        if let Some(n) = value.filter(|n| !(1..=MOST).contains(n)) {
            return Err(fail(format!(".{key} = {n}; must lie between 1 and {MOST}")));
        }
    }
    Ok(Options {
        method: written.method,
        components: written.components,
        genes: written.genes,
        neighbors: written.neighbors,
        dimensions: written.dimensions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn options(name: &str, value: Value) -> Result<Options> {
        read(name, value.as_object().unwrap())
    }

    #[test]
    fn options_are_used_or_refused() {
        let pca = options("pca", json!({ "components": 30 })).unwrap();
        assert_eq!(pca.components, Some(30));
        // A row of another name says which method it is.
        let named = options("pca-20", json!({ "method": "pca", "components": 20 })).unwrap();
        assert_eq!(named.method.as_deref(), Some("pca"));
        for (name, value, told) in [
            (
                "pca",
                json!({ "neighbors": 3 }),
                "options.neighbors does nothing for pca; it has components",
            ),
            ("one-hot", json!({ "genes": 3 }), "it has no options"),
            (
                "pca",
                json!({ "componets": 3 }),
                "unknown field `componets`",
            ),
            (
                "hvg",
                json!({ "genes": 0 }),
                "options.genes = 0; must lie between 1 and",
            ),
            (
                "knn",
                json!({ "neighbors": -1 }),
                "methods.knn.options: neighbors: ",
            ),
            ("knn", json!({ "neighbors": 1.5 }), "neighbors: "),
        ] {
            let error = options(name, value).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
