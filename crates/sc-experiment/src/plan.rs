//! From a matrix to runs: one fully resolved `run.toml` for each.

use crate::error::{ExperimentError, Result};
use crate::matrix::{Data, Loaded, Matrix, Method, Seeds};
use crate::run::{MethodKind, Run, RunData, RunMethod, SCHEMA};
use sc_data::dataset::NO_COLUMN;
use sc_data::io::atomic::{hash_file, write_bytes_atomic};
use sc_data::io::formats::files_of;
use sc_data::io::h5ad::H5ad;
use sc_data::settings;
use sc_data::simulate::{SimConfig, simulate_to_file};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// A run, and where it is done.
#[derive(Debug)]
pub struct PlannedRun {
    /// Place in the matrix, which is also its place in tables.
    pub place: usize,
    /// Data file, without folder.
    pub data: String,
    /// For display: method, seed, device.
    pub label: String,
    /// blake3 of everything the result depends on.
    pub hash: String,
    /// Its folder.
    pub folder: PathBuf,
    /// What is done.
    pub run: Run,
}

impl PlannedRun {
    /// Path of its `run.toml`.
    pub fn file(&self) -> PathBuf {
        self.folder.join("run.toml")
    }

    /// Makes the folder and writes `run.toml`.
    ///
    /// # Errors
    /// [`ExperimentError`] when the system refuses.
    pub fn prepare(&self) -> Result<()> {
        std::fs::create_dir_all(&self.folder).map_err(ExperimentError::io(&self.folder))?;
        let text = text(&table_of(&self.run)?)?;
        Ok(write_bytes_atomic(&self.file(), text.as_bytes())?)
    }
}

fn table_of(run: &Run) -> Result<Table> {
    Table::try_from(run).map_err(|e| ExperimentError::config("run.toml", e.to_string()))
}

fn text(table: &Table) -> Result<String> {
    toml::to_string(table).map_err(|e| ExperimentError::config("run.toml", e.to_string()))
}

/// A data set that was found.
struct Found<'a> {
    columns: &'a Data,
    path: PathBuf,
    name: String,
    hash: String,
}

/// One choice of method, objective, seed and device.
struct Choice<'a> {
    method: &'a Method,
    /// Name of the row: the method's, with the objective where there are several.
    name: String,
    objective: Option<&'a str>,
    seed: u64,
    device: &'a str,
}

/// All runs of a matrix, in the order of the file, by a program of this hash.
///
/// # Errors
/// [`ExperimentError`] for files and columns that are not there.
pub fn runs(loaded: &Loaded, program: &str, out: &Path) -> Result<Vec<PlannedRun>> {
    planned(loaded, program, out).map_err(|e| e.in_file(&loaded.name))
}

fn planned(loaded: &Loaded, program: &str, out: &Path) -> Result<Vec<PlannedRun>> {
    let out = std::path::absolute(out).map_err(ExperimentError::io(out))?;
    let matrix = &loaded.matrix;
    if let Some(seed) = matrix.seeds.iter().find(|s| i64::try_from(**s).is_err()) {
        let what = format!("{seed} does not fit; use seeds below 2^63");
        return Err(ExperimentError::config("seeds", what));
    }
    let mut runs = Vec::new();
    for data in &matrix.data.0 {
        let found = find(loaded, data, &out)?;
        let on = |m: &Method| match (&m.data, &data.name) {
            (Some(wanted), Some(name)) => wanted.0.contains(name),
            (wanted, _) => wanted.is_none(),
        };
        let chosen = choices(matrix).into_iter();
        for choice in chosen.filter(|c| on(c.method)) {
            let run = resolve(loaded, &found, &choice)?;
            let hash = key(&run, program)?;
            let Choice {
                name, seed, device, ..
            } = choice;
            let folder = format!("{name}-s{seed}-{}-{}", device.replace(':', ""), &hash[..12]);
            let several = matrix.data.0.len() > 1;
            let of = if several {
                format!(" {}", found.name)
            } else {
                String::new()
            };
            runs.push(PlannedRun {
                place: runs.len(),
                label: format!("{name} s{seed} {device}{of}"),
                data: found.name.clone(),
                hash,
                folder: out.join("runs").join(folder),
                run,
            });
        }
    }
    Ok(runs)
}

