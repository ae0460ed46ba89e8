//! Rules about the text of files.

use super::Finding;

/// Longer files are hard to navigate.
const MAX_LINES: usize = 700;

/// Macros that print, and where they are allowed.
const PRINTING: &[&str] = &["println", "eprintln", "print", "eprint", "dbg"];
/// Macros that mark unfinished work.
const UNFINISHED: &[&str] = &["todo", "unimplemented"];
/// Sources of randomness that are not reproducible.
const UNSEEDED: &[&str] = &[
    "thread_rng",
    "from_entropy",
    "from_os_rng",
    "try_from_os_rng",
    "OsRng",
    "SysRng",
];

/// Machine-specific paths. Written in parts, so that this file does not match itself.
const PLACES: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/tmp/", "bash"),
    concat!("/Use", "rs/"),
];

/// Files that make a matrix dense, and which: never a whole data set with all its genes.
const DENSE: &[&str] = &[
    // A minibatch.
    "crates/sc-models/src/layers/sparse.rs",
    "crates/sc-models/src/layers/nb.rs",
    "crates/sc-models/src/layers/zinb.rs",
    "crates/sc-train/src/losses/scprint.rs",
    "crates/sc-train/src/tasks/perceptron.rs",
    // 2,000 variable genes, as an embedding.
    "crates/sc-eval/src/benchmark.rs",
];

/// Network access. Written in parts, so that this file does not match itself.
const NETWORK: &[&str] = &[
    concat!("std::", "net"),
    concat!("Tcp", "Stream"),
    concat!("Udp", "Socket"),
    concat!("req", "west::"),
    concat!("ur", "eq::"),
];

/// All rules on one file, named by its path from the root.
pub(super) fn check(file: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if file.ends_with("mod.rs") && file.rsplit('/').next() == Some("mod.rs") {
        let what = "a mod.rs; name the file after its module, next to the folder";
        findings.push(Finding::new(file, 0, what));
    }
    if file != "Cargo.lock" && !file.ends_with(".safetensors") {
        lines(file, text, &mut findings);
    }
    if file.ends_with(".rs") {
        rust(file, text, &mut findings);
    }
    findings
}

fn lines(file: &str, text: &str, findings: &mut Vec<Finding>) {
    for (i, line) in text.lines().enumerate() {
        for place in PLACES {
            if line.contains(place) {
                let what = format!(
                    "holds a path of one machine (`{place}`); use a relative path or a variable"
                );
                findings.push(Finding::new(file, i + 1, what));
            }
        }
        if line.ends_with([' ', '\t']) {
            findings.push(Finding::new(file, i + 1, "trailing whitespace; remove it"));
        }
    }
}

/// Rules that apply to a Rust file.
struct Scope {
    /// A library crate: no printing, no panics on user data.
    library: bool,
    /// A file of tests as a whole.
    tests: bool,
}

fn scope(file: &str) -> Scope {
    let binary = ["crates/sc-cli/", "xtask/", "tests/", "benches/"];
    let name = file.rsplit('/').next().unwrap_or(file);
    Scope {
        library: file.starts_with("crates/")
            && name != "build.rs"
            && !binary.iter().any(|b| file.starts_with(b)),
        tests: name == "tests.rs"
            || name.ends_with("_tests.rs")
            || file.contains("/tests/")
            || file.starts_with("tests/")
            || file.contains("/benches/")
            || file.contains("/examples/")
            || file.starts_with("fuzz/"),
    }
}

