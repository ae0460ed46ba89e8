//! Checkpoints by step: a killed run resumes from the last one and ends with the same weights.
//!
//! Learning rate, order of cells, masks, noise and dropout are pure functions of the seed and the
//! step, so weights, moments and the step number are the whole state. A checkpoint is written
//! to a temporary path and renamed: what has the final name is complete.

use crate::error::{Result, TrainError};
use crate::training::adamw::AdamW;
use burn::tensor::Device;
use sc_models::weights::{NamedTensor, Tensors, read_safetensors, to_safetensors};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Checkpoints kept.
const KEEP: usize = 2;

/// State of a run; `state.json` of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// Epoch of the next step.
    pub epoch: u64,
    /// Minibatch of the next step within its epoch.
    pub position: u64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Seed of every random stream; a stream's counters are its cell and its epoch.
    pub seed: u64,
    /// Hash of everything that must not change between start and resumption.
    pub fingerprint: String,
}

/// Writes the checkpoint of `state` below `folder` and removes old ones.
///
/// # Errors
/// [`TrainError::File`] for disk errors; earlier checkpoints stay intact.
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
        sc_data::io::atomic::write_bytes_atomic(&beside.join(name), &bytes)?;
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

/// Folder of the best weights, below that of the checkpoints.
const BEST: &str = "best";

/// The step whose weights had the lowest loss on the validation cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The step; 0 before training.
    pub step: u64,
    /// Its loss on the validation cells.
    pub loss: f64,
    /// Hash of everything that must not change between start and resumption.
    pub fingerprint: String,
}

/// Keeps the weights of `best`, in place of those kept before.
///
/// # Errors
/// [`TrainError::File`] for disk errors.
pub fn save_best(folder: &Path, best: &Best, model: &Tensors) -> Result<()> {
    let folder = folder.join(BEST);
    fs::create_dir_all(&folder).map_err(|e| TrainError::file(&folder, e))?;
    let state = folder.join("state.json");
    let json = serde_json::to_vec_pretty(best).map_err(|e| TrainError::file(&state, e))?;
    // The weights carry the step in their name, so that state and weights are never of two steps.
    let weights = folder.join(format!("step-{:08}.safetensors", best.step));
    sc_data::io::atomic::write_bytes_atomic(&weights, &to_safetensors(model)?)?;
    sc_data::io::atomic::write_bytes_atomic(&state, &json)?;
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let old = entries
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "safetensors") && *p != weights);
    for path in old {
        fs::remove_file(&path).map_err(|e| TrainError::file(&path, e))?;
    }
    Ok(())
}

/// The best weights below `folder` of this run, found up to step `done`; `None` where there are none, or
/// they cannot be read: they are then found again.
pub fn best(folder: &Path, fingerprint: &str, done: u64) -> Option<(Best, Tensors)> {
    let folder = folder.join(BEST);
    let text = fs::read_to_string(folder.join("state.json")).ok()?;
    let best: Best = serde_json::from_str(&text).ok()?;
    if best.fingerprint != fingerprint || best.step > done {
        return None;
    }
    let weights = folder.join(format!("step-{:08}.safetensors", best.step));
    let weights = read_safetensors(&weights).ok()?;
    let finite = |t: &NamedTensor| t.data.iter().all(|v| v.is_finite());
    weights.values().all(finite).then_some((best, weights))
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
    /// State of the run.
    pub state: State,
    /// Weights by published name.
    pub model: Tensors,
    /// Moments.
    pub optimiser: AdamW,
}

/// The newest checkpoint below `folder`, intact or not.
pub fn newest(folder: &Path) -> Option<PathBuf> {
    list(folder).pop()
}

