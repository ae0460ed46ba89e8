//! The TOML of a matrix: what may stand in it and what is refused.

use super::overrides;
use crate::error::Error;
use sc_data::simulate::SimConfig;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as Derive, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// A matrix.
#[derive(Debug, Derive)]
#[serde(deny_unknown_fields)]
pub(crate) struct Experiment {
    /// Name of the folder under `runs/`.
    pub(crate) name: String,
    /// Title of the report.
    #[serde(default)]
    pub(crate) title: Option<String>,
    #[serde(default = "first_seed")]
    pub(crate) seeds: Vec<u64>,
    #[serde(default = "default_device")]
    pub(crate) devices: Vec<String>,
    pub(crate) data: OneOrMany<Data>,
    #[serde(default)]
    pub(crate) split: Split,
    #[serde(default)]
    pub(crate) eval: Eval,
    /// Training settings of all models; a method's own come after.
    #[serde(default)]
    pub(crate) train: toml::Table,
    pub(crate) methods: Vec<Method>,
}

/// A data set and the columns of `obs` that matter.
#[derive(Clone, Debug, Derive, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Data {
    /// How methods speak of it.
    #[serde(default, skip_serializing)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) path: Option<PathBuf>,
    /// Cells to simulate, where no path is given.
    #[serde(default, skip_serializing)]
    pub(crate) simulate: Option<SimConfig>,
    #[serde(default = "label_column")]
    pub(crate) label: String,
    #[serde(default = "batch_column")]
    pub(crate) batch: String,
    #[serde(default = "donor_column")]
    pub(crate) donor: String,
    /// Where the counts are, when it shall not be found out.
    #[serde(default)]
    pub(crate) counts: Option<String>,
}

/// How donors are held out.
#[derive(Clone, Debug, Derive, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Split {
    pub(crate) test_fraction: f64,
    pub(crate) seed: u64,
    /// The donors themselves, instead of a fraction.
    pub(crate) test_donors: Vec<String>,
}

impl Default for Split {
    fn default() -> Self {
        Self {
            test_fraction: 0.35,
            seed: 0,
            test_donors: Vec::new(),
        }
    }
}

/// How methods are judged.
#[derive(Clone, Debug, Derive, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Eval {
    pub(crate) seed: u64,
    pub(crate) probe_neighbors: usize,
    pub(crate) map: MapKind,
    pub(crate) map_cells: usize,
}

impl Default for Eval {
    fn default() -> Self {
        Self {
            seed: 0,
            probe_neighbors: 15,
            map: MapKind::Umap,
            map_cells: 2000,
        }
    }
}

/// The picture of the scored cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Derive, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MapKind {
    Umap,
    None,
}

/// One row of the report.
#[derive(Clone, Debug, Derive)]
#[serde(deny_unknown_fields)]
pub(crate) struct Method {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Preset of the model, a TOML file.
    #[serde(default)]
    pub(crate) model: Option<PathBuf>,
    #[serde(default)]
    pub(crate) objective: Option<OneOrMany<String>>,
    /// Data sets it runs on, by name; all of them by default.
    #[serde(default)]
    pub(crate) data: Option<OneOrMany<String>>,
    /// Changes to the preset.
    #[serde(default)]
    pub(crate) config: toml::Table,
    #[serde(default)]
    pub(crate) train: toml::Table,
    /// Options of a baseline or a control.
    #[serde(default)]
    pub(crate) options: toml::Table,
    /// Whether it runs once per seed; by default what draws random numbers does.
    #[serde(default)]
    pub(crate) seeds: Option<Seeds>,
}

/// What a method is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Derive, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Model,
    RandomInit,
    Baseline,
    Control,
}

/// For which seeds a method runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Derive)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Seeds {
    First,
    All,
}

fn first_seed() -> Vec<u64> {
    vec![0]
}
fn default_device() -> Vec<String> {
    vec!["flex".to_owned()]
}
fn label_column() -> String {
    "cell_type".to_owned()
}
fn batch_column() -> String {
    "batch".to_owned()
}
fn donor_column() -> String {
    "donor_id".to_owned()
}

/// One value, or an array of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    // By hand: serde's untagged enums would say "data did not match any variant" and hide the key.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value or an array of them")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Vec<T>, E> {
                Ok(vec![T::deserialize(de::value::StrDeserializer::new(v))?])
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
                Ok(vec![T::deserialize(
                    de::value::MapAccessDeserializer::new(map),
                )?])
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<T>, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(seq))
            }
        }
        deserializer.deserialize_any(Either(PhantomData)).map(Self)
    }
}

/// A matrix, checked, with what is needed to find its files.
pub(crate) struct Loaded {
    pub(crate) experiment: Experiment,
    /// Folder of the file, from which its paths count.
    pub(crate) folder: PathBuf,
    /// The file after `--set`, as it was understood.
    pub(crate) resolved: toml::Table,
}