fn rust(file: &str, text: &str, findings: &mut Vec<Finding>) {
    let count = text.lines().count();
    if count > MAX_LINES {
        let what = format!("{count} lines; split it below {MAX_LINES}");
        findings.push(Finding::new(file, 0, what));
    }
    let in_source = file.starts_with("crates/") || file.starts_with("xtask/src/");
    if in_source && file.contains("/src/") && !text.trim_start().starts_with("//!") {
        let what = "no module docs; begin with `//!` and say what the module is for";
        findings.push(Finding::new(file, 1, what));
    }
    let scope = scope(file);
    let mut test = Test::default();
    for (i, line) in text.lines().enumerate() {
        let code = code_of(line);
        let in_tests = test.holds(code) || scope.tests;
        let mut found = |what: String| findings.push(Finding::new(file, i + 1, what));
        for attribute in [concat!("#[ig", "nore"), concat!("#[should", "_panic")] {
            if code.contains(attribute) {
                found(format!(
                    "`{attribute}`; make the test run always and compare what it returns"
                ));
            }
        }
        for name in NETWORK.iter().filter(|n| code.contains(**n)) {
            found(format!(
                "`{name}`; no code may access the network, including tests"
            ));
        }
        let dense = code.contains(".to_dense()") && !in_tests && scope.library;
        if dense && !DENSE.contains(&file) {
            found(
                "`.to_dense()`; keep it sparse, or if it is a minibatch add the file to the list in \
                 xtask/src/tidy/sources.rs"
                    .into(),
            );
        }
        for name in UNFINISHED.iter().filter(|n| calls(code, n, '!')) {
            found(format!("`{name}!`; finish it or return an error"));
        }
        if scope.library {
            for name in PRINTING.iter().filter(|n| !in_tests && calls(code, n, '!')) {
                found(format!(
                    "`{name}!` in a library; return the text or use tracing"
                ));
            }
            for name in UNSEEDED.iter().filter(|n| has_word(code, n)) {
                found(format!(
                    "`{name}` is not reproducible; use sc_data::rng with the seed of the run"
                ));
            }
            if let Some(what) = forbidden_io(file, code).filter(|_| !in_tests) {
                found(what);
            }
        }
        for name in ["unwrap", "expect"]
            .iter()
            .filter(|n| !in_tests && method(code, n))
        {
            found(format!("`.{name}(…)` outside tests; return an error"));
        }
    }
}

/// The test item that contains the current line.
#[derive(Default)]
pub(super) struct Test {
    /// Indentation of its attribute, which is also that of its closing brace.
    indent: Option<usize>,
    /// Whether its first line was read.
    begun: bool,
}

impl Test {
    /// Whether the next line is in tests. `cargo fmt` ensures that an item ends at a brace
    /// with the indentation of its attribute, or on its first line.
    pub(super) fn holds(&mut self, code: &str) -> bool {
        let line = code.trim();
        let spaces = code.len() - code.trim_start().len();
        let Some(indent) = self.indent else {
            if begins_tests(line) {
                (self.indent, self.begun) = (Some(spaces), false);
            }
            return self.indent.is_some();
        };
        let closed = spaces == indent && line.starts_with('}');
        let short = !self.begun && line.ends_with([';', ',', '}']);
        if closed || short {
            self.indent = None;
        }
        self.begun |= !line.is_empty() && !line.starts_with("#[");
        true
    }
}

/// `#[cfg(test)]` and its relatives, such as `#[cfg(all(test, feature = "flex"))]`.
fn begins_tests(code: &str) -> bool {
    code == "#[cfg(test)]" || code.starts_with("#[cfg(all(test,")
}

/// Crates without input and output.
fn forbidden_io(file: &str, code: &str) -> Option<String> {
    if !code.contains("std::fs") {
        return None;
    }
    let crates = [
        ("crates/sc-eval/", "", "sc-eval reads and writes no files"),
        (
            "crates/sc-models/",
            "weights",
            "sc-models touches no files but weights",
        ),
    ];
    let (_, _, why) = crates.iter().find(|(folder, except, _)| {
        file.starts_with(folder) && (except.is_empty() || !file.contains(except))
    })?;
    Some(format!("`std::fs`; {why}, pass the content in"))
}

/// A line without its comment. Strings with `//` are cut too, which hides nothing relevant.
pub(super) fn code_of(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// Whether `name` occurs in `code` as a whole word, followed by `next`.
fn calls(code: &str, name: &str, next: char) -> bool {
    words(code, name).any(|rest| rest.starts_with(next))
}

fn has_word(code: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    words(code, name).any(|rest| !rest.starts_with(is_part))
}

/// The text after every occurrence of `name` at a word start.
fn words<'c>(code: &'c str, name: &str) -> impl Iterator<Item = &'c str> {
    let length = name.len();
    code.match_indices(name).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        let fresh = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"');
        fresh.then(|| &code[at + length..])
    })
}

