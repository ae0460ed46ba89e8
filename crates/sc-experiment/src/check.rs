//! What the types of a run and a matrix cannot say of their values.

use crate::error::Result;
use crate::run::{EvalSettings, MapKind, MethodKind, Run, RunMethod, SCHEMA, SplitSettings};
use sc_data::DataError;
use sc_data::dataset::NO_COLUMN;
use sc_eval::benchmark::{MethodOptions, describe, unknown};
use sc_eval::results::Family;

/// Cells that a map needs at least.
const FEWEST_MAPPED: usize = 3;

/// Digits of a blake3.
const DIGITS: usize = 64;

/// Names of devices, as `scfm` takes them.
pub const DEVICES: [&str; 7] = ["flex", "cpu", "ndarray", "wgpu", "vulkan", "metal", "cuda"];

/// What is wrong with a value, with its key.
type Fault = std::result::Result<(), String>;

/// Refuses a run whose values cannot be meant.
///
/// # Errors
/// [`crate::ExperimentError::Data`] with the first key whose value cannot be, and what it can be.
pub fn run(run: &Run) -> Result<()> {
    values(run).map_err(|what| DataError::invalid(what).into())
}

fn values(run: &Run) -> Fault {
    if run.schema != SCHEMA {
        return Err(format!(
            "schema = {}; only schema {SCHEMA} is read here",
            run.schema
        ));
    }
    let hash = &run.data.hash;
    if hash.len() != DIGITS || !hash.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(format!(
            "data.hash = \"{hash}\"; must be the blake3 of data.path, {DIGITS} hexadecimal digits"
        ));
    }
    columns(&run.data.label, &run.data.donor)?;
    split(&run.split)?;
    eval(&run.eval)?;
    method(&run.method)
}

/// Refuses a device that no build has. Which of them a build has, only `scfm` itself can say.
pub(crate) fn device(device: &str) -> Fault {
    let name = device.split(':').next().unwrap_or(device);
    if DEVICES.contains(&name) {
        return Ok(());
    }
    Err(format!(
        "devices: there is no device '{device}'; there are: {}, with a number as in cuda:1",
        DEVICES.join(", ")
    ))
}

/// Refuses donors that are the labels.
pub(crate) fn columns(label: &str, donor: &str) -> Fault {
    if label == donor && donor != NO_COLUMN {
        return Err(format!(
            "data.donor = \"{donor}\" is data.label as well, so every held-out cell would have a label \
             that no training cell has; name the column of the donors, or \"{NO_COLUMN}\" to hold out \
             cells at random"
        ));
    }
    Ok(())
}

pub(crate) fn split(split: &SplitSettings) -> Fault {
    let share = split.test_fraction;
    if split.test_donors.is_empty() && !(share > 0.0 && share < 1.0) {
        return Err(format!(
            "split.test_fraction = {share}; must lie between 0 and 1, both excluded"
        ));
    }
    Ok(())
}

pub(crate) fn eval(eval: &EvalSettings) -> Fault {
    if eval.probe_neighbors == 0 {
        return Err("eval.probe_neighbors = 0; must be at least 1".to_owned());
    }
    let cells = eval.map_cells;
    if eval.map == MapKind::Umap && cells < FEWEST_MAPPED {
        return Err(format!(
            "eval.map_cells = {cells}; must be at least {FEWEST_MAPPED}, or write eval.map = \"none\" to \
             draw no map"
        ));
    }
    Ok(())
}

fn method(method: &RunMethod) -> Fault {
    let name = &method.name;
    if method.kind.is_network() {
        return match method.options == MethodOptions::default() {
            true => Ok(()),
            false => Err(format!(
                "method.options does nothing for the model {name}; use method.model and method.train"
            )),
        };
    }
    let keys = [
        ("preset", method.preset.is_some()),
        ("objective", method.objective.is_some()),
        ("model", method.model.is_some()),
        ("train", method.train.is_some()),
    ];
    match keys.iter().find(|(_, given)| *given) {
        Some((key, _)) => Err(format!(
            "method.{key} does nothing for {name}, which is not a model; remove it"
        )),
        None => baseline(method.kind, &method.options, name, "method"),
    }
}

