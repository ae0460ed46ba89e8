//! `scfm report`.

use crate::args::Report;
use crate::error::{Result, at, message};
use crate::outputs::check_ending;
use sc_data::io::atomic::write_bytes_atomic;
use sc_eval::report::{Context, render};
use sc_eval::results::RunResult;
use std::path::{Path, PathBuf};

pub(crate) fn run(args: &Report) -> Result<()> {
    let mut files = Vec::new();
    for path in &args.results {
        collect(path, &mut files)?;
    }
    check_ending(&args.output, &[".html", ".htm"])?;
    let inputs: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    args.replace.check(&args.output, &inputs)?;
    let results = files.iter().map(|f| read(f)).collect::<Result<Vec<_>>>()?;
    write(&args.output, &args.title, &results)
}

/// Writes the page for `results`.
pub(crate) fn write(path: &Path, title: &str, results: &[RunResult]) -> Result<()> {
    let facts = vec![
        ("scfm".to_string(), env!("CARGO_PKG_VERSION").to_string()),
        ("revision".to_string(), env!("SCFM_REVISION").to_string()),
    ];
    let page = render(
        title,
        results,
        &Context {
            facts,
            ..Context::default()
        },
    )?;
    Ok(write_bytes_atomic(path, page.as_bytes())?)
}

/// Adds `path`, or every result.json below it.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    let before = files.len();
    walk(path, files)?;
    if files.len() == before {
        return Err(at(path, "no result.json in this folder"));
    }
    Ok(())
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|e| at(folder, e))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            walk(&path, files)?;
        } else if path.file_name().is_some_and(|n| n == "result.json") {
            files.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<RunResult> {
    let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidData => at(
            path,
            "is not a result; give a result.json, or a folder written by `scfm eval`",
        ),
        _ => at(path, e),
    })?;
    sc_data::io::json::parse(path, &text)
        .map_err(|e| message(format!("{e} (not a result of scfm)")))
}
