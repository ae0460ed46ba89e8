//! `scfm completions`.

use crate::args::{Args, Completions};
use crate::error::Result;
use clap::CommandFactory;

pub(crate) fn run(args: &Completions) -> Result<()> {
    clap_complete::generate(
        args.shell,
        &mut Args::command(),
        "scfm",
        &mut std::io::stdout(),
    );
    Ok(())
}
