//! The TOML of a matrix: what may stand in it and what is refused.

use crate::check;
use crate::error::{ExperimentError, Result};
use crate::run::{DEFAULT_DEVICE, EvalSettings, MethodKind, SplitSettings};
use sc_data::settings::{self, Assignment, keys};
use sc_data::simulate::SimConfig;
use sc_eval::benchmark::{Design, MethodOptions};
use serde::Deserialize as Derive;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// A matrix: data sets, methods, seeds and devices, each with each.
#[derive(Debug, Derive)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Name of the folder under `runs/`.
    pub name: String,
    /// Title of the report.
    #[serde(default)]
    pub title: Option<String>,
    /// Seeds of what draws random numbers.
    #[serde(default = "first_seed")]
    pub seeds: Vec<u64>,
    /// Devices, as `scfm --device` takes them.
    #[serde(default = "default_device")]
    pub devices: Vec<String>,
    /// The data sets.
    pub data: OneOrMany<Data>,
    /// How donors are held out.
    #[serde(default)]
    pub split: SplitSettings,
    /// How methods are evaluated.
    #[serde(default)]
    pub eval: EvalSettings,
    /// Training settings of all models; a method's own come after.
    #[serde(default)]
    pub train: toml::Table,
    /// The rows of the report.
    pub methods: Vec<Method>,
}

/// A data set and the columns of `obs` that matter.
#[derive(Clone, Debug, Derive)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// How methods speak of it.
    #[serde(default)]
    pub name: Option<String>,
    /// The file, as `scfm` takes it.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Cells to simulate, where no path is given.
    #[serde(default)]
    pub simulate: Option<SimConfig>,
    /// Column with the cell type.
    #[serde(default = "label_column")]
    pub label: String,
    /// Column with the sequencing batch; `none` to evaluate cell types only.
    #[serde(default = "batch_column")]
    pub batch: String,
    /// Column with the donor; `none` holds out cells at random.
    #[serde(default = "donor_column")]
    pub donor: String,
    /// Where the counts are, when it shall not be found out.
    #[serde(default)]
    pub counts: Option<String>,
}

/// One row of the report.
#[derive(Clone, Debug, Derive)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// Name of the row.
    pub name: String,
    /// What it is.
    pub kind: MethodKind,
    /// Preset of the model, a TOML file.
    #[serde(default)]
    pub model: Option<PathBuf>,
    /// What the model is trained to do; a row for each.
    #[serde(default)]
    pub objective: Option<OneOrMany<String>>,
    /// Data sets it runs on, by name; all of them by default.
    #[serde(default)]
    pub data: Option<OneOrMany<String>>,
    /// Changes to the preset.
    #[serde(default)]
    pub config: toml::Table,
    /// Changes to how all models are trained.
    #[serde(default)]
    pub train: toml::Table,
    /// Options of a baseline or a control.
    #[serde(default)]
    pub options: MethodOptions,
    /// Whether it runs once per seed; by default what draws random numbers does.
    #[serde(default)]
    pub seeds: Option<Seeds>,
}

/// For which seeds a method runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Derive)]
#[serde(rename_all = "kebab-case")]
pub enum Seeds {
    /// For the first.
    First,
    /// For each.
    All,
}

fn first_seed() -> Vec<u64> {
    vec![0]
}
fn default_device() -> Vec<String> {
    vec![DEFAULT_DEVICE.to_owned()]
}
fn label_column() -> String {
    Design::default().label
}
fn batch_column() -> String {
    Design::default().batch
}
fn donor_column() -> String {
    Design::default().donor
}

/// One value, or an array of them.
#[derive(Clone, Debug, PartialEq)]
pub struct OneOrMany<T>(
    /// The values.
    pub Vec<T>,
);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    // By hand: serde's untagged enums would say "data did not match any variant" and hide the key.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value or an array of them")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> std::result::Result<Vec<T>, E> {
                Ok(vec![T::deserialize(de::value::StrDeserializer::new(v))?])
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Vec<T>, A::Error> {
                Ok(vec![T::deserialize(
                    de::value::MapAccessDeserializer::new(map),
                )?])
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> std::result::Result<Vec<T>, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(seq))
            }
        }
        deserializer.deserialize_any(Either(PhantomData)).map(Self)
    }
}

/// A matrix, checked, with what is needed to find its files.
pub struct Loaded {
    /// The matrix.
    pub matrix: Matrix,
    /// What errors call it: the file, with the assignments.
    pub name: String,
    /// Folder of the file, from which its paths count.
    pub folder: PathBuf,
    /// The file after assignments, as it was understood.
    pub resolved: toml::Table,
}

/// Whether `--set` names another data file.
fn is_data_path(assignment: &str) -> bool {
    let key = assignment.split('=').next().unwrap_or_default().trim();
    key == "data.path" || (key.starts_with("data.") && key.ends_with(".path"))
}

