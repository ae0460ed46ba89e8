//! From a matrix to cells: one fully resolved `cell.toml` for every run.

use super::config::{Data, Experiment, Kind, Loaded, Method, Seeds};
use crate::error::Error;
use sc_data::atomic::hash_file;
use sc_data::formats::files_of;
use sc_data::h5ad::H5ad;
use sc_data::simulate::{SimConfig, simulate_to_file};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The name of a batch or donor column that there is none.
const NONE: &str = "none";

/// Layout of `cell.toml`.
const SCHEMA: i64 = 1;

/// One run.
#[derive(Debug)]
pub(crate) struct Cell {
    /// Place in the matrix, which is also its place in tables.
    pub(crate) place: usize,
    pub(crate) method: String,
    pub(crate) seed: u64,
    pub(crate) device: String,
    /// Data file, without folder.
    pub(crate) data: String,
    /// For people: method, seed, device.
    pub(crate) label: String,
    /// blake3 of everything the result depends on.
    pub(crate) hash: String,
    pub(crate) folder: PathBuf,
    pub(crate) config: Table,
}

impl Cell {
    /// Arguments of `scfm`.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let config = self.folder.join("cell.toml");
        vec![
            "run".into(),
            "--config".into(),
            config.into(),
            "--out".into(),
            self.folder.clone().into(),
        ]
    }

    /// Makes the folder and writes `cell.toml`.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        std::fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder))?;
        let path = self.folder.join("cell.toml");
        let text = text(&self.config)?;
        std::fs::write(&path, text).map_err(Error::io(&path))
    }
}

