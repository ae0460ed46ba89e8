//! Every dependency must have a licence compatible with MIT OR Apache-2.0.

use super::Finding;
use super::metadata::Metadata;

/// Allowed licences. deny.toml has the same list.
pub(super) const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "bzip2-1.0.6",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that pass despite their manifest, each with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[(
    "cfg_block",
    "its manifest names a file instead of an expression; the file is the notice of Apache-2.0",
)];

pub(super) fn check(metadata: &Metadata) -> Vec<Finding> {
    let evaluated = metadata.packages.iter().filter_map(|p| {
        if EXCEPTIONS.iter().any(|e| e.0 == p.name) {
            return None;
        }
        let what = match p.license.as_deref() {
            None => "has no licence".to_owned(),
            Some(expression) => match allowed(expression) {
                Some(true) => return None,
                Some(false) => format!("is under `{expression}`"),
                None => format!("has the licence `{expression}`, which is not an SPDX expression"),
            },
        };
        let what = format!(
            "{} {} {what}; replace it, or add it to the exceptions of xtask/src/tidy/licences.rs and of deny.toml with a reason",
            p.name, p.version
        );
        Some(Finding::new("Cargo.lock", 0, what))
    });
    evaluated.collect()
}

/// Whether one of the choices of an SPDX expression is allowed; `None` when it cannot be parsed.
fn allowed(expression: &str) -> Option<bool> {
    // Before SPDX, a slash meant OR.
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    let verdict = any(&mut rest)?;
    rest.is_empty().then_some(verdict)
}

fn any(tokens: &mut &[&str]) -> Option<bool> {
    let mut verdict = all(tokens)?;
    while eat(tokens, "OR") {
        // Not short-circuited: the rest must be parsed.
        verdict |= all(tokens)?;
    }
    Some(verdict)
}

fn all(tokens: &mut &[&str]) -> Option<bool> {
    let mut verdict = one(tokens)?;
    while eat(tokens, "AND") {
        verdict &= one(tokens)?;
    }
    Some(verdict)
}

fn one(tokens: &mut &[&str]) -> Option<bool> {
    if eat(tokens, "(") {
        let verdict = any(tokens)?;
        return eat(tokens, ")").then_some(verdict);
    }
    let (first, rest) = tokens.split_first()?;
    if matches!(*first, "OR" | "AND" | "WITH" | ")") {
        return None;
    }
    *tokens = rest;
    let mut name = (*first).to_owned();
    if eat(tokens, "WITH") {
        let (exception, rest) = tokens.split_first()?;
        *tokens = rest;
        name = format!("{name} WITH {exception}");
    }
    Some(ALLOWED.contains(&name.as_str()))
}

fn eat(tokens: &mut &[&str], wanted: &str) -> bool {
    match tokens.split_first() {
        Some((first, rest)) if *first == wanted => {
            *tokens = rest;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        for (expression, expected) in [
            ("MIT", Some(true)),
            ("MIT OR Apache-2.0", Some(true)),
            ("MIT/Apache-2.0", Some(true)),
            ("GPL-3.0", Some(false)),
            ("GPL-3.0 OR MIT", Some(true)),
            ("MIT AND GPL-3.0", Some(false)),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", Some(true)),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0", Some(true)),
            ("Apache-2.0 WITH Other-exception", Some(false)),
            ("MIT OR (GPL-2.0 AND ISC)", Some(true)),
            ("MIT MIT", None),
            ("(MIT", None),
            ("MIT OR", None),
            ("", None),
        ] {
            assert_eq!(allowed(expression), expected, "{expression}");
        }
    }

    #[test]
    fn deny_toml_holds_the_same_list() {
        let path = crate::process::root().join("deny.toml");
        let text = std::fs::read_to_string(path).expect("deny.toml");
        let table: toml::Table = toml::from_str(&text).expect("deny.toml is TOML");
        let listed: Vec<&str> = table["licenses"]["allow"]
            .as_array()
            .expect("an array")
            .iter()
            .filter_map(|v| v.as_str())
            .collect();
        assert_eq!(listed, ALLOWED);
    }
}
