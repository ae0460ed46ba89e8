//! Outputs: in the format their name says, never over an input, over another file only on request.

use crate::common::{
    SMALL_CELLPLM, dense_of, fail, pretraining, run, scfm, simulated, succeed, text, tiny,
};
use sc_data::io::atomic::{lock_file, lock_folder};
use sc_data::io::h5ad::H5ad;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

fn model(folder: &Path, file: &Path) -> PathBuf {
    let (config, model) = (tiny("cellplm"), folder.join("model"));
    let mut args = pretraining(file, &config, &model);
    args.extend_from_slice(SMALL_CELLPLM);
    succeed(&args);
    model
}

#[test]
fn the_ending_names_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 60);
    let model = model(folder.path(), &file);
    for ending in ["csv", "tsv", "zarr", "loom", "h5mu", "txt", "h5", "html"] {
        let out = folder.path().join(format!("out.{ending}"));
        let refuse = |args: &[&str], format: &str| {
            let args = [args, &["-o", text(&out)]].concat();
            fail(&args, &[&format!("out.{ending}"), format]);
            assert!(!out.exists());
        };
        refuse(
            &["embed", text(&file), "-m", text(&model)],
            ".h5ad, .npy or .parquet",
        );
        refuse(&["convert", text(&file), "--to", "h5ad"], ".h5ad");
        refuse(&["convert", text(&file), "--to", "store"], ".rows");
        refuse(&["simulate", "--cells", "10"], ".h5ad");
        if ending != "html" {
            fs::write(folder.path().join("result.json"), "{}").unwrap();
            refuse(&["report", text(folder.path())], ".html");
        }
        if ending != "tsv" {
            refuse(&["network", text(&file), "-m", text(&model)], ".tsv");
        }
    }
}

#[test]
fn an_input_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 60);
    let model = model(folder.path(), &file);
    let before = fs::read(&file).unwrap();
    let other = folder
        .path()
        .join("../")
        .join(folder.path().file_name().unwrap());
    for out in [file.clone(), other.join("cells.h5ad")] {
        for verb in [
            &["convert", text(&file), "--to", "h5ad"][..],
            &["embed", text(&file), "-m", text(&model)],
        ] {
            fail(
                &[verb, &["-o", text(&out), "--force"]].concat(),
                &["is the input", "choose another output file"],
            );
        }
    }
    assert_eq!(fs::read(&file).unwrap(), before);
    let page = folder.path().join("result.html");
    fs::write(&page, "not a result").unwrap();
    fail(
        &["report", text(&page), "-o", text(&page), "--force"],
        &["is the input"],
    );
    assert_eq!(fs::read_to_string(&page).unwrap(), "not a result");
}

#[test]
fn what_is_there_is_replaced_on_request_only() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 60);
    let model = model(folder.path(), &file);
    for (name, verb) in [
        ("a.h5ad", &["convert", text(&file), "--to", "h5ad"][..]),
        ("a.rows", &["convert", text(&file), "--to", "store"]),
        ("b.h5ad", &["embed", text(&file), "-m", text(&model)]),
        ("b.npy", &["embed", text(&file), "-m", text(&model)]),
        ("c.h5ad", &["simulate", "--cells", "20", "--genes", "20"]),
    ] {
        let out = folder.path().join(name);
        fs::write(&out, "mine").unwrap();
        let args = [verb, &["-o", text(&out)]].concat();
        fail(&args, &[name, "already exists", "--force"]);
        assert_eq!(fs::read_to_string(&out).unwrap(), "mine");
        succeed(&[&args[..], &["--force"]].concat());
        assert!(fs::read(&out).unwrap() != b"mine");
    }
    // The same of an embedding in the file itself.
    let embed = ["embed", text(&file), "-m", text(&model), "--in-place"];
    succeed(&embed);
    fail(
        &embed,
        &["obsm['X_cellplm'] already exists", "--key", "--force"],
    );
    succeed(&[&embed[..], &["--force"]].concat());
    succeed(&[&embed[..], &["--key", "X_other"]].concat());
    let keys = H5ad::open(&file).unwrap().obsm_keys().to_vec();
    assert_eq!(keys.len(), 2, "{keys:?}");
}

#[cfg(unix)]
#[test]
fn a_link_is_written_through() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 60);
    let model = model(folder.path(), &file);
    let below = folder.path().join("below");
    fs::create_dir(&below).unwrap();
    let link = below.join("link.h5ad");
    std::os::unix::fs::symlink("../cells.h5ad", &link).unwrap();
    succeed(&["embed", text(&link), "-m", text(&model), "--in-place"]);
    assert!(link.is_symlink());
    assert_eq!(H5ad::open(&file).unwrap().obsm_keys(), ["X_cellplm"]);
    assert_eq!(fs::read_dir(&below).unwrap().count(), 1);
    // A link to the input is the input.
    fail(
        &[
            "convert",
            text(&file),
            "--to",
            "h5ad",
            "-o",
            text(&link),
            "--force",
        ],
        &["is the input"],
    );
}

#[test]
fn one_writer_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 60);
    let model = model(folder.path(), &file);
    let embed = ["embed", text(&file), "-m", text(&model), "--in-place"];
    let held = lock_file(&file).unwrap();
    fail(
        &embed,
        &["cells.h5ad", "is being written by another process"],
    );
    drop(held);
    succeed(&embed);
    let config = tiny("cellplm");
    let mut args = pretraining(&file, &config, &model);
    args.extend_from_slice(SMALL_CELLPLM);
    let held = lock_folder(&model).unwrap();
    fail(&args, &["model", "is being written by another process"]);
    drop(held);
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 60);
    for args in [
        &["doctor", text(&file)][..],
        &["models", "list", "--format", "json"],
        &["completions", "bash"],
    ] {
        let mut child = scfm(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(output.stderr.is_empty(), "{args:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_standard_output_is_an_error() {
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = scfm(&["models", "list"]).stdout(full).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.starts_with("scfm: standard output: "), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

/// What the last line of `scfm doctor` says of values `[cells, genes]`.
fn verdict(folder: &Path, genes: usize, values: &[f32]) -> (Option<i32>, String) {
    let file = dense_of(folder, "v.h5ad", (genes, values), &["t"]);
    let output = run(&["doctor", text(&file)]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    (
        output.status.code(),
        table.lines().last().unwrap_or_default().to_owned(),
    )
}

#[test]
fn the_verdict_of_doctor_depends_on_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let counts: Vec<f32> = (0..120).map(|k| ((k * 7) % 5) as f32).collect();
    // One label, one donor, one batch.
    let (code, line) = verdict(folder.path(), 3, &counts);
    assert_eq!(code, Some(0));
    for part in [
        "ready for training; missing for an evaluation",
        "a second cell type",
        "a second donor",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let centred: Vec<f32> = counts.iter().map(|c| c - 1.5).collect();
    let (code, line) = verdict(folder.path(), 3, &centred);
    assert_eq!(code, Some(1));
    assert!(line.contains("not ready"), "{line}");
    let file = simulated(folder.path(), 60);
    let table = succeed(&["doctor", text(&file)]);
    let with = "--label cell_type --batch batch --donor donor_id";
    assert!(table.contains(with), "{table}");
}