fn text(table: &Table) -> Result<String, Error> {
    toml::to_string(table).map_err(|e| Error::config("cell.toml", e.to_string()))
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

/// All cells of a matrix, in the order of the file.
pub(crate) fn cells(loaded: &Loaded, program: &str, out: &Path) -> Result<Vec<Cell>, Error> {
    let out = std::path::absolute(out).map_err(Error::io(out))?;
    let mut cells = Vec::new();
    for data in &loaded.experiment.data.0 {
        let found = find(loaded, data, &out)?;
        let on = |m: &Method| match (&m.data, &data.name) {
            (Some(wanted), Some(name)) => wanted.0.contains(name),
            (wanted, _) => wanted.is_none(),
        };
        let chosen = choices(&loaded.experiment).into_iter();
        for choice in chosen.filter(|c| on(c.method)) {
            let config = resolve(loaded, &found, &choice)?;
            let hash = key(&config, program)?;
            let Choice {
                name, seed, device, ..
            } = choice;
            let folder = format!("{name}-s{seed}-{}-{}", device.replace(':', ""), &hash[..12]);
            let several = loaded.experiment.data.0.len() > 1;
            let of = if several {
                format!(" {}", found.name)
            } else {
                String::new()
            };
            cells.push(Cell {
                place: cells.len(),
                label: format!("{name} s{seed} {device}{of}"),
                method: name,
                seed,
                device: device.to_owned(),
                data: found.name.clone(),
                hash,
                folder: out.join("cells").join(folder),
                config,
            });
        }
    }
    Ok(cells)
}

fn find<'a>(loaded: &Loaded, data: &'a Data, out: &Path) -> Result<Found<'a>, Error> {
    let path = match (&data.path, &data.simulate) {
        (Some(given), _) => locate(&loaded.folder, given, "data.path")?,
        (None, Some(simulation)) => simulated(simulation, out)?,
        (None, None) => {
            return Err(Error::config(
                &loaded.experiment.name,
                "data.path is not set; add --set data.path=FILE.h5ad",
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
fn columns_exist(data: &Data, path: &Path) -> Result<(), Error> {
    let Ok(file) = H5ad::open(path) else {
        return Ok(());
    };
    for (key, column) in [
        ("data.label", &data.label),
        ("data.batch", &data.batch),
        ("data.donor", &data.donor),
    ] {
        if column != NONE {
            file.obs_column(column)
                .map_err(|e| Error::config(key, format!("{e}; use --set {key}=COLUMN")))?;
        }
    }
    Ok(())
}

/// The file of a simulation, written where it is not there yet.
fn simulated(config: &SimConfig, out: &Path) -> Result<PathBuf, Error> {
    let settings = serde_json::to_vec(config).map_err(Error::json("simulate"))?;
    let hash = blake3::hash(&settings).to_hex();
    let path = out.join(format!("simulated-{}.h5ad", &hash[..12]));
    if !path.is_file() {
        std::fs::create_dir_all(out).map_err(Error::io(out))?;
        simulate_to_file(config, &path, |_| ())?;
    }
    Ok(path)
}

/// A path of the matrix: from the folder of its file, or from the current one. It may name a folder, a
/// part of a file or two files, as `scfm` takes them.
fn locate(folder: &Path, given: &Path, key: &str) -> Result<PathBuf, Error> {
    let candidates = [folder.join(given), given.to_owned()];
    let there = |p: &&PathBuf| files_of(p).iter().all(|file| file.exists());
    let Some(path) = candidates.iter().find(there) else {
        let message = format!(
            "{} is not there, neither from the folder of the matrix nor from here; correct it or use --set {key}=FILE",
            given.display()
        );
        return Err(Error::config(key, message));
    };
    std::path::absolute(path).map_err(Error::io(path))
}

fn choices(e: &Experiment) -> Vec<Choice<'_>> {
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
            Kind::Model | Kind::RandomInit => &e.devices[..],
            Kind::Baseline | Kind::Control => &e.devices[..1],
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

/// What draws no random numbers gives the same for every seed.
fn default_seeds(method: &Method) -> Seeds {
    match (method.kind, method.name.as_str()) {
        (Kind::Baseline, _) | (Kind::Control, "one-hot") => Seeds::First,
        _ => Seeds::All,
    }
}

fn resolve(loaded: &Loaded, data: &Found<'_>, choice: &Choice<'_>) -> Result<Table, Error> {
    let e = &loaded.experiment;
    let fault = |x: toml::ser::Error| Error::config(&e.name, x.to_string());
    let mut data_table = Table::try_from(data.columns).map_err(fault)?;
    put(
        &mut data_table,
        "path",
        data.path.to_string_lossy().as_ref(),
    );
    put(&mut data_table, "hash", data.hash.as_str());
    let mut split = Table::try_from(&e.split).map_err(fault)?;
    // One or the other, so that nobody has to ask which one counts.
    if e.split.test_donors.is_empty() {
        split.remove("test_donors");
    } else {
        split.remove("test_fraction");
    }
    let mut cell = Table::new();
    put(&mut cell, "schema", SCHEMA);
    put(&mut cell, "experiment", e.name.as_str());
    put(&mut cell, "seed", integer(choice.seed)?);
    put(&mut cell, "device", choice.device);
    put(&mut cell, "data", data_table);
    put(&mut cell, "split", split);
    put(&mut cell, "eval", Table::try_from(&e.eval).map_err(fault)?);
    put(&mut cell, "method", method_table(loaded, choice)?);
    Ok(cell)
}

fn method_table(loaded: &Loaded, choice: &Choice<'_>) -> Result<Table, Error> {
    let method = choice.method;
    let mut table = Table::new();
    put(&mut table, "name", choice.name.as_str());
    let kind = Value::try_from(method.kind)
        .map_err(|e| Error::config(&loaded.experiment.name, e.to_string()))?;
    put(&mut table, "kind", kind);
    let Some(given) = &method.model else {
        put(&mut table, "options", method.options.clone());
        return Ok(table);
    };
    let key = format!("methods.{}.model", method.name);
    let path = locate(&loaded.folder, given, &key)?;
    let mut model = self::table(&path)?;
    let mut train = match model.remove("train") {
        Some(Value::Table(train)) => train,
        Some(_) => {
            let message = "`train` must be a table of training settings";
            return Err(Error::config(path.display().to_string(), message));
        }
        None => Table::new(),
    };
    merge(&mut model, &method.config);
    inline_other(loaded, &mut model)?;
    merge(&mut train, &loaded.experiment.train);
    merge(&mut train, &method.train);
    let preset = path.file_stem().unwrap_or_default().to_string_lossy();
    put(&mut table, "preset", preset.as_ref());
    if let Some(objective) = choice.objective {
        put(&mut table, "objective", objective);
    }
    put(&mut table, "model", model);
    put(&mut table, "train", train);
    Ok(table)
}

/// A model whose size is taken is inlined like a preset, where it is a file: its text is then part of
/// the cell's hash. Names of presets are those of `scfm`, which is part of the hash itself.
fn inline_other(loaded: &Loaded, model: &mut Table) -> Result<(), Error> {
    let Some(Value::String(named)) = model.get("same_size_as") else {
        return Ok(());
    };
    let Ok(path) = locate(&loaded.folder, Path::new(named), "same_size_as") else {
        return Ok(());
    };
    let other = table(&path)?;
    put(model, "same_size_as", other);
    Ok(())
}

/// The table in a file.
fn table(path: &Path) -> Result<Table, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    toml::from_str(&text).map_err(|e| {
        let message = e.to_string().trim_end().to_owned();
        Error::config(path.display().to_string(), message)
    })
}

fn put(table: &mut Table, key: &str, value: impl Into<Value>) {
    table.insert(key.to_owned(), value.into());
}

fn integer(v: u64) -> Result<i64, Error> {
    i64::try_from(v)
        .map_err(|_| Error::config("seeds", format!("{v} does not fit; use seeds below 2^63")))
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
fn key(config: &Table, program: &str) -> Result<String, Error> {
    let mut config = config.clone();
    if let Some(Value::Table(data)) = config.get_mut("data") {
        data.remove("path");
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(text(&config)?.as_bytes());
    hasher.update(b"\0");
    hasher.update(program.as_bytes());
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests;
