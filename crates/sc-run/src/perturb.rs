//! Effects of perturbations on control cells, as a model predicts them, beside what was measured.

use crate::error::{Result, RunError};
use sc_data::Dataset;
use sc_data::genes::{Across, Vocabulary, match_genes};
use sc_eval::perturbation::score;
use sc_models::device::Device;
use sc_train::embed::Embedder;
use sc_train::perturbation::{Effects, Perturbs};
use sc_train::{Model, Role, TrainError};
use serde::Serialize;

/// A perturbation by name, and its genes in the vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Perturbation {
    /// As it was written: `GENE`, `GENE1+GENE2` or `GENE+ctrl`.
    pub name: String,
    /// Its genes.
    pub genes: Vec<u32>,
}

/// What `model` predicts perturbations with.
///
/// # Errors
/// [`TrainError::Config`] for a model that predicts none.
pub fn perturbs(model: &Model) -> Result<Box<dyn Perturbs>> {
    let build = model.spec.known()?.perturbs;
    let built = build
        .map(|build| build(&model.spec, &model.data))
        .transpose()?;
    built.flatten().ok_or_else(|| {
        let objective = model.spec.objective().unwrap_or_default();
        TrainError::Config(format!(
            "{} with objective = '{objective}' does not predict perturbations; train scgpt with objective = \
             'perturbation', such as the preset scgpt-perturbation-tiny",
            model.spec.architecture
        ))
        .into()
    })
}

/// The perturbation called `name`; `None` for a control.
///
/// # Errors
/// [`RunError::Settings`] for a gene that the model does not have.
pub fn named(name: &str, model: &Model, controls: &[String]) -> Result<Option<Perturbation>> {
    let is_control = |part: &str| controls.iter().any(|c| c == part);
    let parts = name.split('+').map(str::trim);
    let parts: Vec<String> = parts
        .filter(|p| !is_control(p))
        .map(str::to_owned)
        .collect();
    if parts.is_empty() || is_control(name) {
        return Ok(None);
    }
    let vocabulary = Vocabulary::new(model.data.genes.to_vec()).map_err(TrainError::from)?;
    let found = match_genes(&parts, &vocabulary, Across::Same);
    let map = found.map_or_else(|_| vec![None; parts.len()], |found| found.map);
    let genes = parts.iter().zip(map).map(|(part, place)| {
        place.ok_or_else(|| {
            RunError::settings(
                name,
                format!(
                    "the model does not have the gene '{part}'; it has {} genes",
                    vocabulary.len()
                ),
            )
        })
    });
    Ok(Some(Perturbation {
        name: name.to_owned(),
        genes: genes.collect::<Result<_>>()?,
    }))
}

/// Values of the column of perturbations of a data set.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Rows of the control cells; all, where there is no column.
    pub controls: Vec<usize>,
    /// Rows of every perturbation that was measured.
    pub perturbed: Vec<(String, Vec<usize>)>,
}

impl Measured {
    /// By `column`, or with every cell as a control where the data have none of that name.
    ///
    /// # Errors
    /// [`TrainError::File`] for a column without controls.
    pub fn of(dataset: &Dataset, column: &str, controls: &[String]) -> Result<Self> {
        if !dataset.has_column(column) {
            return Ok(Self {
                controls: (0..dataset.cells()).collect(),
                perturbed: Vec::new(),
            });
        }
        let values = dataset.shared_categories(column)?;
        let mut out = Self::default();
        let mut rows: Vec<Vec<usize>> = vec![Vec::new(); values.names().len()];
        for (row, &code) in values.codes().iter().enumerate() {
            if let Some(of) = rows.get_mut(code as usize) {
                of.push(row);
            }
        }
        for (name, rows) in values.names().iter().zip(rows) {
            match name
                .split('+')
                .all(|part| controls.iter().any(|c| c == part.trim()))
            {
                true => out.controls.extend(rows),
                false => out.perturbed.push((name.clone(), rows)),
            }
        }
        out.controls.sort_unstable();
        match out.controls.is_empty() {
            false => Ok(out),
            true => {
                let what = format!(
                    "obs['{column}'] has no control ({}), and perturbations are predicted for control cells",
                    controls.join(" or ")
                );
                Err(TrainError::file(dataset.path(), what).into())
            }
        }
    }
}

