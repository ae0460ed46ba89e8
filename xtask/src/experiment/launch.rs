//! Where runs are started.
//!
//! The only place that starts runs: a scheduler such as slurm or Kubernetes becomes another
//! variant of
//! [`Launcher`] and another arm of [`Launcher::launch`]. Every [`Job`] is a program with absolute
//! paths, reads only its `run.toml` and the data, and writes only into its own folder, so
//! it can run on any machine that sees the same files. Such an arm submits all jobs (an array of
//! `jobs.len()` tasks, at most `parallel` at a time), waits, and calls `on_end` once for each.

use clap::ValueEnum;
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

/// Where runs are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Launcher {
    /// On this machine.
    Local,
}

/// A run to start.
pub(crate) struct Job {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// File for its standard error; without one it is inherited.
    pub(crate) log: Option<PathBuf>,
    pub(crate) label: String,
}

/// A run that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Index among the jobs.
    pub(crate) index: usize,
    /// Its last message, if it failed.
    pub(crate) outcome: Result<(), String>,
    pub(crate) seconds: f64,
}

impl Launcher {
    /// Runs all jobs, at most `parallel` at a time, and calls `on_end` for each that ends.
    pub(crate) fn launch(self, jobs: &[Job], parallel: usize, on_end: &mut dyn FnMut(Ended)) {
        match self {
            Self::Local => local(jobs, parallel.max(1), on_end),
        }
    }
}

fn local(jobs: &[Job], parallel: usize, on_end: &mut dyn FnMut(Ended)) {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (parallel > 1).then(|| (cores / parallel).max(1));
    std::thread::scope(|scope| {
        for _ in 0..parallel.min(jobs.len()) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { break };
                    let start = Instant::now();
                    let outcome = run(job, threads);
                    let seconds = start.elapsed().as_secs_f64();
                    // The receiver lives until all senders are gone.
                    let _ = sender.send(Ended {
                        index,
                        outcome,
                        seconds,
                    });
                }
            });
        }
        drop(sender);
        receiver.iter().for_each(on_end);
    });
}

fn run(job: &Job, threads: Option<usize>) -> Result<(), String> {
    let mut command = Command::new(&job.program);
    command
        .args(&job.args)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if let Some(threads) = threads {
        command.env("RAYON_NUM_THREADS", threads.to_string());
    }
    if let Some(log) = &job.log {
        let file = File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
        command.stderr(file);
    }
    let status = command
        .status()
        .map_err(|e| format!("{} could not be started: {e}", job.program.display()))?;
    if status.success() {
        return Ok(());
    }
    let said = match &job.log {
        None => Some(format!("ended with {status}; its message is above")),
        Some(log) => std::fs::read(log).ok().and_then(|bytes| last_line(&bytes)),
    };
    Err(said.unwrap_or_else(|| format!("ended with {status} and no message")))
}

/// The last non-empty line; a progress bar redraws itself after carriage returns.
fn last_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split(['\n', '\r']).map(str::trim);
    lines.rfind(|l| !l.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_what_was_said() {
        assert_eq!(
            last_line(b"a\nscfm: no column `x`\n\n"),
            Some("scfm: no column `x`".to_owned())
        );
        assert_eq!(last_line(b"10 %\r20 %\r"), Some("20 %".to_owned()));
        assert_eq!(last_line(b" \n"), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_failing_job_does_not_stop_the_others() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let job = |i: usize, script: &str| Job {
            program: "sh".into(),
            args: vec!["-c".into(), script.into()],
            log: Some(folder.path().join(format!("{i}.log"))),
            label: i.to_string(),
        };
        let jobs = [
            job(0, "echo no such gene >&2; exit 2"),
            job(1, "exit 0"),
            job(2, "exit 3"),
        ];
        let mut ends = Vec::new();
        Launcher::Local.launch(&jobs, 2, &mut |end| ends.push(end));
        ends.sort_by_key(|e| e.index);
        assert_eq!(ends.len(), 3);
        assert_eq!(ends[0].outcome, Err("no such gene".to_owned()));
        assert_eq!(ends[1].outcome, Ok(()));
        assert!(ends[2].outcome.is_err());
    }
}