/// Checks kind and options of the baseline or control called `name`, which stand below `key`.
pub(crate) fn baseline(kind: MethodKind, options: &MethodOptions, name: &str, key: &str) -> Fault {
    let named = options.method.as_deref().unwrap_or(name);
    let (family, _) = describe(named).ok_or_else(|| format!("{key}.name: {}", unknown(named)))?;
    let (right, word) = match family {
        Family::Control => (MethodKind::Control, "control"),
        _ => (MethodKind::Baseline, "baseline"),
    };
    if kind != right {
        return Err(format!(
            "{key}.kind does not fit: {named} is a {word}; write kind = \"{word}\""
        ));
    }
    options.check(name).map(|_| ()).map_err(|e| {
        let usual = format!("methods.{name}.options");
        e.to_string().replacen(&usual, &format!("{key}.options"), 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut toml::Table)) -> String {
        let text = r#"
            schema = 1
            experiment = "x"
            seed = 0
            device = "flex"
            data = { path = "a.h5ad", hash = "", label = "l", batch = "b", donor = "d" }
            split = { test_fraction = 0.5 }
            eval = { map = "umap" }
            method = { name = "pca", kind = "baseline" }
        "#;
        let mut table: toml::Table = text.parse().unwrap();
        table["data"]["hash"] = "0f".repeat(DIGITS / 2).into();
        change(&mut table);
        let parsed: Result<Run, _> = sc_data::settings::parse(table, "run.toml");
        let checked = parsed.map_err(|e| e.to_string());
        checked
            .and_then(|r| values(&r))
            .expect_err("this must be refused")
    }

    #[test]
    fn values_that_cannot_be_meant_are_refused_by_their_key() {
        for (path, value, wanted) in [
            (&["schema"][..], "2", "schema = 2; only schema 1"),
            (
                &["data", "hash"],
                "\"xx\"",
                "data.hash = \"xx\"; must be the blake3",
            ),
            (
                &["data", "donor"],
                "\"l\"",
                "data.donor = \"l\" is data.label as well",
            ),
            (
                &["split", "test_fraction"],
                "2.0",
                "split.test_fraction = 2; must lie",
            ),
            (
                &["split", "test_donors"],
                "[]",
                "split.test_donors: invalid length 0",
            ),
            (
                &["eval", "map_cells"],
                "2",
                "eval.map_cells = 2; must be at least 3",
            ),
            (
                &["eval", "probe_neighbors"],
                "0",
                "eval.probe_neighbors = 0; must be",
            ),
            (
                &["method", "model"],
                "{}",
                "method.model does nothing for pca",
            ),
            (
                &["method", "kind"],
                "\"control\"",
                "write kind = \"baseline\"",
            ),
            (
                &["method", "name"],
                "\"pcaa\"",
                "method.name: unknown baseline or control 'pcaa'",
            ),
            (
                &["method", "options"],
                "{ neighbors = 3 }",
                "method.options.neighbors does nothing",
            ),
            (
                &["method", "options"],
                "{ genes = 0 }",
                "method.options.genes = 0; must lie",
            ),
        ] {
            let said = refused(|table| {
                let value = format!("v = {value}").parse::<toml::Table>().unwrap()["v"].clone();
                match path {
                    [key] => table.insert((*key).to_owned(), value),
                    [key, inner] => {
                        let inner = (*inner).to_owned();
                        table[*key].as_table_mut().unwrap().insert(inner, value)
                    }
                    _ => unreachable!(),
                };
            });
            assert!(said.contains(wanted), "{said}\nlacks {wanted}");
        }
    }
}