/// The newest intact checkpoint below `folder`, if there is one, and a line on each damaged one
/// that was skipped. `fits` says whether weights are those of the network.
///
/// # Errors
/// [`TrainError::File`] when one belongs to another run, or all are damaged.
pub fn latest(
    folder: &Path,
    fingerprint: &str,
    fits: impl Fn(&Tensors) -> Result<()>,
    device: &Device,
) -> Result<(Option<Restored>, Vec<String>)> {
    let mut damaged = Vec::new();
    for path in list(folder).into_iter().rev() {
        let state = match read_state(&path) {
            Ok(state) if state.fingerprint != fingerprint => {
                return Err(TrainError::file(
                    folder,
                    "these checkpoints belong to a run with other data, model, settings or seed; choose \
                     another output folder, or remove them to start over",
                ));
            }
            state => state,
        };
        match state.and_then(|state| read(&path, state, &fits, device)) {
            Ok(found) => return Ok((Some(found), damaged)),
            Err(e) => damaged.push(format!("damaged checkpoint skipped: {e}")),
        }
    }
    match damaged.first() {
        None => Ok((None, damaged)),
        Some(first) => Err(TrainError::file(
            folder,
            format!("all checkpoints are damaged ({first}); remove them to start over"),
        )),
    }
}

fn read_state(checkpoint: &Path) -> Result<State> {
    let path = checkpoint.join("state.json");
    let text = fs::read_to_string(&path).map_err(|e| TrainError::file(&path, e))?;
    serde_json::from_str(&text).map_err(|e| TrainError::file(&path, e))
}

/// Reads the rest of a checkpoint; non-finite numbers count as damage.
fn read(
    path: &Path,
    state: State,
    fits: &impl Fn(&Tensors) -> Result<()>,
    device: &Device,
) -> Result<Restored> {
    let part = |name: &str| {
        let path = path.join(name);
        let tensors = read_safetensors(&path)?;
        let finite = |t: &NamedTensor| t.data.iter().all(|v| v.is_finite());
        match tensors.iter().find(|(_, t)| !finite(t)) {
            None => Ok(tensors),
            Some((name, _)) => Err(TrainError::file(
                path,
                format!("tensor {name} contains numbers that are not finite"),
            )),
        }
    };
    let model = part("model.safetensors")?;
    fits(&model).map_err(|e| TrainError::file(path.join("model.safetensors"), e))?;
    Ok(Restored {
        state,
        model,
        optimiser: AdamW::from_tensors(part("optimizer.safetensors")?, device),
    })
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    const RUN: &str = "this run";

    fn state(step: u64) -> State {
        State {
            step,
            epoch: 0,
            position: 0,
            learning_rate: 0.1,
            seed: 1,
            fingerprint: RUN.into(),
        }
    }

    fn weights(value: f32) -> Tensors {
        let tensor = NamedTensor {
            shape: vec![1],
            data: vec![value],
        };
        Tensors::from([("w".to_string(), tensor)])
    }

    fn newest(folder: &Path) -> Result<(Option<u64>, usize)> {
        let (found, damaged) = latest(folder, RUN, |_| Ok(()), &Device::flex())?;
        Ok((found.map(|f| f.state.step), damaged.len()))
    }

    #[test]
    fn a_damaged_checkpoint_gives_way_to_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(newest(folder).unwrap(), (None, 0));
        for step in [4, 8] {
            save(folder, &state(step), &weights(1.0), &AdamW::default()).unwrap();
        }
        assert_eq!(newest(folder).unwrap(), (Some(8), 0));
        let file = folder.join("step-00000008/model.safetensors");
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(newest(folder).unwrap(), (Some(4), 1));
        save(folder, &state(8), &weights(f32::NAN), &AdamW::default()).unwrap();
        assert_eq!(newest(folder).unwrap(), (Some(4), 1));
        fs::remove_file(folder.join("step-00000004/state.json")).unwrap();
        let error = newest(folder).unwrap_err().to_string();
        assert!(error.contains("all checkpoints are damaged"), "{error}");
        // An intact one of another run is not skipped.
        save(folder, &state(12), &weights(1.0), &AdamW::default()).unwrap();
        // Of another run are also weights of another shape.
        let foreign = |_: &Tensors| Err(TrainError::Config("another network".into()));
        let other = latest(folder, "another", foreign, &Device::flex());
        let error = other.err().unwrap().to_string();
        assert!(error.contains("other data"), "{error}");
    }
}
