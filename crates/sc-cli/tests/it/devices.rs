//! Devices: what the machine has, and what is said of those that it lacks.

use crate::common::{fail, json, run, scfm, simulated, succeed, text};
use std::path::Path;

#[test]
fn doctor_describes_the_machine() {
    let machine = json(&["doctor", "--machine", "--format", "json"]);
    let devices = machine["devices"].as_array().unwrap();
    let flex = devices.iter().find(|d| d["name"] == "flex").unwrap();
    assert!(flex["gflops"].as_f64().unwrap() > 0.0, "{machine}");
    assert!(machine["threads"].as_u64().unwrap() >= 1);
    let table = succeed(&["doctor", "--machine"]);
    assert!(
        table.contains("GFLOP/s") && table.contains("threads"),
        "{table}"
    );
}

#[test]
fn a_device_that_cannot_be_opened_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = simulated(folder.path(), 60);
    let out = folder.path().join("model");
    let pretrain = |device: &'static str| {
        let fixed = ["pretrain", text(&file), "-c", "vae-tiny", "-o", text(&out)];
        [&fixed[..], &["--device", device]].concat()
    };
    fail(&pretrain("tpu"), &["unknown device 'tpu'", "flex"]);
    fail(&pretrain("flex:1"), &["only one flex"]);
    let wgpu = pretrain("wgpu");
    if !cfg!(feature = "wgpu") {
        return fail(&wgpu, &["not part of this build", "--features wgpu"]);
    }
    let mut without_drivers = scfm(&wgpu);
    for name in [
        "VK_DRIVER_FILES",
        "VK_ICD_FILENAMES",
        "__EGL_VENDOR_LIBRARY_FILENAMES",
    ] {
        without_drivers.env(name, "/none");
    }
    let output = without_drivers.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    for part in ["'wgpu' cannot be opened", "driver", "--device flex"] {
        assert!(errors.contains(part), "{errors}");
    }
    assert!(
        !errors.contains("panicked") && !errors.contains("RecvError"),
        "{errors}"
    );
    assert!(!out.exists());
}

/// The total loss of every step.
fn losses(model: &Path) -> Vec<f64> {
    let log = std::fs::read_to_string(model.join("train.jsonl")).unwrap();
    let total = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["losses"]["total"].as_f64().unwrap()
    };
    log.lines().map(total).collect()
}

/// With several minibatches of many counts, and checkpoints in between.
#[test]
fn a_run_has_the_same_losses_on_every_device() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cells.h5ad");
    let cells = ["--cells", "200", "--genes", "2000"];
    succeed(&[&["simulate", "-o", text(&file)], &cells[..]].concat());
    let trained = |device: &str| {
        let out = folder.path().join(device);
        let fixed = ["pretrain", text(&file), "-c", "vae-tiny", "-o", text(&out)];
        let steps = [
            "--set",
            "train.steps=8",
            "--set",
            "train.checkpoint_every=3",
        ];
        let output = run(&[&fixed[..], &steps, &["--device", device]].concat());
        output.status.success().then(|| losses(&out))
    };
    let flex = trained("flex").expect("flex is always there");
    assert_eq!(flex.len(), 8);
    // Those that are not in the build, or have no driver here, are left out.
    for found in ["ndarray", "wgpu"].into_iter().filter_map(trained) {
        assert_eq!(found.len(), flex.len());
        for (a, b) in found.iter().zip(&flex) {
            assert!((a - b).abs() < 1e-3 * b, "{found:?} {flex:?}");
        }
    }
}
