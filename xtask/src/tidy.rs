//! `cargo xtask tidy`: the invariants of docs/src/architecture.md that a program can check.
//!
//! One line per finding: `file:line: what is wrong, and what to do`.

mod api;
mod layers;
mod licences;
mod metadata;
mod sources;

use crate::error::Error;
use crate::process::{failed, root};
use std::path::Path;
use std::process::{Command, ExitCode};

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) file: String,
    /// From 1; 0 for the file as a whole.
    pub(crate) line: usize,
    /// What is wrong, and what to do.
    pub(crate) what: String,
}

impl Finding {
    fn new(file: impl Into<String>, line: usize, what: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line,
            what: what.into(),
        }
    }
}

/// Arguments of `cargo xtask tidy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Accept the current public API of the libraries.
    #[arg(long)]
    bless: bool,
}

/// Checks everything; exit code 1 when there are findings.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Error> {
    let root = root();
    let files = listed(&root)?;
    let metadata = metadata::read(&root)?;
    let mut findings = Vec::new();
    let mut lengths = Vec::new();
    let mut listings = api::Listings::new();
    for file in &files {
        // A deleted but uncommitted file is still listed.
        let Ok(bytes) = std::fs::read(root.join(file)) else {
            continue;
        };
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        if file.ends_with(".rs") {
            lengths.push(text.lines().count());
            api::add(file, &text, &mut listings);
        }
        findings.extend(sources::check(file, &text));
    }
    if args.bless {
        api::bless(&root, &listings)?;
    }
    findings.extend(api::check(&root, &listings));
    findings.extend(layers::check(&metadata));
    findings.extend(licences::check(&metadata));
    for f in &findings {
        println!("{}:{}: {}", f.file, f.line, f.what);
    }
    lengths.sort_unstable();
    let median = lengths.get(lengths.len() / 2).copied().unwrap_or(0);
    let longest = lengths.last().copied().unwrap_or(0);
    println!(
        "tidy: {} files, {} of Rust with a median of {median} lines (longest {longest}), {} packages, {} findings",
        files.len(),
        lengths.len(),
        metadata.packages.len(),
        findings.len()
    );
    Ok(ExitCode::from(u8::from(!findings.is_empty())))
}

/// Files that git tracks or would track.
fn listed(root: &Path) -> Result<Vec<String>, Error> {
    let mut command = Command::new("git");
    command.current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let output = command.output().map_err(|e| failed(&command, &e))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(&command, &said));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut files: Vec<String> = text
        .split('\0')
        .filter(|f| !f.is_empty())
        .map(str::to_owned)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}
