//! Devices: what the machine has, and what is said of those that it lacks.

use crate::common::{fail, json, scfm, simulated, succeed, text};

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
