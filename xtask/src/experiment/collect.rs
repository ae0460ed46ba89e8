//! Outputs of an experiment: tables, the manifest and the report.

use super::build::Program;
use super::host::{Host, now, utc};
use super::launch::Ended;
use crate::error::Error;
use sc_data::io::atomic::write_bytes_atomic;
use sc_eval::report::{self, Context, Failure};
use sc_eval::results::RunResult;
use sc_experiment::matrix::{Loaded, Matrix};
use sc_experiment::plan::PlannedRun;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

/// Outcome of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Cached,
    Done,
    Failed(String),
}

/// A run and its outcome.
pub(crate) struct Finished {
    pub(crate) run: PlannedRun,
    state: State,
    seconds: f64,
}

impl Finished {
    /// A run with a cached result.
    pub(crate) fn cached(run: PlannedRun) -> Self {
        Self {
            run,
            state: State::Cached,
            seconds: 0.0,
        }
    }

    /// A run that was started.
    pub(crate) fn ran(run: PlannedRun, end: Option<Ended>) -> Self {
        let seconds = end.as_ref().map_or(0.0, |e| e.seconds);
        let outcome = match end {
            Some(end) => end.outcome,
            None => Err("was never started".to_owned()),
        };
        let state = match outcome.and_then(|()| read(&run).map(|_| ())) {
            Ok(()) => State::Done,
            Err(why) => State::Failed(why),
        };
        Self {
            run,
            state,
            seconds,
        }
    }
}

/// The result of a run, if it is complete and has the current schema.
pub(crate) fn read(run: &PlannedRun) -> Result<RunResult, String> {
    let path = run.folder.join("result.json");
    let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let result: RunResult =
        serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    if result.schema != report::SCHEMA {
        return Err(format!(
            "{} has schema {}, but this version reads {}; delete the folder and run again",
            path.display(),
            result.schema,
            report::SCHEMA
        ));
    }
    Ok(result)
}

#[derive(Serialize)]
struct Results<'a> {
    schema: u32,
    experiment: &'a str,
    results: &'a [RunResult],
}

#[derive(Serialize)]
struct Manifest<'a> {
    experiment: &'a str,
    started: String,
    ended: String,
    jobs: usize,
    xtask: &'static str,
    scfm: &'a str,
    scfm_hash: &'a str,
    host: &'a Host,
    config: &'a toml::Table,
    runs: Vec<RunEntry<'a>>,
}

#[derive(Serialize)]
struct RunEntry<'a> {
    method: &'a str,
    seed: u64,
    device: &'a str,
    data: &'a str,
    hash: &'a str,
    folder: String,
    seconds: f64,
    state: &'a State,
}

