//! The same weights, whatever happened on the way.

use crate::common::{SMALL_CELLPLM, SMALL_SCGPT, scfm, simulated, succeed, text, tiny};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

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
