//! Columns of `obs` that a model uses.

use crate::error::{Result, TrainError};
use crate::inputs::data_spec::{Levels, Numbers, Obs, Role};
use crate::spec::{ModelSpec, NicheConfig};
use crate::training::config::Sampling;
use sc_data::dataset::Dataset;
use sc_data::preprocess::spatial::{Places, composition};
use std::collections::BTreeMap;

/// The columns used in training.
pub(crate) struct Columns {
    pub(crate) obs: Obs,
    pub(crate) levels: Levels,
    /// Columns with the labels of cells, or of their neighbours, that the model is trained on.
    pub(crate) labels: Vec<String>,
}

/// The columns that `spec` names, or `otherwise` for those it requires.
///
/// Only values of the cells at `rows` are used; values found only in other cells count as missing. A
/// model that starts from another one keeps the `known` values of that one, but for what it is trained
/// to tell.
pub(crate) fn for_training(
    dataset: &Dataset,
    spec: &ModelSpec,
    otherwise: &BTreeMap<Role, String>,
    known: &Levels,
    rows: &[usize],
) -> Result<Columns> {
    let mut named = spec.obs.clone();
    for role in spec.known()?.needs {
        if let (false, Some(column)) = (named.contains_key(role), otherwise.get(role)) {
            named.insert(*role, column.clone());
        }
    }
    let mut obs = Obs::default();
    let mut levels = Levels::new();
    let mut labels = Vec::new();
    for (role, column) in named {
        let target = matches!(role, Role::Label | Role::Perturbation | Role::Niche);
        if target {
            labels.push(column.clone());
        }
        let values = dataset
            .shared_categories(&column)
            .map_err(|e| TrainError::of_column(e, format!("obs.{}", role.word())))?;
        let found = values.occurring(rows.iter().copied());
        let kept = match known.get(&role).filter(|_| !target) {
            Some(known) => {
                check_known(dataset, (role, &column), &found, known)?;
                known.clone()
            }
            None => found,
        };
        if kept.is_empty() {
            return Err(TrainError::file(
                dataset.path(),
                format!(
                    "obs['{column}'] has no value in any of the {} training cells, but the model \
                     needs it as {}",
                    rows.len(),
                    role.word()
                ),
            ));
        }
        obs.set(role, values.recoded(&kept).codes().to_vec());
        levels.insert(role, kept);
    }
    if let Some(niche) = &spec.niche {
        let (numbers, types) = neighbourhoods(dataset, niche, rows)?;
        obs.set_numbers(Role::Niche, numbers);
        levels.insert(Role::Niche, types);
        labels.push(niche.label.clone());
    }
    // Sampling by class reveals the classes.
    if let Sampling::Balanced { column, .. } = &spec.train.sampling {
        labels.push(column.clone());
    }
    labels.sort();
    labels.dedup();
    Ok(Columns {
        obs,
        levels,
        labels,
    })
}

/// Refuses cells of a species that a model was not trained on.
fn check_known(
    dataset: &Dataset,
    (role, column): (Role, &str),
    found: &[String],
    known: &[String],
) -> Result<()> {
    let other = found.iter().find(|n| !known.contains(n));
    match (role, other) {
        (Role::Species, Some(other)) => Err(TrainError::Config(format!(
            "{}: obs['{column}'] holds '{other}', but the model was trained on {}; remove these \
             cells, or train on them",
            dataset.path().display(),
            known.join(", ")
        ))),
        _ => Ok(()),
    }
}