fn find<'a>(loaded: &Loaded, data: &'a Data, out: &Path) -> Result<Found<'a>> {
    let path = match (&data.path, &data.simulate) {
        (Some(given), _) => locate(&loaded.folder, given, "data.path")?,
        (None, Some(simulation)) => simulated(simulation, out)?,
        (None, None) => {
            return Err(ExperimentError::config(
                "data.path",
                "is not set; set data.path=FILE.h5ad",
            ));
        }
    };
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    columns_exist(data, &path)?;
    let hash = hash_file(&path)?;
    Ok(Found {
        columns: data,
        path,
        name,
        hash,
    })
}

/// Refuses columns that an h5ad lacks, once instead of once per run. Other formats, and files that
/// cannot be opened, are left to `scfm`, which knows them.
fn columns_exist(data: &Data, path: &Path) -> Result<()> {
    let Ok(file) = H5ad::open(path) else {
        return Ok(());
    };
    for (key, column) in [
        ("data.label", &data.label),
        ("data.batch", &data.batch),
        ("data.donor", &data.donor),
    ] {
        if column != NO_COLUMN {
            file.obs_column(column)
                .map_err(|e| ExperimentError::config(key, format!("{e}; set {key}=COLUMN")))?;
        }
    }
    Ok(())
}

/// The file of a simulation, written where it is not there yet.
fn simulated(config: &SimConfig, out: &Path) -> Result<PathBuf> {
    let settings = serde_json::to_vec(config)
        .map_err(|e| ExperimentError::config("simulate", e.to_string()))?;
    let hash = blake3::hash(&settings).to_hex();
    let path = out.join(format!("simulated-{}.h5ad", &hash[..12]));
    if !path.is_file() {
        std::fs::create_dir_all(out).map_err(ExperimentError::io(out))?;
        simulate_to_file(config, &path, |_| ())?;
    }
    Ok(path)
}

/// A path of the matrix: from the folder of its file, or from the current one. It may name a folder, a
/// part of a file or two files, as `scfm` takes them.
fn locate(folder: &Path, given: &Path, key: &str) -> Result<PathBuf> {
    let candidates = [folder.join(given), given.to_owned()];
    let there = |p: &&PathBuf| files_of(p).iter().all(|file| file.exists());
    let Some(path) = candidates.iter().find(there) else {
        let message = format!(
            "{} is not there, neither from the folder of the matrix nor from here; correct it, or \
             set {key}=FILE",
            given.display()
        );
        return Err(ExperimentError::config(key, message));
    };
    std::path::absolute(path).map_err(ExperimentError::io(path))
}

fn choices(e: &Matrix) -> Vec<Choice<'_>> {
    let mut out = Vec::new();
    for method in &e.methods {
        let objectives: Vec<Option<&str>> = match &method.objective {
            Some(objectives) => objectives.0.iter().map(|o| Some(o.as_str())).collect(),
            None => vec![None],
        };
        let seeds = match method.seeds.unwrap_or_else(|| default_seeds(method)) {
            Seeds::First => &e.seeds[..1],
            Seeds::All => &e.seeds[..],
        };
        // Baselines and label controls do not touch the device.
        let devices = match method.kind {
            MethodKind::Model | MethodKind::RandomInit => &e.devices[..],
            MethodKind::Baseline | MethodKind::Control => &e.devices[..1],
        };
        let several = objectives.len() > 1;
        for objective in objectives {
            let name = match objective {
                Some(objective) if several => format!("{}-{objective}", method.name),
                _ => method.name.clone(),
            };
            for device in devices {
                for &seed in seeds {
                    out.push(Choice {
                        method,
                        name: name.clone(),
                        objective,
                        seed,
                        device,
                    });
                }
            }
        }
    }
    out
}