/// How near a prediction comes to what was measured, beside what needs no model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Near {
    /// The perturbation.
    pub name: String,
    /// Whether the model was trained on cells with it.
    pub in_training: bool,
    /// Cells in which it was measured.
    pub cells: usize,
    /// Correlation of the predicted change of expression with the measured one.
    pub correlation: f64,
    /// The same of the mean of all other measured perturbations; `None` where there is no other.
    pub others: Option<f64>,
    /// The same of the sum of the changes by each gene alone, where those were measured.
    pub additive: Option<f64>,
    /// Mean squared error of the prediction, over genes.
    pub squared_error: f64,
    /// The same of no change at all.
    pub no_change: f64,
}

/// Compares predictions for `perturbations` with the measured cells of `embedder`.
///
/// # Errors
/// [`RunError`] for counts that cannot be read.
pub fn compare(
    embedder: &Embedder<'_>,
    how: &dyn Perturbs,
    measured: &Measured,
    perturbations: &[Perturbation],
    effects: &Effects,
) -> Result<Vec<Near>> {
    let mean = |rows: &[usize]| -> Result<Vec<f64>> { Ok(how.mean(&embedder.corpus.read(rows)?)) };
    let control = mean(&measured.controls)?;
    let mut means = Vec::new();
    for (name, rows) in &measured.perturbed {
        means.push((name.as_str(), rows.len(), mean(rows)?));
    }
    let alone = |gene: u32| -> Option<&Vec<f64>> {
        let of = |(name, ..): &&(&str, usize, Vec<f64>)| {
            let found = named(name, &embedder.model, how.controls()).ok().flatten();
            found.is_some_and(|p| p.genes == [gene])
        };
        means.iter().find(of).map(|(_, _, mean)| mean)
    };
    let known = embedder.model.data.levels.get(&Role::Perturbation);
    let mut out = Vec::new();
    for (perturbation, predicted) in perturbations.iter().zip(&effects.perturbed) {
        let own = means.iter().find(|(name, ..)| *name == perturbation.name);
        let Some((_, cells, truth)) = own else {
            continue;
        };
        // From the controls that were given to the model to those that were measured: the change counts.
        let shifted: Vec<f64> = (predicted.iter().zip(&effects.control))
            .zip(&control)
            .map(|((p, c), all)| p - c + all)
            .collect();
        let by_model = score(&shifted, truth, &control);
        let others: Vec<&Vec<f64>> = (means.iter().filter(|(n, ..)| *n != perturbation.name))
            .map(|(_, _, mean)| mean)
            .collect();
        let others = (!others.is_empty()).then(|| {
            let sum = |gene: usize| others.iter().map(|m| m[gene]).sum::<f64>();
            let mean: Vec<f64> = (0..control.len())
                .map(|gene| sum(gene) / others.len() as f64)
                .collect();
            score(&mean, truth, &control).change_correlation
        });
        let singles: Option<Vec<&Vec<f64>>> = match perturbation.genes.len() {
            0 | 1 => None,
            _ => perturbation.genes.iter().map(|g| alone(*g)).collect(),
        };
        let additive = singles.map(|singles| {
            let sum: Vec<f64> = (0..control.len())
                .map(|g| control[g] + singles.iter().map(|m| m[g] - control[g]).sum::<f64>())
                .collect();
            score(&sum, truth, &control).change_correlation
        });
        out.push(Near {
            name: perturbation.name.clone(),
            in_training: known.is_some_and(|k| k.contains(&perturbation.name)),
            cells: *cells,
            correlation: by_model.change_correlation,
            others,
            additive,
            squared_error: by_model.squared_error,
            no_change: score(&control, truth, &control).squared_error,
        });
    }
    Ok(out)
}

/// Predicts `perturbations` for the control cells at `rows` of the data of `embedder`.
///
/// # Errors
/// Those of [`Perturbs::effects`], and counts that cannot be read.
pub fn effects(
    embedder: &Embedder<'_>,
    how: &dyn Perturbs,
    rows: &[usize],
    perturbations: &[Perturbation],
    device: &Device,
    done: &mut dyn FnMut(),
) -> Result<Effects> {
    let cells = embedder.corpus.read(rows)?;
    let genes: Vec<Vec<u32>> = perturbations.iter().map(|p| p.genes.clone()).collect();
    let weights = embedder.model.weights.clone();
    Ok(how.effects(weights, &cells, &genes, device, done)?)
}
