//! The public items of the libraries, listed in `docs/api`, so that changes are visible.
//!
//! A listing is textual: every line that begins a public item, outside of tests, with its
//! module. It is not a list of importable paths, and need not be.

use super::Finding;
use super::sources::{Test, code_of};
use crate::error::Error;
use std::collections::BTreeMap;
use std::path::Path;

/// Text of every listing, by its path from the root.
pub(super) type Listings = BTreeMap<String, String>;

/// Crates that others build on.
const LIBRARIES: &[&str] = &[
    "sc-data",
    "sc-models",
    "sc-train",
    "sc-eval",
    "sc-experiment",
    "sc-run",
];

/// Adds the public items of a source file to the listing of its crate.
pub(super) fn add(file: &str, text: &str, listings: &mut Listings) {
    let Some((library, module)) = place(file) else {
        return;
    };
    let listing = listings
        .entry(format!("docs/api/{library}.txt"))
        .or_default();
    for item in items(text) {
        listing.push_str(&format!("{module}: {item}\n"));
    }
}

/// Crate and module of a source file of a library.
fn place(file: &str) -> Option<(&str, String)> {
    let (library, rest) = file.strip_prefix("crates/")?.split_once("/src/")?;
    let path = rest.strip_suffix(".rs")?;
    let of_tests = path.ends_with("tests") || path.ends_with("testing");
    if !LIBRARIES.contains(&library) || of_tests || path.contains("/tests/") {
        return None;
    }
    let module = match path {
        "lib" => "crate".to_owned(),
        path => path.replace('/', "::"),
    };
    Some((library, module))
}

/// The first lines of public items, each on one line.
fn items(text: &str) -> Vec<String> {
    let mut test = Test::default();
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        let code = code_of(line);
        if test.holds(code) {
            continue;
        }
        let code = code.trim();
        let mut item = match open.take() {
            Some(before) => format!("{before} {code}"),
            None if code.starts_with("pub ") => code.to_owned(),
            None => continue,
        };
        let ends = [" {", ";", ","].iter().any(|end| item.ends_with(end)) || item.ends_with('}');
        let in_brackets = item.matches('(').count() > item.matches(')').count()
            || item.starts_with("pub use") && item.matches('{').count() > item.matches('}').count();
        if !ends || in_brackets {
            open = Some(item);
            continue;
        }
        item.truncate(item.trim_end_matches(['{', ';', ',', ' ']).len());
        found.push(
            item.replace("( ", "(")
                .replace(", )", ")")
                .replace(", }", "}"),
        );
    }
    found
}

/// Compares with the repository, or writes the listings.
pub(super) fn check(root: &Path, listings: &Listings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in listings {
        let known = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        if known == *text {
            continue;
        }
        let first = |of: &str, other: &str| {
            let new = of.lines().find(|l| !other.lines().any(|o| o == *l));
            new.unwrap_or("the order only").to_owned()
        };
        let what = format!(
            "the public API changed (new: {}; removed: {}); if intended, run `cargo xtask tidy --bless`",
            first(text, &known),
            first(&known, text)
        );
        findings.push(Finding::new(file.as_str(), 0, what));
    }
    findings
}

/// Writes the listings into the repository.
pub(super) fn bless(root: &Path, listings: &Listings) -> Result<(), Error> {
    for (file, text) in listings {
        let path = root.join(file);
        let folder = path.parent().unwrap_or(root);
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        std::fs::write(&path, text).map_err(Error::io(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_items_stand_on_a_line_each() {
        let text = "pub struct A {\n    /// Doc\n    pub b: u8,\n}\nimpl A {\n    pub fn long(\n        x: u8,\n    ) -> u8 {\n        pub_like()\n    }\n}\npub(crate) fn hidden() {}\n#[cfg(test)]\nmod tests {\n    pub fn t() {}\n}\npub use a::{B, C};\n";
        let mut listings = Listings::new();
        add("crates/sc-data/src/a/b.rs", text, &mut listings);
        add("crates/sc-cli/src/main.rs", text, &mut listings);
        let expected = "a::b: pub struct A\na::b: pub b: u8\na::b: pub fn long(x: u8) -> u8\na::b: pub use a::{B, C}\n";
        assert_eq!(listings.len(), 1);
        assert_eq!(listings["docs/api/sc-data.txt"], expected);
    }
}
