//! `scfm network`: tables of edges, heads chosen by known ones, and refusals.

use crate::common::{SMALL_CELLPLM, fail, pretraining, run, simulated, succeed, text, tiny};
use std::fs;
use std::path::{Path, PathBuf};

/// A trained model and the file it was trained on.
fn trained(folder: &Path, architecture: &str, small: &[&str]) -> (PathBuf, PathBuf) {
    let (file, model) = (simulated(folder, 60), folder.join(architecture));
    let config = tiny(architecture);
    let mut args = pretraining(&file, &config, &model);
    args.extend_from_slice(small);
    succeed(&args);
    (file, model)
}

const SMALL: &[&str] = &[
    "--set",
    "network.width=16",
    "--set",
    "network.layers=2",
    "--set",
    "network.heads=2",
    "--set",
    "input.proteins.dim=16",
    "--set",
    "train.steps=2",
];

#[test]
fn edges_are_written_strongest_first_and_known_ones_choose_heads() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = trained(folder.path(), "scprint", SMALL);
    let out = folder.path().join("edges.tsv");
    let args = [
        "network",
        text(&file),
        "-m",
        text(&model),
        "-o",
        text(&out),
        "--force",
    ];
    succeed(&[&args[..], &["--top", "3"]].concat());
    let table = fs::read_to_string(&out).unwrap();
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("gene\tattends_to\tweight"));
    let edges: Vec<Vec<&str>> = lines.map(|l| l.split('\t').collect()).collect();
    assert_eq!(edges.len(), 3 * 120);
    let weight = |e: &[&str]| e[2].parse::<f32>().unwrap();
    for pair in edges.windows(2).filter(|p| p[0][0] == p[1][0]) {
        assert!(weight(&pair[0]) >= weight(&pair[1]));
    }
    assert!(edges.iter().all(|e| e[0] != e[1]));
    let beside = fs::read_to_string(folder.path().join("edges.tsv.json")).unwrap();
    assert!(beside.contains("weights_blake3"), "{beside}");

    succeed(&[&args[..], &["--heads", "each", "--top", "1"]].concat());
    let table = fs::read_to_string(&out).unwrap();
    assert_eq!(table.lines().count(), 1 + 4 * 120);
    assert!(table.contains("\n1.1\t"), "{table}");

    let known = folder.path().join("known.tsv");
    let pairs: Vec<String> = edges
        .iter()
        .map(|e| format!("{}\t{}\n", e[1], e[0]))
        .collect();
    fs::write(&known, pairs.concat()).unwrap();
    let told = succeed(&[&args[..], &["--known", text(&known)]].concat());
    assert!(told.contains("early precision"), "{told}");

    fs::write(&known, format!("TF\ttarget\n{}", pairs.concat())).unwrap();
    let output = run(&[&args[..], &["--known", text(&known)]].concat());
    assert_eq!(String::from_utf8_lossy(&output.stdout), told);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("edges go from 'TF' to 'target'"), "{said}");
}

#[test]
fn what_cannot_be_a_network_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (file, model) = trained(folder.path(), "scprint", SMALL);
    let (out, known) = (
        folder.path().join("edges.tsv"),
        folder.path().join("known.tsv"),
    );
    let args = ["network", text(&file), "-m", text(&model), "-o", text(&out)];
    for (edges, parts) in [
        ("A\tB\nonly\n", vec!["known.tsv", "line 2", "'only'"]),
        ("A\tB\n", vec!["known.tsv", "(A, B)", "(ENSG"]),
        ("\n", vec!["known.tsv", "holds no edges"]),
    ] {
        fs::write(&known, edges).unwrap();
        fail(&[&args[..], &["--known", text(&known)]].concat(), &parts);
    }
    fs::write(&known, b"\x1f\x8b\xff").unwrap();
    let more = ["--known", text(&known)];
    fail(
        &[&args[..], &more].concat(),
        &["known.tsv", "not text (at byte 1)"],
    );
    let (file, model) = trained(folder.path(), "cellplm", SMALL_CELLPLM);
    let args = ["network", text(&file), "-m", text(&model), "-o", text(&out)];
    fail(&args, &["cellplm", "use a model of scprint"]);
    assert!(!out.exists());
}