/// Reads a matrix and applies assignments such as `methods.cellplm.train.steps=50`.
///
/// # Errors
/// [`ExperimentError`] for what may not stand in a matrix, with its line or key.
pub fn load(file: &Path, assignments: &[String]) -> Result<Loaded> {
    let text = std::fs::read_to_string(file).map_err(ExperimentError::io(file))?;
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    parse(&text, &file.display().to_string(), folder, assignments)
}

fn parse(text: &str, name: &str, folder: PathBuf, assignments: &[String]) -> Result<Loaded> {
    let fault = |message: String| ExperimentError::config(name, message.trim_end());
    let mut resolved: toml::Table = toml::from_str(text).map_err(|e| fault(e.to_string()))?;
    // First as it stands, because only then do messages show the line.
    toml::from_str::<Matrix>(text).map_err(|e| fault(with_key(&e, &resolved)))?;
    for text in assignments {
        anchored(Assignment::parse(text)?).apply(&mut resolved)?;
    }
    // A title speaks of the data it was written for.
    if assignments.iter().any(|s| is_data_path(s))
        && !assignments.iter().any(|s| s.starts_with("title"))
    {
        resolved.remove("title");
    }
    let changed = match assignments {
        [] => name.to_owned(),
        _ => format!("{name} with {}", assignments.join(", ")),
    };
    let matrix: Matrix = settings::parse(resolved.clone(), &changed)?;
    check_matrix(&matrix).map_err(|message| ExperimentError::config(name, message))?;
    Ok(Loaded {
        matrix,
        name: changed,
        folder,
        resolved,
    })
}

/// What is wrong and in which line, with the key where that is known.
fn with_key(error: &toml::de::Error, table: &toml::Table) -> String {
    let (whole, said) = (error.to_string(), error.message());
    let (whole, said) = (whole.trim_end(), said.trim_end());
    let keyed =
        serde_json::to_value(table).map_or(Ok(()), |v| keys::parse::<Matrix>(v).map(|_| ()));
    match (keyed, whole.strip_suffix(said)) {
        (Err(keyed), Some(line)) if keyed.ends_with(&keys::plain(said)) => format!("{line}{keyed}"),
        _ => keys::plain(whole),
    }
}

/// Paths of the command line count from the current folder, those of the file from its own.
fn anchored(mut assignment: Assignment) -> Assignment {
    let key: Vec<&str> = assignment.key.iter().map(String::as_str).collect();
    let is_path = matches!(
        key[..],
        ["data", "path"] | ["data", _, "path"] | ["methods", _, "model"]
    );
    if let toml::Value::String(text) = &mut assignment.value
        && is_path
        && let Ok(path) = std::path::absolute(Path::new(text))
    {
        *text = path.to_string_lossy().into_owned();
    }
    assignment
}

/// What types cannot say.
fn check_matrix(e: &Matrix) -> std::result::Result<(), String> {
    plain("name", &e.name)?;
    if e.seeds.is_empty() || e.devices.is_empty() || e.methods.is_empty() || e.data.0.is_empty() {
        return Err(
            "seeds, devices, data and methods must not be empty; without them there is \
         nothing to run"
                .to_owned(),
        );
    }
    e.devices.iter().try_for_each(|d| check::device(d))?;
    check::split(&e.split)?;
    check::eval(&e.eval)?;
    for data in &e.data.0 {
        check::columns(&data.label, &data.donor)?;
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

fn check_method(m: &Method) -> std::result::Result<(), String> {
    plain("methods: name", &m.name)?;
    let name = &m.name;
    let is_model = m.kind.is_network();
    if is_model && m.model.is_none() {
        return Err(format!(
            "method `{name}` has no `model`; name its preset, a TOML file"
        ));
    }
    if !is_model && (m.model.is_some() || m.objective.is_some()) {
        return Err(format!(
            "method `{name}` is not a model; remove `model` and `objective`"
        ));
    }
    let trained = !m.train.is_empty() || !m.config.is_empty();
    if m.kind == MethodKind::RandomInit && !m.train.is_empty() {
        return Err(format!(
            "method `{name}` keeps its initial weights (random-init); remove `train`, or use kind = \"model\""
        ));
    }
    if !is_model && trained {
        return Err(format!(
            "method `{name}` is not a model; use `options` instead of `train` and `config`"
        ));
    }
    if is_model && m.options != MethodOptions::default() {
        return Err(format!(
            "method `{name}` is a model; use `config` and `train` instead of `options`"
        ));
    }
    if m.kind == MethodKind::Model && m.objective.as_ref().is_none_or(|o| o.0.is_empty()) {
        return Err(format!(
            "method `{name}` has no `objective`; `scfm models list` shows those of each model"
        ));
    }
    if !is_model {
        check::baseline(m.kind, &m.options, name, &format!("methods.{name}"))?;
    }
    if let Some(objectives) = &m.objective {
        repeated(&format!("objective of `{name}`"), objectives.0.iter())?;
    }
    Ok(())
}

/// Names become names of folders.
fn plain(what: &str, name: &str) -> std::result::Result<(), String> {
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
) -> std::result::Result<(), String> {
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
