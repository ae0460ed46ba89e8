//! `cargo xtask bench coverage`: the tables of the page on statistics.

use crate::error::Error;
use crate::process::{cargo, failed, root};
use std::process::ExitCode;

/// What to simulate.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of draws of scored donors.
    #[arg(long, default_value_t = 200)]
    draws: u32,
    /// Numbers of scored donors.
    #[arg(long, default_value = "5,8,12,20")]
    donors: String,
    /// A single table: balanced, unbalanced, rare, one, equal or random.
    #[arg(long)]
    kind: Option<String>,
    /// Cells per donor, instead of the default of the table.
    #[arg(long)]
    cells: Option<usize>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Error> {
    let mut command = cargo();
    command.current_dir(root()).args([
        "run",
        "--release",
        "--quiet",
        "--package",
        "sc-eval",
        "--example",
        "coverage",
        "--",
    ]);
    command.args(["--draws", &args.draws.to_string(), "--donors", &args.donors]);
    if let Some(kind) = &args.kind {
        command.args(["--kind", kind]);
    }
    if let Some(cells) = args.cells {
        command.args(["--cells", &cells.to_string()]);
    }
    let status = command.status().map_err(|e| failed(&command, &e))?;
    if !status.success() {
        return Err(failed(&command, &status));
    }
    Ok(ExitCode::SUCCESS)
}
