//! A whole experiment with a stand-in for `scfm`, which takes no time: it gives records that were made
//! before.

use super::*;
use sc_data::Dataset;
use sc_data::io::store::CountsPolicy;
use sc_data::simulate::{SimConfig, simulate_to_file};
use sc_eval::benchmark::{Benchmark, Design, EvalData, MethodInfo, MethodOptions, describe};
use sc_eval::protocol::Options;
use std::collections::BTreeSet;

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

/// Answers `--version`, refuses 666 components, else leaves the record of its method and seed and a line
/// in a log of calls.
const SCRIPT: &str = r#"#!/bin/sh
here=$(dirname "$0")
[ "$1" = "--version" ] && { echo "scfm 9.9.9"; exit 0; }
[ "$1" = run ] && [ "$2" = --config ] && [ "$4" = --output ] || exit 9
echo "$5" >> "$here/calls"
grep -q "components = 666" "$3" && { echo "scfm: no such thing; do another" >&2; exit 2; }
method=$(sed -n 's/^name = "\(.*\)"/\1/p' "$3" | head -1)
seed=$(sed -n 's/^seed = //p' "$3" | head -1)
cp "$here/$method-$seed.json" "$5/result.json.tmp"
mv "$5/result.json.tmp" "$5/result.json"
"#;

/// Records the methods of the matrix on cells as `scfm` would, one file a method and seed.
fn record(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let cells = folder.join("a.h5ad");
    let config = SimConfig {
        cells: 80,
        genes: 40,
        cell_types: 2,
        donors: 4,
        batches: 2,
        ..SimConfig::default()
    };
    simulate_to_file(&config, &cells, |_| ())?;
    let dataset = Dataset::open(&cells, &CountsPolicy::RequireCounts)?;
    let data = EvalData::open(&dataset, &Design::default())?;
    let benchmark = Benchmark::new(&data, Options::default(), 0, MethodOptions::default())?;
    for (method, seed) in [("pca", 0), ("shuffled-labels", 0), ("shuffled-labels", 1)] {
        let (family, about) = describe(method).ok_or("no such method")?;
        let mut info = MethodInfo::new(method, family, about, seed);
        info.device = "flex".to_owned();
        let result = serde_json::to_vec(&benchmark.baseline(info, method)?)?;
        std::fs::write(folder.join(format!("{method}-{seed}.json")), result)?;
    }
    Ok(())
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
        record(place.folder.path()).expect("records");
        // Copied by another process: had we written it, a process forked meanwhile by another
        // test would hold it open for writing, and nobody could execute it.
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

    /// Method and seed of every row of `results.csv`.
    fn rows(&self) -> BTreeSet<String> {
        let table = self.read("out/results.csv");
        let lines = table
            .lines()
            .skip(1)
            .map(|l| l.split(',').collect::<Vec<_>>());
        lines
            .map(|fields| format!("{},{}", fields[1], fields[5]))
            .collect()
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
    let wanted = ["pca,0", "shuffled-labels,0", "shuffled-labels,1"];
    assert_eq!(place.rows(), BTreeSet::from(wanted.map(str::to_owned)));
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
    let wanted = ["shuffled-labels,0", "shuffled-labels,1"];
    assert_eq!(place.rows(), BTreeSet::from(wanted.map(str::to_owned)));
    place.run(&["methods.pca.options.components=666"]);
    assert_eq!(place.calls(), 4, "what failed is tried again");
}
