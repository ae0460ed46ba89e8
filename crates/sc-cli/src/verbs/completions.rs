//! `scfm completions`.

use crate::args::{Args, Completions};
use crate::error::Result;
use crate::printing;
use clap::CommandFactory;

pub(crate) fn run(args: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "scfm", &mut script);
    printing::bytes(&script);
    Ok(())
}
