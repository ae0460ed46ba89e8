//! `cargo xtask experiment`: a matrix of runs, each one an `scfm` process, and their report.
//!
//! A run is identified by the hash of its resolved configuration, its data and its program, so a
//! second call does only missing runs. A run that fails does not stop the others.

pub(crate) mod build;
mod collect;
mod host;
mod launch;

use crate::error::Error;
use crate::process::root;
use clap::ValueEnum;
use collect::Finished;
use launch::{Job, Launcher};
use sc_experiment::matrix;
use sc_experiment::plan::{self, PlannedRun};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `cargo xtask experiment`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The matrix; without it, configs/experiments/quickstart.toml.
    file: Option<PathBuf>,
    /// Change a value of the matrix: `data.path=FILE`, `methods.cellplm.train.steps=50`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Output folder [default: runs/NAME].
    #[arg(short = 'o', long = "output", alias = "out")]
    out: Option<PathBuf>,
    /// Where runs are started.
    #[arg(long, value_enum, default_value_t = Launcher::Local)]
    launcher: Launcher,
    /// Cargo profile of `scfm`; dev is optimised where it matters.
    #[arg(long, value_enum, default_value_t = Profile::Dev)]
    profile: Profile,
    /// Runs in parallel; more than one makes the times in the report less reliable.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Use this `scfm` instead of building one.
    #[arg(long, value_name = "FILE")]
    scfm: Option<PathBuf>,
}

/// Cargo profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// Fastest build.
    Dev,
    /// Fastest program.
    Release,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Error> {
    let file = match &args.file {
        Some(file) => file.clone(),
        None => root().join("configs/experiments/quickstart.toml"),
    };
    let loaded = matrix::load(&file, &args.set)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => Path::new("runs").join(&loaded.matrix.name),
    };
    // A missing file must be reported before minutes of building.
    plan::runs(&loaded, "", &out)?;
    let devices = &loaded.matrix.devices;
    let scfm = match &args.scfm {
        Some(path) => path.clone(),
        None => build::scfm(args.profile, devices)?,
    };
    let program = build::Program::inspect(&scfm)?;
    let runs = plan::runs(&loaded, &program.hash, &out)?;
    let started = host::now();
    let finished = run_missing(args, &program, runs)?;
    let host = host::Host::inspect();
    collect::write(
        &out, &loaded, &program, &host, started, args.jobs, &finished,
    )
}

/// Does the missing runs and returns every run with its outcome.
fn run_missing(
    args: &Args,
    program: &build::Program,
    runs: Vec<PlannedRun>,
) -> Result<Vec<Finished>, Error> {
    let total = runs.len();
    let mut finished = Vec::with_capacity(total);
    let mut missing = Vec::new();
    for run in runs {
        if collect::read(&run).is_ok() {
            finished.push(Finished::cached(run));
        } else {
            run.prepare()?;
            missing.push(run);
        }
    }
    eprintln!(
        "{total} runs: {} cached, {} to do",
        finished.len(),
        missing.len()
    );
    // A child draws its progress bar only when it has the terminal to itself.
    let shared = args.jobs <= 1 && std::io::stderr().is_terminal();
    let jobs: Vec<Job> = missing
        .iter()
        .map(|run| Job {
            program: program.path.clone(),
            args: vec![
                "run".into(),
                "--config".into(),
                run.file().into(),
                "--output".into(),
                run.folder.clone().into(),
            ],
            log: (!shared).then(|| run.folder.join("stderr.log")),
            label: run.label.clone(),
        })
        .collect();
    let before = finished.len();
    let mut done = 0;
    let mut ended: Vec<_> = missing.iter().map(|_| None).collect();
    args.launcher.launch(&jobs, args.jobs, &mut |end| {
        done += 1;
        let state = end
            .outcome
            .as_ref()
            .err()
            .map_or_else(String::new, |why| format!("  failed: {why}"));
        eprintln!(
            "[{}/{total}] {} … {:.0} s{state}",
            before + done,
            jobs[end.index].label,
            end.seconds
        );
        let index = end.index;
        ended[index] = Some(end);
    });
    for (run, end) in missing.into_iter().zip(ended) {
        finished.push(Finished::ran(run, end));
    }
    finished.sort_by_key(|f| f.run.place);
    Ok(finished)
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