/// Counts of every type around every cell at `rows`, and the types.
///
/// Cells at other rows are ignored: they are no neighbours, and their neighbourhoods are empty. The
/// neighbourhood of a cell is a target of training, so labels of held-out cells must not be in it;
/// an embedding uses genes alone and does not need it.
fn neighbourhoods(
    dataset: &Dataset,
    niche: &NicheConfig,
    rows: &[usize],
) -> Result<(Numbers, Vec<String>)> {
    let column = |column: &str, key: &str| {
        let values = dataset.shared_categories(column);
        values.map_err(|e| TrainError::of_column(e, key))
    };
    let labels = column(&niche.label, "niche.label")?;
    let types = labels.occurring(rows.iter().copied());
    if types.is_empty() {
        let why = "has no value in any of the training cells, but [niche] counts its values";
        return Err(TrainError::file(
            dataset.path(),
            format!("obs['{}'] {why}", niche.label),
        ));
    }
    let codes = labels.recoded(&types).codes().to_vec();
    let sections = match &niche.section {
        Some(section) => column(section, "niche.section")?.codes().to_vec(),
        None => vec![0; dataset.cells()],
    };
    let width = types.len();
    let mut values = vec![0.0; codes.len() * width];
    let mut first = 0;
    for part in dataset.parts() {
        let places = part.file().obsm(&niche.coordinates)?;
        let last = first + part.file().n_obs();
        let own: Vec<usize> = rows
            .iter()
            .copied()
            .filter(|r| (first..last).contains(r))
            .collect();
        let placed = |r: &&usize| places.row(**r - first).iter().all(|v| v.is_finite());
        if let Some(row) = own.iter().find(|r| !placed(r)) {
            return Err(TrainError::file(
                part.file().path(),
                format!(
                    "obsm['{}']: cell {} has a non-finite coordinate; remove cells without \
                     coordinates",
                    niche.coordinates,
                    row - first
                ),
            ));
        }
        let of = |all: &[u32]| own.iter().map(|&r| all[r]).collect::<Vec<u32>>();
        let flat: Vec<f32> = own
            .iter()
            .flat_map(|&r| places.row(r - first).to_vec())
            .collect();
        let section = of(&sections);
        let places = Places {
            coordinates: &flat,
            dims: places.ncols(),
            section: &section,
        };
        let counted = composition(&places, (&of(&codes), width), niche.within);
        let counted = counted.map_err(|e| {
            let key = &niche.coordinates;
            TrainError::file(part.file().path(), format!("obsm['{key}']: {e}"))
        })?;
        for (&row, around) in own.iter().zip(counted.chunks_exact(width.max(1))) {
            values[row * width..(row + 1) * width].copy_from_slice(around);
        }
        first = last;
    }
    Ok((Numbers { width, values }, types))
}

/// The columns that `spec` names, as codes of a trained model's `levels`.
///
/// A column that the file lacks is left out, since only training requires it; but for a model
/// of several species every cell must have one.
pub(crate) fn for_embedding(dataset: &Dataset, spec: &ModelSpec, levels: &Levels) -> Result<Obs> {
    let mut obs = Obs::default();
    for (role, column) in &spec.obs {
        let Some(kept) = levels.get(role) else {
            continue;
        };
        let needed = *role == Role::Species && kept.len() > 1;
        if !needed && !dataset.has_column(column) {
            continue;
        }
        let values = dataset.shared_categories(column)?;
        check_known(dataset, (*role, column), values.names(), kept)?;
        obs.set(*role, values.recoded(kept).codes().to_vec());
    }
    Ok(obs)
}

/// Sequencing batches as codes of a trained model's; unknown ones follow.
pub(crate) fn batch_codes(codes: &[u32], names: &[String], known: &[String]) -> Vec<u32> {
    let mut all: Vec<&String> = known.iter().collect();
    let unknown = names.iter().filter(|name| !known.contains(name));
    all.extend(unknown);
    let place = |name: &String| {
        let at = all.iter().position(|k| *k == name);
        at.expect("invariant: known or unknown, it is among all") as u32
    };
    let new: Vec<u32> = names.iter().map(place).collect();
    codes.iter().map(|&c| new[c as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_known_by_name() {
        let names = |of: &[&str]| of.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let file = names(&["new", "second", "first"]);
        let codes = batch_codes(&[0, 1, 2, 1], &file, &names(&["first", "second"]));
        assert_eq!(codes, [2, 1, 0, 1]);
    }
}
