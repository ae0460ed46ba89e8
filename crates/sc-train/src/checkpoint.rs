//! Step-level checkpoints: a killed run goes on from the last one and ends with the same weights.
//!
//! Learning rate, order of cells, masks, noise and dropout are pure functions of the seed and the
//! step, so weights, moments and the step number are the whole state. A checkpoint is written
//! beside its place and renamed: what has the final name is complete.

use crate::adamw::AdamW;
use crate::error::{Result, TrainError};
use burn::tensor::Device;
use sc_models::weights::{Tensors, read_safetensors, to_safetensors};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Checkpoints kept.
const KEEP: usize = 2;

/// Where a run stands; `state.json` of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// Pass over the data the next step belongs to.
    pub epoch: u64,
    /// Minibatch of that pass the next step takes.
    pub position: u64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Seed of every random stream; a stream's counters are its cell and its epoch.
    pub seed: u64,
    /// Hash of everything that must not change between start and resumption.
    pub fingerprint: String,
}

/// Writes the checkpoint of `state` below `folder` and drops old ones.
///
/// # Errors
/// [`TrainError::File`] when the disk refuses; an earlier checkpoint is then still whole.
pub fn save(folder: &Path, state: &State, model: &Tensors, optimiser: &AdamW) -> Result<()> {
    let target = folder.join(format!("step-{:08}", state.step));
    let beside = folder.join(format!("step-{:08}.tmp", state.step));
    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |e: std::io::Error| TrainError::file(path, format!("cannot write the checkpoint: {e}"))
    };
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(fail(&beside))?;
    }
    fs::create_dir_all(&beside).map_err(fail(&beside))?;
    let state_json = serde_json::to_vec_pretty(state)
        .map_err(|e| TrainError::file(&beside, format!("cannot write the checkpoint: {e}")))?;
    let files = [
        ("model.safetensors", to_safetensors(model)?),
        (
            "optimizer.safetensors",
            to_safetensors(&optimiser.tensors())?,
        ),
        ("state.json", state_json),
    ];
    for (name, bytes) in files {
        sc_data::atomic::write_bytes_atomic(&beside.join(name), &bytes)?;
    }
    if target.exists() {
        fs::remove_dir_all(&target).map_err(fail(&target))?;
    }
    fs::rename(&beside, &target).map_err(fail(&target))?;
    for old in list(folder).into_iter().rev().skip(KEEP) {
        fs::remove_dir_all(&old).map_err(fail(&old))?;
    }
    Ok(())
}

/// Complete checkpoints below `folder`, oldest first.
fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|e| e.path())
        .filter(|p| {
            let name = p
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            name.strip_prefix("step-")
                .is_some_and(|n| n.parse::<u64>().is_ok())
        })
        .collect();
    found.sort();
    found
}

/// A checkpoint read back.
pub struct Restored {
    /// Where the run stood.
    pub state: State,
    /// Weights by published name.
    pub model: Tensors,
    /// Moments.
    pub optimiser: AdamW,
}

/// The newest checkpoint below `folder`, if there is one.
///
/// # Errors
/// [`TrainError::File`] when it cannot be read or belongs to another run.
pub fn latest(folder: &Path, fingerprint: &str, device: &Device) -> Result<Option<Restored>> {
    let Some(path) = list(folder).pop() else {
        return Ok(None);
    };
    let state_path = path.join("state.json");
    let text = fs::read_to_string(&state_path).map_err(|e| TrainError::file(&state_path, e))?;
    let state: State = serde_json::from_str(&text).map_err(|e| TrainError::file(&state_path, e))?;
    if state.fingerprint != fingerprint {
        return Err(TrainError::file(
            folder,
            "these checkpoints belong to a run with other data, model, settings or seed; choose \
             another output folder, or remove them to start over",
        ));
    }
    Ok(Some(Restored {
        state,
        model: read_safetensors(&path.join("model.safetensors"))?,
        optimiser: AdamW::from_tensors(
            read_safetensors(&path.join("optimizer.safetensors"))?,
            device,
        ),
    }))
}