/// Whether `--set` names another data file.
fn is_data_path(assignment: &str) -> bool {
    let key = assignment.split('=').next().unwrap_or_default().trim();
    key == "data.path" || (key.starts_with("data.") && key.ends_with(".path"))
}

/// Reads a matrix and applies `--set`.
pub(crate) fn load(file: &Path, set: &[String]) -> Result<Loaded, Error> {
    let text = std::fs::read_to_string(file).map_err(Error::io(file))?;
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    parse(&text, &file.display().to_string(), folder, set)
}

fn parse(text: &str, name: &str, folder: PathBuf, set: &[String]) -> Result<Loaded, Error> {
    let fault = |e: toml::de::Error| Error::config(name, e.to_string().trim_end().to_owned());
    // First as it stands, because only then do messages show the line.
    toml::from_str::<Experiment>(text).map_err(fault)?;
    let mut resolved: toml::Table = toml::from_str(text).map_err(fault)?;
    for assignment in set {
        overrides::apply(&mut resolved, assignment)?;
    }
    // A title speaks of the data it was written for.
    if set.iter().any(|s| is_data_path(s)) && !set.iter().any(|s| s.starts_with("title")) {
        resolved.remove("title");
    }
    let experiment = Experiment::deserialize(resolved.clone()).map_err(|e| {
        Error::config(
            format!("{name} with --set"),
            e.to_string().trim_end().replace('\n', " "),
        )
    })?;
    check(&experiment).map_err(|message| Error::config(name, message))?;
    Ok(Loaded {
        experiment,
        folder,
        resolved,
    })
}

/// What types cannot say.
fn check(e: &Experiment) -> Result<(), String> {
    plain("name", &e.name)?;
    if e.seeds.is_empty() || e.devices.is_empty() || e.methods.is_empty() || e.data.0.is_empty() {
        return Err("seeds, devices, data and methods must not be empty; without them there is nothing to run".to_owned());
    }
    if e.split.test_donors.is_empty()
        && !(e.split.test_fraction > 0.0 && e.split.test_fraction < 1.0)
    {
        return Err(format!(
            "split.test_fraction is {}; it must lie between 0 and 1, both excluded",
            e.split.test_fraction
        ));
    }
    if e.eval.probe_neighbors == 0 {
        return Err("eval.probe_neighbors is 0; it must be at least 1".to_owned());
    }
    repeated("seeds", e.seeds.iter())?;
    repeated("devices", e.devices.iter())?;
    repeated("methods: name", e.methods.iter().map(|m| &m.name))?;
    let names: Vec<&String> = e.data.0.iter().filter_map(|d| d.name.as_ref()).collect();
    for name in &names {
        plain("data: name", name)?;
    }
    repeated("data: name", names.iter())?;
    for method in &e.methods {
        let mut asked = method.data.iter().flat_map(|d| &d.0);
        if let Some(data) = asked.find(|d| !names.contains(d)) {
            return Err(format!(
                "method `{}` runs on data `{data}`, but named are: {}; give that `[[data]]` a `name`",
                method.name,
                listed(&names)
            ));
        }
    }
    e.methods.iter().try_for_each(check_method)
}

fn listed(names: &[&String]) -> String {
    match names {
        [] => "none".to_owned(),
        _ => names
            .iter()
            .map(|n| n.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn check_method(m: &Method) -> Result<(), String> {
    plain("methods: name", &m.name)?;
    let name = &m.name;
    let is_model = matches!(m.kind, Kind::Model | Kind::RandomInit);
    if is_model && m.model.is_none() {
        return Err(format!(
            "method `{name}` has no `model`; name its preset, a TOML file"
        ));
    }
    if !is_model && (m.model.is_some() || m.objective.is_some()) {
        return Err(format!(
            "method `{name}` is no model; remove `model` and `objective`"
        ));
    }
    let trained = !m.train.is_empty() || !m.config.is_empty();
    if !is_model && trained {
        return Err(format!(
            "method `{name}` is no model; use `options` instead of `train` and `config`"
        ));
    }
    if is_model && !m.options.is_empty() {
        return Err(format!(
            "method `{name}` is a model; use `config` and `train` instead of `options`"
        ));
    }
    if m.kind == Kind::Model && m.objective.as_ref().is_none_or(|o| o.0.is_empty()) {
        return Err(format!(
            "method `{name}` has no `objective`; `scfm models list` shows those of each model"
        ));
    }
    if let Some(objectives) = &m.objective {
        repeated(&format!("objective of `{name}`"), objectives.0.iter())?;
    }
    Ok(())
}

/// Names become names of folders.
fn plain(what: &str, name: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(fine) {
        return Err(format!(
            "{what} `{name}` names a folder; use letters, digits, `-`, `_` and `.`"
        ));
    }
    Ok(())
}

fn repeated<T: PartialEq + fmt::Display>(
    what: &str,
    values: impl Iterator<Item = T>,
) -> Result<(), String> {
    let mut seen = Vec::new();
    for value in values {
        if seen.contains(&value) {
            return Err(format!("{what} holds `{value}` twice; keep one"));
        }
        seen.push(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
