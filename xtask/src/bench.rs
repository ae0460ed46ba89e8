//! `cargo xtask bench`: scfm and its peers, one after another, with ratios.

use crate::error::Error;
use crate::experiment::build::{built, feature_flags};
use crate::process::{cargo, failed, root};
use clap::Subcommand;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

mod backends;
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
    /// Every architecture on several devices: speed, memory, and agreement with flex.
    Backends(backends::Args),
    /// Coverage of the intervals, and false positive rate between equal models, by simulation.
    Coverage(coverage::Args),
}

pub(crate) fn run(bench: &Bench) -> Result<ExitCode, Error> {
    match bench {
        Bench::Loader(args) => loader::run(args),
        Bench::Step(args) => step::run(args),
        Bench::Backends(args) => backends::run(args),
        Bench::Coverage(args) => coverage::run(args),
    }
}

/// Builds one of the programs of `benches`.
fn program(name: &str) -> Result<PathBuf, Error> {
    program_for(name, &[])
}

/// Builds one of the programs of `benches` with the features that `devices` need.
fn program_for(name: &str, devices: &[String]) -> Result<PathBuf, Error> {
    let mut command = cargo();
    command.current_dir(root()).args([
        "build",
        // What is measured is what people install.
        "--release",
        // The same selection of packages as in tests, and so the same features.
        "--workspace",
        "--bins",
        "--message-format=json-render-diagnostics",
    ]);
    command.args(feature_flags(devices));
    built(&mut command, name)
}

/// Those of the architectures of the program `step` that are wanted: all, where none is named.
fn architectures(step: &Path, only: &[String]) -> Result<Vec<String>, Error> {
    let listed = finish(Command::new(step).arg("list"))?;
    let all: Vec<String> = listed.lines().map(str::to_owned).collect();
    if let Some(other) = only.iter().find(|o| !all.contains(o)) {
        let names = all.join(", ");
        let message = format!("unknown architecture {other}; architectures are {names}");
        return Err(Error::config("--only", message));
    }
    let wanted = |name: &String| only.is_empty() || only.contains(name);
    Ok(all.into_iter().filter(wanted).collect())
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
