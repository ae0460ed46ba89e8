//! Golden parity: the outputs of the original implementations against ours.
//!
//! A golden folder holds `<model>/<case>/` for architectures and `metrics/<case>/` for metrics.
//! Every case is found by itself and carries its own options, so other folders of the same layout
//! run without a change here.

pub mod case;
pub mod metrics_golden;
pub mod models;
pub mod row;

use burn::tensor::Device;
use row::{Row, Verdict};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static DEVICE: OnceLock<Device> = OnceLock::new();

/// Has the cases run on `device`; the first call counts.
pub fn run_on(device: Device) {
    let _ = DEVICE.set(device);
}

/// The device of the cases, without autodiff: `flex` unless [`run_on`] named another.
pub(crate) fn device() -> Device {
    DEVICE.get_or_init(Device::flex).clone()
}

/// What became of one case.
#[derive(Debug)]
pub struct Report {
    /// `model/case`.
    pub name: String,
    /// One row a tensor or metric; empty when not built.
    pub rows: Vec<Row>,
    /// Why it is not built, or what broke.
    pub reason: Option<String>,
    /// How it ended.
    pub verdict: Verdict,
}

/// Cases that are part of the repository, and must be there and be compared.
pub const REQUIRED: [&str; 9] = [
    "cellplm/annotation",
    "cellplm/imputation_head",
    "islander/train_rec",
    "nicheformer/tokenise",
    "saturn/macrogenes",
    "saturn/pretrain_vae",
    "saturn/triplets",
    "uce/state0_sampling",
    "uce/tokenise",
];

/// Cases of the larger set that must be compared where it is there.
pub const REQUIRED_OUTSIDE: [&str; 12] = [
    "cellplm/gmvae_pretrain",
    "hyena/operator",
    "islander/eval",
    "metrics/edge_cases",
    "metrics/pancreas",
    "nicheformer/forward",
    "scclip/forward",
    "scformer/masked_bn",
    "scgpt/masked",
    "scgpt/generative",
    "scprint/denoise",
    "uce/forward",
];

/// The folder of the cases in the repository.
pub fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden")
}

/// The first of `required` that was not compared, or did not pass.
pub fn lacking<'r>(reports: &[Report], required: &[&'r str]) -> Option<&'r str> {
    let passed = |name: &&&str| {
        let report = reports.iter().find(|r| r.name == **name);
        report.is_some_and(|r| r.verdict == Verdict::Pass)
    };
    required.iter().find(|name| !passed(name)).copied()
}

/// The folder to compare with beside [`committed`]: `SCFM_GOLDEN`, or the default beside the checkout;
/// `None` if absent.
pub fn folder() -> Option<PathBuf> {
    let folder = match std::env::var_os("SCFM_GOLDEN") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden/public"),
    };
    folder.is_dir().then_some(folder)
}

/// Runs every case below `folder` whose `model/case` contains `filter`.
pub fn run(folder: &Path, filter: &str) -> Vec<Report> {
    let mut reports = Vec::new();
    for model in subfolders(folder) {
        for case in subfolders(&model) {
            let (model, title) = (
                file_name(&model),
                format!("{}/{}", file_name(&model), file_name(&case)),
            );
            if title.contains(filter) {
                reports.push(run_case(&model, title, &case));
            }
        }
    }
    reports
}

fn run_case(model: &str, name: String, dir: &Path) -> Report {
    let outcome = match model {
        "metrics" => metrics_golden::run_case(dir).map(Ok),
        _ => models::run(model, dir),
    };
    let (rows, reason, verdict) = match outcome {
        Ok(Ok(rows)) => {
            let has = |v: Verdict| rows.iter().any(|r| r.verdict == v);
            let verdict = match (has(Verdict::Fail), has(Verdict::Pass)) {
                (true, _) => Verdict::Fail,
                (false, true) => Verdict::Pass,
                (false, false) => Verdict::NotBuilt,
            };
            (rows, None, verdict)
        }
        Ok(Err(reason)) => (Vec::new(), Some(reason), Verdict::NotBuilt),
        Err(problem) => (Vec::new(), Some(problem), Verdict::Fail),
    };
    Report {
        name,
        rows,
        reason,
        verdict,
    }
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_dir()).collect();
    paths.sort();
    paths
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}