/// Writes all outputs and prints their paths; exit code 1 when a run failed.
pub(crate) fn write(
    out: &Path,
    loaded: &Loaded,
    program: &Program,
    host: &Host,
    started: u64,
    jobs: usize,
    finished: &[Finished],
) -> Result<ExitCode, Error> {
    let experiment = &loaded.matrix;
    let results: Vec<RunResult> = finished
        .iter()
        .filter(|f| !matches!(f.state, State::Failed(_)))
        .filter_map(|f| read(&f.run).ok())
        .collect();
    let failures = failures(finished);
    let config = toml::to_string(&loaded.resolved)
        .map_err(|e| Error::config(&experiment.name, e.to_string()))?;
    let manifest = Manifest {
        experiment: &experiment.name,
        started: utc(started),
        ended: utc(now()),
        jobs,
        xtask: env!("CARGO_PKG_VERSION"),
        scfm: &program.version,
        scfm_hash: &program.hash,
        host,
        config: &loaded.resolved,
        runs: finished.iter().map(|f| entry(f, out)).collect(),
    };
    let title = experiment
        .title
        .clone()
        .unwrap_or_else(|| of_data(experiment));
    let context = Context {
        generated: manifest.ended.clone(),
        split: split(loaded),
        facts: facts(&manifest),
        config,
        failures,
        notes: notes(jobs),
    };
    let page = report::render(&title, &results, &context)?;
    std::fs::create_dir_all(out).map_err(Error::io(out))?;
    let all = Results {
        schema: report::SCHEMA,
        experiment: &experiment.name,
        results: &results,
    };
    let json = |what: &str, text: serde_json::Result<String>| text.map_err(Error::json(what));
    save(out, "results.csv", &report::csv(&results))?;
    save(
        out,
        "results.json",
        &json("results.json", serde_json::to_string(&all))?,
    )?;
    save(
        out,
        "manifest.json",
        &json("manifest.json", serde_json::to_string_pretty(&manifest))?,
    )?;
    save(out, "report.html", &page)?;
    print_summary(&results, &context.failures, &out.join("report.html"));
    let failed = !context.failures.is_empty();
    Ok(if failed {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}

fn failures(finished: &[Finished]) -> Vec<Failure> {
    let failed = finished.iter().filter_map(|f| match &f.state {
        State::Failed(why) => Some(Failure {
            run: f.run.label.clone(),
            message: why.clone(),
        }),
        State::Cached | State::Done => None,
    });
    failed.collect()
}

fn save(folder: &Path, name: &str, text: &str) -> Result<(), Error> {
    Ok(write_bytes_atomic(&folder.join(name), text.as_bytes())?)
}

fn entry<'a>(f: &'a Finished, out: &Path) -> RunEntry<'a> {
    let absolute = std::path::absolute(out).ok();
    let relative = absolute
        .as_deref()
        .and_then(|o| f.run.folder.strip_prefix(o).ok());
    RunEntry {
        method: &f.run.run.method.name,
        seed: f.run.run.seed,
        device: &f.run.run.device,
        data: &f.run.data,
        hash: &f.run.hash,
        folder: relative.unwrap_or(&f.run.folder).display().to_string(),
        seconds: f.seconds,
        state: &f.state,
    }
}

fn split(loaded: &Loaded) -> String {
    let split = &loaded.matrix.split;
    let how = if split.test_donors.is_empty() {
        format!(
            "{:.0} % of the donors were held out (seed {})",
            split.test_fraction * 100.0,
            split.seed
        )
    } else {
        format!("{} given donors were held out", split.test_donors.len())
    };
    format!(
        "{how}, the same for every method. Methods and probes were fitted on the other donors; every score is on cells of held-out donors."
    )
}

fn facts(m: &Manifest<'_>) -> Vec<(String, String)> {
    let dirty = match m.host.git_dirty {
        Some(true) => " (with uncommitted changes)",
        Some(false) | None => "",
    };
    let count = |is: fn(&State) -> bool| m.runs.iter().filter(|c| is(c.state)).count();
    let runs = format!(
        "{} run, {} cached, {} failed",
        count(|s| *s == State::Done),
        count(|s| *s == State::Cached),
        count(|s| matches!(s, State::Failed(_)))
    );
    let rows = [
        ("Experiment", m.experiment.to_owned()),
        ("Started", m.started.clone()),
        ("Ended", m.ended.clone()),
        ("Runs", runs),
        ("scfm", m.scfm.to_owned()),
        ("blake3 of scfm", m.scfm_hash.to_owned()),
        ("Revision", format!("{}{dirty}", m.host.git_revision)),
        ("Compiler", m.host.rustc.clone()),
        ("System", m.host.system.clone()),
        (
            "Processor",
            format!("{}, {} threads", m.host.cpu, m.host.threads),
        ),
    ];
    rows.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

/// Title from the matrix and the files it ran on.
fn of_data(experiment: &Matrix) -> String {
    let files: Vec<String> = (experiment.data.0.iter())
        .filter_map(|d| d.path.as_ref()?.file_name())
        .map(|n| n.to_string_lossy().into_owned())
        .collect();
    match files.is_empty() {
        true => experiment.name.clone(),
        false => format!("{} on {}", experiment.name, files.join(", ")),
    }
}

fn notes(jobs: usize) -> Vec<String> {
    if jobs > 1 {
        vec![format!(
            "{jobs} runs shared the machine at a time, so times are longer than for a single run."
        )]
    } else {
        Vec::new()
    }
}

fn print_summary(results: &[RunResult], failures: &[Failure], report: &Path) {
    print!("{}", report::summary(results));
    for failure in failures {
        println!("  failed: {}: {}", failure.run, failure.message);
    }
    println!("\nreport: {}", report.display());
}
