//! A whole experiment with a stand-in for `scfm`.

use super::*;

const MATRIX: &str = r#"
name = "stand-in"
seeds = [0, 1]
[data]
path = "a.h5ad"
[[methods]]
name = "pca"
kind = "baseline"
[[methods]]
name = "shuffled-labels"
kind = "control"
"#;

/// Answers `--version`, refuses 666 components, else leaves a small result and a
/// line in a log of calls.
const SCRIPT: &str = r#"#!/bin/sh
here=$(dirname "$0")
[ "$1" = "--version" ] && { echo "scfm 9.9.9"; exit 0; }
[ "$1" = run ] && [ "$2" = --config ] && [ "$4" = --output ] || exit 9
echo "$5" >> "$here/calls"
grep -q "components = 666" "$3" && { echo "scfm: no such thing; do another" >&2; exit 2; }
method=$(sed -n 's/^name = "\(.*\)"/\1/p' "$3" | head -1)
sed "s/METHOD/$method/" "$here/result.json" > "$5/result.json.tmp"
mv "$5/result.json.tmp" "$5/result.json"
"#;

fn result() -> String {
    let metric = serde_json::json!({
        "name": "probe_lr_macro_f1", "group": "probe", "mode": "strict",
        "value": 0.5, "low": 0.4, "high": 0.6, "cells": 10, "donors": 3
    });
    let text = |s: &str| serde_json::Value::String(s.to_owned());
    let mut data = serde_json::to_value(sc_eval::results::DataCard::default()).expect("a card");
    data["file"] = text("a.h5ad");
    let cost = sc_eval::results::Cost::default();
    let all = serde_json::json!({
        "schema": sc_eval::report::SCHEMA, "method": "METHOD", "family": "baseline", "description": "a stand-in",
        "seed": 0, "device": "flex", "data": data, "metrics": [metric], "cost": cost
    });
    all.to_string()
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        place.write("x.toml", MATRIX);
        place.write("a.h5ad", "data");
        place.write("result.json", &result());
        // Copied by another process: had this one written it, a process forked meanwhile by another
        // test would hold it open for writing, and it could not be executed.
        place.write("script", SCRIPT);
        let copied = std::process::Command::new("install")
            .args(["-m", "755"])
            .args([place.path("script"), place.path("scfm")])
            .status();
        assert!(copied.is_ok_and(|s| s.success()));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn calls(&self) -> usize {
        self.read("calls").lines().count()
    }

    fn run(&self, set: &[&str]) -> ExitCode {
        let args = Args {
            file: Some(self.path("x.toml")),
            set: set.iter().map(|s| (*s).to_owned()).collect(),
            out: Some(self.path("out")),
            launcher: Launcher::Local,
            profile: Profile::Dev,
            jobs: 2,
            scfm: Some(self.path("scfm")),
        };
        run(&args).expect("an experiment")
    }
}

#[test]
fn a_second_call_runs_only_what_is_missing() {
    let place = Place::new();
    assert_eq!(place.run(&[]), ExitCode::SUCCESS);
    assert_eq!(place.calls(), 3, "pca once, shuffled labels for two seeds");
    for name in ["report.html", "results.json", "manifest.json"] {
        assert!(!place.read(&format!("out/{name}")).is_empty(), "{name}");
    }
    let table = place.read("out/results.csv");
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.contains(
        "a.h5ad,pca,baseline,unknown,,0,flex,probe_lr_macro_f1,probe,strict,0.5,0.4,0.6,10,3,"
    ));
    assert!(place.read("out/manifest.json").contains("scfm 9.9.9"));

    assert_eq!(place.run(&[]), ExitCode::SUCCESS);
    assert_eq!(place.calls(), 3, "all are cached");
    assert_eq!(
        place.run(&["methods.pca.options.components=7"]),
        ExitCode::SUCCESS
    );
    assert_eq!(place.calls(), 4, "only pca changed");
}

#[test]
fn a_failure_is_told_and_stops_nothing() {
    let place = Place::new();
    let code = place.run(&["methods.pca.options.components=666"]);
    assert_eq!(code, ExitCode::from(1));
    assert_eq!(place.calls(), 3);
    let page = place.read("out/report.html");
    assert!(page.contains("scfm: no such thing; do another"));
    assert!(place.read("out/manifest.json").contains("no such thing"));
    assert_eq!(place.read("out/results.csv").lines().count(), 3);
    place.run(&["methods.pca.options.components=666"]);
    assert_eq!(place.calls(), 4, "what failed is tried again");
}
