//! `scfm`: pretrain, embed with and evaluate single-cell foundation models.
//!
//! Subcommands and wiring only; the work is done in the crates below. Exit code 0 is success, 1 a
//! check that failed, 2 an error, which is one line on standard error, and 75 a training that was stopped.

/// As in std, but a closed pipe is not a panic.
macro_rules! println {
    ($($text:tt)*) => { $crate::printing::line(format_args!($($text)*)) };
}

/// As in std, but never a panic.
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::printing::error_line(format_args!($($text)*)) };
}

/// A line on standard error about what is being done: neither error nor warning.
macro_rules! note {
    ($($text:tt)*) => { $crate::printing::note(format_args!($($text)*)) };
}

mod args;
mod error;
mod hints;
mod interrupt;
mod logging;
mod outputs;
mod printing;
mod progress;
mod verbs;

use args::{Args, Verb};
use clap::Parser;
use error::Result;
use std::process::ExitCode;

fn main() -> ExitCode {
    sc_data::memory::keep_freed();
    let args = Args::parse();
    if args.quiet {
        printing::be_quiet();
    }
    let done = logging::begin(&args).and_then(|()| {
        interrupt::handle();
        run(&args)
    });
    match done {
        Ok(code) => code,
        Err(e) => {
            eprintln!("scfm: {e}{}", hints::hint(&e, &args.verb));
            ExitCode::from(match error::is_stopped(&e) {
                true => interrupt::STOPPED,
                false => 2,
            })
        }
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads.get())
            .build_global()?;
    }
    let done = match &args.verb {
        Verb::Doctor(v) => return verbs::doctor::run(v),
        Verb::Pretrain(v) => verbs::pretrain::run(v),
        Verb::Finetune(v) => verbs::finetune::run(v),
        Verb::Annotate(v) => verbs::annotate::run(v),
        Verb::Map(v) => verbs::map::run(v),
        Verb::Denoise(v) => verbs::denoise::run(v),
        Verb::Genes(v) => verbs::genes::run(v),
        Verb::Perturb(v) => verbs::perturb::run(v),
        Verb::Embed(v) => verbs::embed::run(v),
        Verb::Network(v) => verbs::network::run(v),
        Verb::Eval(v) => verbs::eval::run(v),
        Verb::Run(v) => verbs::run::run(v),
        Verb::Report(v) => verbs::report::run(v),
        Verb::Convert(v) => verbs::convert::run(v),
        Verb::Simulate(v) => verbs::simulate::run(v),
        Verb::Models(v) => verbs::models::run(v),
        Verb::Completions(v) => verbs::completions::run(v),
    };
    done.map(|()| ExitCode::SUCCESS)
}