/// Deterministic methods give the same result for every seed.
fn default_seeds(method: &Method) -> Seeds {
    match (method.kind, method.name.as_str()) {
        (MethodKind::Baseline, _) | (MethodKind::Control, "one-hot") => Seeds::First,
        _ => Seeds::All,
    }
}

fn resolve(loaded: &Loaded, data: &Found<'_>, choice: &Choice<'_>) -> Result<Run> {
    let matrix = &loaded.matrix;
    Ok(Run {
        schema: SCHEMA,
        experiment: matrix.name.clone(),
        seed: choice.seed,
        device: choice.device.to_owned(),
        data: RunData {
            path: data.path.clone(),
            hash: data.hash.clone(),
            label: data.columns.label.clone(),
            batch: data.columns.batch.clone(),
            donor: data.columns.donor.clone(),
            counts: data.columns.counts.clone(),
        },
        split: matrix.split.clone(),
        eval: matrix.eval.clone(),
        method: method(loaded, choice)?,
    })
}

fn method(loaded: &Loaded, choice: &Choice<'_>) -> Result<RunMethod> {
    let method = choice.method;
    let mut run = RunMethod {
        name: choice.name.clone(),
        kind: method.kind,
        preset: None,
        objective: choice.objective.map(str::to_owned),
        options: method.options.clone(),
        model: None,
        train: None,
    };
    let Some(given) = &method.model else {
        return Ok(run);
    };
    let key = format!("methods.{}.model", method.name);
    let path = locate(&loaded.folder, given, &key)?;
    let mut model = settings::read(&path)?;
    let mut train = match model.remove("train") {
        Some(Value::Table(train)) => train,
        Some(_) => {
            let message = "'train' must be a table of training settings";
            return Err(ExperimentError::config(path.display().to_string(), message));
        }
        None => Table::new(),
    };
    merge(&mut model, &method.config);
    inline_other(loaded, &mut model)?;
    merge(&mut train, &loaded.matrix.train);
    merge(&mut train, &method.train);
    let preset = path.file_stem().unwrap_or_default().to_string_lossy();
    run.preset = Some(preset.into_owned());
    run.model = Some(model);
    run.train = Some(train);
    Ok(run)
}

/// A model whose size is taken is inlined like a preset, where it is a file: its text is then part of
/// the run's hash. Names of presets are those of the program, which is part of the hash itself.
fn inline_other(loaded: &Loaded, model: &mut Table) -> Result<()> {
    let Some(Value::String(named)) = model.get("same_size_as") else {
        return Ok(());
    };
    let Ok(path) = locate(&loaded.folder, Path::new(named), "same_size_as") else {
        return Ok(());
    };
    let other = settings::read(&path)?;
    model.insert("same_size_as".to_owned(), Value::Table(other));
    Ok(())
}

/// Puts the values of `over` on top of those of `base`, table by table. A table of another `kind` is
/// another thing, so it replaces the one that was there.
fn merge(base: &mut Table, over: &Table) {
    let other = |old: &Table, new: &Table| {
        let kind = new.get("kind");
        kind.is_some() && kind != old.get("kind")
    };
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Table(inner)), Value::Table(over)) if !other(inner, over) => {
                merge(inner, over);
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// blake3 of all that the result depends on. The path of the data is left out, its hash is in.
fn key(run: &Run, program: &str) -> Result<String> {
    let mut table = table_of(run)?;
    if let Some(Value::Table(data)) = table.get_mut("data") {
        data.remove("path");
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(text(&table)?.as_bytes());
    hasher.update(b"\0");
    hasher.update(program.as_bytes());
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests;