/// A call of the method `name` with or without arguments.
fn method(code: &str, name: &str) -> bool {
    code.match_indices('.').any(|(at, _)| {
        let rest = &code[at + 1..];
        match (rest.strip_prefix(name), name) {
            // `expect` of a parser takes no string; that of Option and Result does.
            // A broken invariant is a bug, and should panic.
            (Some(rest), "expect") if rest.starts_with("(\"invariant: ") => false,
            (Some(rest), "expect") => rest.starts_with("(\"") || rest.starts_with("(&"),
            (Some(rest), _) => rest.starts_with("()"),
            (None, _) => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, text: &str) -> Vec<(usize, String)> {
        check(file, text)
            .into_iter()
            .map(|f| (f.line, f.what))
            .collect()
    }

    fn holds(file: &str, text: &str, line: usize, part: &str) {
        let all = found(file, text);
        assert!(
            all.iter().any(|f| f.0 == line && f.1.contains(part)),
            "{file}: {part} is not among {all:?}"
        );
    }

    #[test]
    fn a_clean_file_passes() {
        let text = "//! Docs.\n\nfn f(x: Option<u8>) -> u8 {\n    x.unwrap_or(0) // println!\n}\n";
        assert_eq!(found("crates/sc-data/src/a.rs", text), []);
    }

    #[test]
    fn libraries_neither_print_nor_panic() {
        let file = "crates/sc-data/src/a.rs";
        holds(file, "//! D\nprintln!(\"x\");\n", 2, "in a library");
        holds(file, "//! D\nlet y = x.unwrap();\n", 2, "`.unwrap(…)`");
        holds(file, "//! D\nlet y = x.expect(\"y\");\n", 2, "`.expect(…)`");
        holds(
            file,
            "//! D\nlet r = rand::thread_rng();\n",
            2,
            "is not reproducible",
        );
        holds(
            "crates/sc-eval/src/a.rs",
            "//! D\nuse std::fs;\n",
            2,
            "pass the content in",
        );
        assert_eq!(
            found("crates/sc-models/src/weights.rs", "//! D\nuse std::fs;\n"),
            []
        );
        assert_eq!(
            found("crates/sc-cli/src/a.rs", "//! D\nprintln!(\"x\");\n"),
            []
        );
    }

    #[test]
    fn sockets_and_dense_matrices_are_found() {
        let socket = format!("//! D\nuse {};\n", NETWORK[0]);
        holds(
            "crates/sc-cli/tests/it/a.rs",
            &socket,
            2,
            "no code may access the network",
        );
        let dense = "//! D\nlet x = counts.to_dense();\n";
        holds("crates/sc-data/src/a.rs", dense, 2, "keep it sparse");
        assert_eq!(found(DENSE[0], dense), []);
    }

    #[test]
    fn tests_may_unwrap() {
        let text = "//! D\n#[cfg(test)]\nmod tests {\n    fn f() { x.unwrap(); }\n}\n";
        assert_eq!(found("crates/sc-data/src/a.rs", text), []);
        assert_eq!(
            found("crates/sc-data/src/a/tests.rs", "//! D\nx.unwrap();\n"),
            []
        );
    }

    #[test]
    fn what_stands_behind_a_test_is_checked() {
        let file = "crates/sc-data/src/a.rs";
        for test in [
            "#[cfg(test)]\nmod tests;\n",
            "#[cfg(test)]\npub(crate) mod testing {\n    fn f() {}\n}\n",
            "#[cfg(all(test, unix))]\n#[allow(dead_code)]\nfn f() {\n    if a {\n    }\n}\n",
        ] {
            let text = format!("//! D\n{test}fn g() {{\n    x.unwrap();\n}}\n");
            holds(file, &text, text.lines().count() - 1, "`.unwrap(…)`");
        }
        let field = "//! D\nstruct S {\n    #[cfg(test)]\n    a: u8,\n}\nlet y = x.unwrap();\n";
        holds(file, field, 6, "`.unwrap(…)`");
    }

    #[test]
    fn unfinished_work_and_sleeping_tests_are_found_everywhere() {
        for name in UNFINISHED {
            holds("xtask/src/a.rs", &format!("//! D\n{name}!()\n"), 2, name);
        }
        let text = format!("//! D\n{}]\n", concat!("#[ig", "nore"));
        holds("tests/src/a.rs", &text, 2, "run always");
    }

    #[test]
    fn layout_is_checked() {
        holds("crates/sc-data/src/a/mod.rs", "//! D\n", 0, "a mod.rs");
        holds(
            "crates/sc-data/src/a.rs",
            "fn f() {}\n",
            1,
            "no module docs",
        );
        holds(
            "crates/sc-data/src/a.rs",
            &("//! D\n".to_owned() + &"\n".repeat(700)),
            0,
            "701 lines",
        );
        holds("README.md", "one \n", 1, "trailing whitespace");
        let path = format!("see {}me/me\n", "/ho");
        holds("docs/a.md", &path, 1, "a path of one machine");
    }
}
