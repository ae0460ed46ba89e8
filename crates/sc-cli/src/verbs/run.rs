//! `scfm run`: one run of an experiment, from a fully resolved file.

use crate::args::Run;
use crate::error::Result;
use crate::interrupt;
use crate::progress::{Packing, Steps};
use sc_run::execute::{execute, read};
use sc_train::pretrain::Watch;

pub(crate) fn run(args: &Run) -> Result<()> {
    let run = read(&args.config)?;
    let mut steps = Steps::default();
    let mut watch = Watch {
        stop: interrupt::stop_flag,
        on_step: &mut |report| steps.show(report),
        warn: &|line| eprintln!("scfm: {line}"),
    };
    let mut packing = Packing::default();
    let places = (args.config.as_path(), args.output.as_path());
    let packed = |done, of| packing.show(done, of);
    execute(&run, places, env!("SCFM_REVISION"), packed, &mut watch)?;
    steps.finish();
    Ok(())
}
