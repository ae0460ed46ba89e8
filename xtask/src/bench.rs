//! `cargo xtask bench`: scfm and its peers, one after another, with ratios.

use crate::error::Error;
use crate::experiment::build::built;
use crate::process::{cargo, failed, root};
use clap::Subcommand;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

mod coverage;
mod loader;
mod step;

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Minibatches and scans of a large file, compared with annbatch, anndata and h5py.
    Loader(loader::Args),
    /// Training steps of every architecture, compared with its original or the same network in
    /// torch.
    Step(step::Args),
    /// Coverage of the intervals, and false positive rate between equal models, by simulation.
    Coverage(coverage::Args),
}

pub(crate) fn run(bench: &Bench) -> Result<ExitCode, Error> {
    match bench {
        Bench::Loader(args) => loader::run(args),
        Bench::Step(args) => step::run(args),
        Bench::Coverage(args) => coverage::run(args),
    }
}

/// Builds one of the programs of `benches`.
fn program(name: &str) -> Result<PathBuf, Error> {
    let mut command = cargo();
    command.current_dir(root()).args([
        "build",
        // The same selection of packages as in tests: another would build burn again.
        "--workspace",
        "--bins",
        "--message-format=json-render-diagnostics",
    ]);
    built(&mut command, name)
}

/// Standard output of a command that must succeed.
fn finish(command: &mut Command) -> Result<String, Error> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| failed(command, &e))?;
    if !output.status.success() {
        return Err(failed(command, &output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last line printed by a side.
fn measured<T: DeserializeOwned>(command: &mut Command) -> Result<T, Error> {
    let text = finish(command)?;
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|e| failed(command, &format!("printed no result: {e}")))
}
