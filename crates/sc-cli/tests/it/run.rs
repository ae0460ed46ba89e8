//! `scfm run`: one run of an experiment, written by hand.

use crate::common::{fail, simulated, text};
use std::fs;

/// The method of the run.
const CONTROL: &str = "name = \"random-embedding\"\nkind = \"control\"";

#[test]
fn a_run_is_done_as_it_is_written_or_refused_by_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 60);
    let hash = sc_data::io::atomic::hash_file(&file).unwrap();
    let run = format!(
        r#"
schema = 1
experiment = "by-hand"
seed = 0
device = "flex"
[data]
path = "{}"
hash = "{hash}"
label = "cell_type"
batch = "batch"
donor = "donor_id"
[split]
test_fraction = 0.5
[eval]
seed = 0
probe_neighbors = 15
map = "none"
map_cells = 100
[method]
{CONTROL}
"#,
        text(&file)
    );
    let config = folder.path().join("run.toml");
    for (from, to, parts) in [
        (
            "\"control\"",
            "\"baseline\"",
            ["kind = \"control\"", "random-embedding"],
        ),
        (
            "\"random-embedding\"",
            "\"noise\"",
            ["'noise'", "shuffled-labels"],
        ),
        (
            "neighbors = 15",
            "neighbors = 0",
            ["eval.probe_neighbors = 0", "at least 1"],
        ),
        (
            "neighbors = 15",
            "neighbors = 1000",
            ["probe_neighbors = 1000", "between 1 and"],
        ),
        ("\"none\"", "\"tsne\"", ["eval.map", "umap"]),
        ("seed = 0\ndevice", "seed = -1\ndevice", ["seed: ", "`-1`"]),
        ("\"flex\"", "\"tpu\"", ["device: ", "'tpu'"]),
        (&hash, "xx", ["data.hash = \"xx\"", "64 hexadecimal digits"]),
        (&hash, &"0".repeat(64), ["data.hash = \"000", "cells.h5ad"]),
        (
            "\"donor_id\"",
            "\"cell_type\"",
            ["data.donor = \"cell_type\"", "data.label"],
        ),
        (
            "[eval]",
            "test_donors = [\"nobody\"]\n[eval]",
            ["split.test_donors", "'nobody'"],
        ),
        (
            CONTROL,
            "name = \"pca\"\nkind = \"baseline\"\noptions = { components = 5000 }",
            ["method.options.components = 5000", "must be at most"],
        ),
        (
            CONTROL,
            "name = \"hvg\"\nkind = \"baseline\"\noptions = { genes = 5000 }",
            ["method.options.genes = 5000", "must be at most 120"],
        ),
    ] {
        assert!(run.contains(from), "{from}");
        fs::write(&config, run.replace(from, to)).unwrap();
        let out = folder.path().join("out");
        fail(
            &["run", "--config", text(&config), "-o", text(&out)],
            &[&parts[..], &["run.toml: "]].concat(),
        );
        assert!(!out.join("result.json").exists());
    }
}
