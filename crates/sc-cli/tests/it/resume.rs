//! The same weights, whatever happened on the way.

use crate::common::{SMALL_CELLPLM, SMALL_SCGPT, scfm, simulated, succeed, text, tiny};
use rand::RngExt as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

fn arguments<'a>(
    file: &'a Path,
    config: &'a Path,
    out: &'a Path,
    small: &[&'a str],
) -> Vec<&'a str> {
    let mut args = vec![
        "pretrain",
        text(file),
        "-c",
        text(config),
        "-o",
        text(out),
        "--batch",
        "batch",
    ];
    args.extend_from_slice(small);
    args
}

fn weights(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("model.safetensors")).unwrap()
}

/// Kills the run once it says that so many steps are done.
fn kill_after(args: &[&str], steps: u64) {
    let mut child = scfm(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let said = BufReader::new(child.stderr.take().expect("a pipe"));
    let done = |line: String| {
        let step = line
            .strip_prefix("step ")?
            .split(' ')
            .next()?
            .parse::<u64>();
        step.ok().filter(|s| *s >= steps)
    };
    let reached = said.lines().map_while(Result::ok).find_map(done);
    assert!(reached.is_some(), "the run ended before step {steps}");
    child.kill().unwrap();
    child.wait().unwrap();
}

fn killed_runs_end_the_same(architecture: &str, small: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 150), tiny(architecture));
    let whole = folder.path().join("whole");
    succeed(&arguments(&file, &config, &whole, small));
    let killed = folder.path().join("killed");
    let args = arguments(&file, &config, &killed, small);
    for steps in [7, 14] {
        kill_after(&args, steps);
        assert!(
            !killed.join("model.safetensors").exists(),
            "the run ended before it was killed"
        );
    }
    succeed(&args);
    assert!(
        weights(&whole) == weights(&killed),
        "weights differ after a kill"
    );
    let steps = fs::read_to_string(killed.join("train.jsonl"))
        .unwrap()
        .lines()
        .count();
    assert_eq!(steps, 24, "the log has every step once");
}

#[test]
fn a_killed_cellplm_ends_with_the_same_weights() {
    killed_runs_end_the_same("cellplm", SMALL_CELLPLM);
}

#[test]
fn a_killed_scgpt_ends_with_the_same_weights() {
    killed_runs_end_the_same("scgpt", SMALL_SCGPT);
}

#[test]
fn threads_do_not_change_the_weights() {
    // Wide enough for products of millions of terms, which are split among threads.
    let wide = [
        (
            "cellplm",
            SMALL_CELLPLM,
            ["network.hidden=256", "train.minibatch=150"],
        ),
        (
            "scgpt",
            SMALL_SCGPT,
            ["network.width=128", "network.feed_forward=256"],
        ),
    ];
    for (architecture, small, wider) in wide {
        let folder = tempfile::tempdir().unwrap();
        let (file, config) = (simulated(folder.path(), 150), tiny(architecture));
        let mut found = Vec::new();
        for threads in ["1", "2", "5"] {
            let out = folder.path().join(threads);
            let mut args = arguments(&file, &config, &out, small);
            args.extend(wider.iter().flat_map(|set| ["--set", set]));
            args.extend(["--set", "train.steps=6"]);
            args.extend_from_slice(&["--threads", threads]);
            succeed(&args);
            found.push(weights(&out));
        }
        assert!(
            found.iter().all(|w| *w == found[0]),
            "{architecture}: weights depend on threads"
        );
    }
}

#[test]
fn another_run_in_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 150), tiny("cellplm"));
    let out = folder.path().join("model");
    let args = arguments(&file, &config, &out, SMALL_CELLPLM);
    succeed(&args);
    crate::common::fail(
        &[&args[..], &["--seed", "1"]].concat(),
        &["checkpoints", "other data"],
    );
}

/// Starts a run, and does something to it after so many lines about steps.
fn started(args: &[&str], lines: usize, then: impl FnOnce(&mut Child)) -> ExitStatus {
    let mut child = scfm(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let said = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut said = said.lines().map_while(Result::ok);
    let steps = said.by_ref().filter(|line| line.starts_with("step "));
    steps.take(lines).for_each(drop);
    then(&mut child);
    // What it says until it ends is not of interest, but must be taken.
    said.for_each(drop);
    child.wait().unwrap()
}

#[test]
fn twenty_kills_at_any_moment_end_with_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 150), tiny("cellplm"));
    let longer = [
        SMALL_CELLPLM,
        &["--set", "train.steps=200", "--validation", "0.3"],
    ]
    .concat();
    let whole = folder.path().join("whole");
    succeed(&arguments(&file, &config, &whole, &longer));
    let killed = folder.path().join("killed");
    let args = arguments(&file, &config, &killed, &longer);
    let mut rng = sc_data::rng::stream(1, "kills", 0, 0);
    for _ in 0..20 {
        if killed.join("training.json").exists() {
            break;
        }
        let lines = rng.random_range(0..3);
        started(&args, lines, |child| child.kill().unwrap());
    }
    succeed(&args);
    assert!(
        weights(&whole) == weights(&killed),
        "weights differ after kills"
    );
    let log = |folder: &Path| {
        let text = fs::read_to_string(folder.join("train.jsonl")).unwrap();
        // Times differ.
        let step = |line: &str| -> serde_json::Value {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().remove("seconds");
            line
        };
        text.lines().map(step).collect::<Vec<_>>()
    };
    assert_eq!(log(&whole), log(&killed));
}

#[cfg(unix)]
#[test]
fn a_warned_run_writes_a_checkpoint_and_asks_to_be_queued_again() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 150), tiny("cellplm"));
    let longer = [
        SMALL_CELLPLM,
        &[
            "--set",
            "train.steps=3000",
            "--set",
            "train.checkpoint_every=5000",
        ],
    ];
    for signal in ["-USR1", "-TERM"] {
        let out = folder.path().join(signal);
        let args = arguments(&file, &config, &out, &longer.concat());
        let status = started(&args, 2, |child| {
            let id = child.id().to_string();
            let sent = Command::new("kill").args([signal, &id]).status();
            assert!(sent.expect("kill is there").success());
        });
        assert_eq!(status.code(), Some(75), "{signal}");
        let checkpoints = fs::read_dir(out.join("checkpoints")).unwrap().count();
        assert_eq!(checkpoints, 1, "{signal}");
    }
}

#[test]
fn a_finished_run_is_made_longer_but_not_shorter() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 150), tiny("cellplm"));
    let out = folder.path().join("model");
    let args = arguments(&file, &config, &out, SMALL_CELLPLM);
    let with = |steps: &'static str| [&args[..], &["--set", steps]].concat();
    succeed(&args);
    let said = succeed(&with("train.steps=32"));
    assert!(said.contains("trained cellplm for 32 steps"), "{said}");
    let log = fs::read_to_string(out.join("train.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 32);
    crate::common::fail(
        &with("train.steps=12"),
        &[
            "train.steps = 12",
            "has a checkpoint of step 32",
            "raise it",
        ],
    );
}
