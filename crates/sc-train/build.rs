//! Embeds every preset of `configs/models` in the library, so that none is forgotten.

use std::path::{Path, PathBuf};

/// Writes `presets.rs`: an array of names and texts.
fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
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
