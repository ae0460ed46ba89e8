//! `cargo xtask`: experiment matrices, benches, golden parity, checks of the repository, and ci.
//!
//! Light on purpose: it builds and spawns `scfm`, and links nothing of burn.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a binary talks to people"
)]

mod bench;
mod error;
mod experiment;
mod process;
mod tidy;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// Tasks around scfm.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run a matrix of data × method × objective × seed × device and write its report.
    Experiment(experiment::Args),
    /// Measure against other programs, both sides in one run.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Compare with outputs of the original implementations; arguments are handed on.
    Golden {
        /// Arguments of the golden harness.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Check what the architecture page calls invariants, as far as a program can.
    Tidy(tidy::Args),
    /// Run what continuous integration runs: the script `.ci/run`.
    Ci,
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Experiment(args) => experiment::run(&args),
        Task::Bench(what) => bench::run(&what),
        Task::Golden { args } => process::golden(&args),
        Task::Tidy(args) => tidy::run(&args),
        Task::Ci => process::ci(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("xtask: {error}");
        ExitCode::from(2)
    })
}
