//! Columns of `obs` that a model asks for.

use crate::error::{Result, at};
use crate::source::Source;
use sc_data::spatial::{Places, composition};
use sc_train::config::Sampling;
use sc_train::facts::{MISSING, Numbers, Obs, Role};
use sc_train::spec::NicheConfig;
use sc_train::{ModelSpec, TrainError};
use std::collections::BTreeMap;

/// Names of the values of every column in use, in the order of their codes.
pub(crate) type Levels = BTreeMap<Role, Vec<String>>;

/// What `obs` says of the cells.
pub(crate) struct Observed {
    pub(crate) obs: Obs,
    pub(crate) levels: Levels,
    /// Columns that tell the model labels of cells, or of those around them.
    pub(crate) labels: Vec<String>,
}

/// The columns that `spec` names, or `otherwise` does for what it cannot do without.
///
/// Only values of the cells at `rows` count; all other cells that have another value have none.
pub(crate) fn observe(
    source: &Source,
    spec: &ModelSpec,
    otherwise: &BTreeMap<Role, String>,
    rows: &[usize],
) -> Result<Observed> {
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
        if matches!(role, Role::Label | Role::Perturbation | Role::Niche) {
            labels.push(column.clone());
        }
        let (codes, names) = source.values(&column)?;
        let kept = seen_at(rows, &codes, &names);
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
        let (numbers, types) = surroundings(source, niche, rows)?;
        obs.set_numbers(Role::Niche, numbers);
        levels.insert(Role::Niche, types);
        labels.push(niche.label.clone());
    }
    // Which cells come more often tells of their classes.
    if let Sampling::Balanced { column, .. } = &spec.train.sampling {
        labels.push(column.clone());
    }
    labels.sort();
    labels.dedup();
    Ok(Observed {
        obs,
        levels,
        labels,
    })
}

/// Counts of every type around every cell at `rows`, and the types.
///
/// Cells at other rows are as if they were not there: they are no neighbours, and nothing is around
/// them. What surrounds a cell is a target of training, so labels of held-out cells must not be in it;
/// an embedding is made of genes alone and does not ask for it.
fn surroundings(
    source: &Source,
    niche: &NicheConfig,
    rows: &[usize],
) -> Result<(Numbers, Vec<String>)> {
    let (codes, names) = source.values(&niche.label)?;
    let types = seen_at(rows, &codes, &names);
    if types.is_empty() {
        let why = "has no value in any of the cells to train on, and [niche] counts its values";
        return Err(at(
            source.file().path(),
            format!("obs['{}'] {why}", niche.label),
        ));
    }
    let codes = recode(&codes, &names, &types);
    let (sections, _) = match &niche.section {
        Some(column) => source.values(column)?,
        None => (vec![0; source.cells()], Vec::new()),
    };
    let width = types.len();
    let mut values = vec![0.0; codes.len() * width];
    let mut first = 0;
    for part in &source.parts {
        let places = part.file.obsm(&niche.coordinates)?;
        let last = first + part.file.n_obs();
        let own: Vec<usize> = rows
            .iter()
            .copied()
            .filter(|r| (first..last).contains(r))
            .collect();
        let placed = |r: &&usize| places.row(**r - first).iter().all(|v| v.is_finite());
        if let Some(row) = own.iter().find(|r| !placed(r)) {
            return Err(at(
                part.file.path(),
                format!(
                    "obsm['{}']: cell {} has no place (a coordinate is not finite); leave cells without \
                     a place out",
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
            at(part.file.path(), format!("obsm['{key}']: {e}"))
        })?;
        for (&row, around) in own.iter().zip(counted.chunks_exact(width.max(1))) {
            values[row * width..(row + 1) * width].copy_from_slice(around);
        }
        first = last;
    }
    Ok((Numbers { width, values }, types))
}

/// The values of a column that cells at `rows` have.
fn seen_at(rows: &[usize], codes: &[u32], names: &[String]) -> Vec<String> {
    let mut seen = vec![false; names.len()];
    for &r in rows {
        if let Some(seen) = seen.get_mut(codes[r] as usize) {
            *seen = true;
        }
    }
    let kept = names.iter().zip(&seen).filter(|(_, s)| **s);
    kept.map(|(n, _)| n.clone()).collect()
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
