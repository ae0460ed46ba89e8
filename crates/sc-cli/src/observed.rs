//! Columns of `obs` that a model asks for.

use crate::error::{Result, at};
use crate::source::Source;
use sc_data::spatial::{Places, composition};
use sc_train::facts::{MISSING, Numbers, Obs, Role};
use sc_train::spec::NicheConfig;
use sc_train::{ModelSpec, TrainError};
use std::collections::BTreeMap;

/// Names of the values of every column in use, in the order of their codes.
pub(crate) type Levels = BTreeMap<Role, Vec<String>>;

/// The columns that `spec` names, or `otherwise` does for what it cannot do without.
///
/// Only values of the cells at `rows` count; all other cells that have another value have none.
pub(crate) fn observe(
    source: &Source,
    spec: &ModelSpec,
    otherwise: &BTreeMap<Role, String>,
    rows: &[usize],
) -> Result<(Obs, Levels)> {
    let mut named = spec.obs.clone();
    for role in spec.known()?.needs {
        if let (false, Some(column)) = (named.contains_key(role), otherwise.get(role)) {
            named.insert(*role, column.clone());
        }
    }
    let mut obs = Obs::default();
    let mut levels = Levels::new();
    for (role, column) in named {
        let (codes, names) = source.values(&column)?;
        let mut seen = vec![false; names.len()];
        for &r in rows {
            if let Some(seen) = seen.get_mut(codes[r] as usize) {
                *seen = true;
            }
        }
        let kept: Vec<String> = names
            .iter()
            .zip(&seen)
            .filter(|(_, s)| **s)
            .map(|(n, _)| n.clone())
            .collect();
        if kept.is_empty() {
            return Err(at(
                source.file().path(),
                format!(
                    "obs['{column}'] has no value in any of the {} cells to train on, and the model \
                     needs it as {}",
                    rows.len(),
                    role.word()
                ),
            ));
        }
        obs.set(role, recode(&codes, &names, &kept));
        levels.insert(role, kept);
    }
    if let Some(niche) = &spec.niche {
        let (numbers, types) = surroundings(source, niche)?;
        obs.set_numbers(Role::Niche, numbers);
        levels.insert(Role::Niche, types);
    }
    Ok((obs, levels))
}

/// Counts of every type around every cell, and the types.
fn surroundings(source: &Source, niche: &NicheConfig) -> Result<(Numbers, Vec<String>)> {
    let (codes, types) = source.values(&niche.label)?;
    let (sections, _) = match &niche.section {
        Some(column) => source.values(column)?,
        None => (vec![0; source.cells()], Vec::new()),
    };
    let mut values = Vec::with_capacity(codes.len() * types.len());
    let mut first = 0;
    for part in &source.parts {
        let places = part.file.obsm(&niche.coordinates)?;
        let last = first + part.file.n_obs();
        let dims = places.ncols();
        let flat: Vec<f32> = places.iter().copied().collect();
        let places = Places {
            coordinates: &flat,
            dims,
            section: &sections[first..last],
        };
        let counted = composition(&places, (&codes[first..last], types.len()), niche.within);
        let counted = counted.map_err(|e| {
            let key = &niche.coordinates;
            at(part.file.path(), format!("obsm['{key}']: {e}"))
        })?;
        values.extend(counted);
        first = last;
    }
    let width = types.len();
    Ok((Numbers { width, values }, types))
}

/// The columns that `spec` names, as codes of a trained model's `levels`.
///
/// A column that the file lacks is left out, since only training cannot do without it; but of a model
/// of several species every cell must say which it is of.
pub(crate) fn observe_as(source: &Source, spec: &ModelSpec, levels: &Levels) -> Result<Obs> {
    let mut obs = Obs::default();
    for (role, column) in &spec.obs {
        let Some(kept) = levels.get(role) else {
            continue;
        };
        let needed = *role == Role::Species && kept.len() > 1;
        if !needed && !source.has(column) {
            continue;
        }
        let (codes, names) = source.values(column)?;
        if let (Role::Species, Some(other)) = (role, names.iter().find(|n| !kept.contains(n))) {
            return Err(TrainError::Config(format!(
                "{}: obs['{column}'] holds '{other}', but the model was trained on {}; leave these \
                 cells out, or train on them",
                source.file().path().display(),
                kept.join(", ")
            ))
            .into());
        }
        obs.set(*role, recode(&codes, &names, kept));
    }
    Ok(obs)
}

/// Sequencing batches by the codes of a trained model's; those it does not know follow them.
pub(crate) fn batches_as(codes: &[u32], names: &[String], known: &[String]) -> Vec<u32> {
    let mut all: Vec<&String> = known.iter().collect();
    let unknown = names.iter().filter(|name| !known.contains(name));
    all.extend(unknown);
    let place = |name: &String| all.iter().position(|k| *k == name).unwrap_or(0) as u32;
    let new: Vec<u32> = names.iter().map(place).collect();
    codes.iter().map(|&c| new[c as usize]).collect()
}

fn recode(codes: &[u32], names: &[String], kept: &[String]) -> Vec<u32> {
    let new: Vec<u32> = names
        .iter()
        .map(|n| {
            kept.iter()
                .position(|k| k == n)
                .map_or(MISSING, |k| k as u32)
        })
        .collect();
    codes
        .iter()
        .map(|&c| new.get(c as usize).copied().unwrap_or(MISSING))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_known_by_name() {
        let names = |of: &[&str]| of.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let file = names(&["new", "second", "first"]);
        let codes = batches_as(&[0, 1, 2, 1], &file, &names(&["first", "second"]));
        assert_eq!(codes, [2, 1, 0, 1]);
    }
}
