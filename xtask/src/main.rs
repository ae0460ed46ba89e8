//! `cargo xtask`: experiment matrices, benches, golden parity, checks of the repository, and CI.
//!
//! Kept light on purpose: it builds and spawns `scfm`, and does not link burn.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a binary talks to people"
)]

mod bench;
mod error;
mod experiment;
mod llvm;
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
    /// Measure scfm and its peers, both in one run.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Compare with outputs of the original implementations; arguments are passed on.
    Golden {
        /// Arguments of the golden harness.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Put the LLVM that `--features cuda` needs where its build looks for it.
    Llvm(llvm::Args),
    /// Check the invariants of the architecture page, as far as a program can.
    Tidy(tidy::Args),
    /// Run continuous integration: the script `.ci/run`.
    Ci,
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Experiment(args) => experiment::run(&args),
        Task::Bench(what) => bench::run(&what),
        Task::Golden { args } => process::golden(&args),
        Task::Tidy(args) => tidy::run(&args),
        Task::Llvm(args) => llvm::run(&args),
        Task::Ci => process::ci(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("xtask: {error}");
        ExitCode::from(2)
    })
}
