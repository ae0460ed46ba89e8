//! `cargo xtask bench`: our side and its peers one after the other, with ratios.

use crate::error::Error;
use clap::Subcommand;
use std::process::ExitCode;

mod loader;

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Minibatches and scans of a large file, beside annbatch, anndata and h5py.
    Loader(loader::Args),
}

pub(crate) fn run(bench: &Bench) -> Result<ExitCode, Error> {
    match bench {
        Bench::Loader(args) => loader::run(args),
    }
}
