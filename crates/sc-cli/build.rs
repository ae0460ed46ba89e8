//! Records the code revision, so that every output can name it, and puts every preset of
//! `configs/models` into the program, so that none is forgotten.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> std::io::Result<()> {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let revision = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=SCFM_REVISION={revision}");
    if let Some(head) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={head}");
    }
    // Any of them being named, cargo no longer watches the rest of the package by itself.
    println!("cargo::rerun-if-changed=build.rs");
    presets()
}

/// Writes `presets.rs`: an array of names and texts.
fn presets() -> std::io::Result<()> {
    let variable = |name: &str| std::env::var_os(name).unwrap_or_default();
    let folder = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../../configs/models");
    println!("cargo::rerun-if-changed={}", folder.display());
    let files = std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.path()));
    let mut files = files.collect::<std::io::Result<Vec<PathBuf>>>()?;
    files.retain(|f| f.extension().is_some_and(|e| e == "toml"));
    files.sort();
    let line = |file: &PathBuf| {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        format!("    ({name:?}, include_str!({file:?})),\n")
    };
    let lines: String = files.iter().map(line).collect();
    let code = Path::new(&variable("OUT_DIR")).join("presets.rs");
    std::fs::write(code, format!("[\n{lines}]\n"))
}
