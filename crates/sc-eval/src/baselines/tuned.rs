//! Logistic regression with scaling and penalty chosen within the training donors.
//!
//! Standardising every feature suits embeddings but hurts sparse genes; unscaled features do the
//! reverse; and no single `C` suits both 50 dimensions and 20,000 genes. The setting is chosen the
//! same way for every row of a table, on folds of its training donors, and reported.

use crate::baselines::Features;
use crate::baselines::features::{Design, column_spread};
use crate::baselines::logistic::{LogisticModel, LogisticOptions, check, fit_design, logistic_l2};
use crate::baselines::reduced::{Reduced, pays};
use crate::categories::Groups;
use crate::error::EvalError;
use crate::probe;
use crate::protocol::Predictions;
use ndarray::{Array2, Axis};
use sc_data::sparse::CsrMatrix;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Inverse penalties that are tried.
pub const STRENGTHS: [f64; 6] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];
/// Folds of training donors.
const FOLDS: usize = 3;
/// Largest number of cells used for the choice.
const MOST_CELLS: usize = 1000;
/// Tolerance of the fits that rank settings; they are not reported.
const SEARCH: LogisticOptions = LogisticOptions {
    c: 1.0,
    tolerance: 1e-4,
    max_iterations: 200,
};

/// How features are scaled before the penalty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scaling {
    /// All features by one factor, so that their mean variance is 1; relative scales are kept.
    Together,
    /// Each feature to variance 1.
    Each,
}

/// The chosen setting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Scaling of the features.
    pub scaling: Scaling,
    /// Inverse penalty, scikit-learn's `C`.
    pub c: f64,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scaling = match self.scaling {
            Scaling::Together => "features scaled together",
            Scaling::Each => "each feature standardized",
        };
        write!(f, "{scaling}, C = {}", self.c)
    }
}

/// A fitted logistic regression and the setting behind it.
#[derive(Clone, Debug)]
pub struct Tuned {
    /// The model, on features as they are.
    pub model: LogisticModel,
    /// Its setting.
    pub setting: Setting,
    /// Macro-F1 over the folds for the chosen setting; `None` where there was no choice.
    pub inner: Option<f64>,
}

impl fmt::Display for Tuned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.setting)
    }
}

impl Tuned {
    /// Fits one setting on the cells at `rows`, whose labels are `labels`.
    ///
    /// # Errors
    /// [`EvalError`] when shapes do not match, values are not finite or there is no cell.
    pub fn fit(
        features: Features<'_>,
        rows: &[usize],
        labels: &[u32],
        setting: Setting,
    ) -> Result<Self, EvalError> {
        let own = Owned::select(features, rows);
        check(own.view(), labels)?;
        let factors = factors(own.view(), setting.scaling);
        let scaled = own.scaled(&factors);
        let options = LogisticOptions {
            c: setting.c,
            tolerance: 1e-6,
            ..LogisticOptions::default()
        };
        let mut model = logistic_l2(scaled.view(), labels, &options)?;
        for mut row in model.coef.outer_iter_mut() {
            row.iter_mut().zip(&factors).for_each(|(w, f)| *w *= f);
        }
        Ok(Self {
            model,
            setting,
            inner: None,
        })
    }

    /// Predictions for the cells at `rows`.
    ///
    /// # Errors
    /// [`EvalError`] when the number of features differs from the fit.
    pub fn predict(
        &self,
        features: Features<'_>,
        rows: &[usize],
    ) -> Result<Predictions, EvalError> {
        self.model.predict(Owned::select(features, rows).view())
    }
}

/// Fits on the cells at `rows` with the setting of the best macro-F1 over folds of their donors
/// (over folds of cells, where donors are unknown or there is only one); ties go to the stronger
/// penalty.
///
/// # Errors
/// [`EvalError`] when shapes do not match, values are not finite or there is no cell.
pub fn tuned_linear(
    features: Features<'_>,
    rows: &[usize],
    labels: &[u32],
    donors: Option<&[u32]>,
) -> Result<Tuned, EvalError> {
    EvalError::check("labels", rows.len(), labels.len())?;
    if let Some(donors) = donors {
        EvalError::check("donors", rows.len(), donors.len())?;
    }
    check(Owned::select(features, rows).view(), labels)?;
    let step = rows.len().div_ceil(MOST_CELLS).max(1);
    let looked: Vec<usize> = (0..rows.len()).step_by(step).collect();
    let of = |codes: &[u32]| looked.iter().map(|&i| codes[i]).collect::<Vec<u32>>();
    let own = of(labels);
    let folds = folds(looked.len(), donors.map(of));
    let some: Vec<usize> = looked.iter().map(|&i| rows[i]).collect();
    let (setting, inner) = choose(features, &some, &own, &folds)?;
    let fitted = Tuned::fit(features, rows, labels, setting)?;
    Ok(Tuned { inner, ..fitted })
}

/// Fold of every cell: whole donors where there are several, largest first.
fn folds(cells: usize, donors: Option<Vec<u32>>) -> Vec<usize> {
    let groups = donors.map(|d| Groups::new(&d)).filter(|g| g.len() > 1);
    let Some(groups) = groups else {
        return (0..cells).map(|c| c % FOLDS).collect();
    };
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|&g| std::cmp::Reverse(groups.members[g].len()));
    let count = FOLDS.min(groups.len());
    let (mut fold_of, mut sizes) = (vec![0; groups.len()], vec![0; count]);
    for g in order {
        let smallest = (0..count).min_by_key(|&f| sizes[f]).unwrap_or(0);
        fold_of[g] = smallest;
        sizes[smallest] += groups.members[g].len();
    }
    groups
        .of_cell
        .iter()
        .map(|&g| fold_of[g as usize])
        .collect()
}

fn choose(
    features: Features<'_>,
    rows: &[usize],
    labels: &[u32],
    folds: &[usize],
) -> Result<(Setting, Option<f64>), EvalError> {
    let own = Owned::select(features, rows);
    let count = folds.iter().max().map_or(0, |f| f + 1);
    let mut best = (
        Setting {
            scaling: Scaling::Each,
            c: 1.0,
        },
        None,
    );
    for scaling in [Scaling::Together, Scaling::Each] {
        let scaled = own.scaled(&factors(own.view(), scaling));
        let x = if pays(scaled.view()) {
            Reduced::new(scaled.view())?.coordinates
        } else {
            scaled.dense()
        };
        let mut scores = vec![(0f64, 0u32); STRENGTHS.len()];
        for fold in 0..count {
            let side = |held: bool| {
                let of = (0..rows.len()).filter(|&i| (folds[i] == fold) == held);
                of.collect::<Vec<usize>>()
            };
            let (fit, held) = (side(false), side(true));
            let pick = |rows: &[usize]| rows.iter().map(|&i| labels[i]).collect::<Vec<u32>>();
            if fit.is_empty() || held.is_empty() || Groups::new(&pick(&fit)).len() < 2 {
                continue;
            }
            let design = Design::of(x.select(Axis(0), &fit).view());
            let (own, targets) = (pick(&fit), pick(&held));
            let held = x.select(Axis(0), &held);
            let mut start = None;
            for (c, score) in STRENGTHS.iter().zip(&mut scores) {
                let options = LogisticOptions { c: *c, ..SEARCH };
                let model = fit_design(&design, &own, &options, start.as_ref());
                let predicted = model.classify(held.view());
                if let Ok(f1) = probe::macro_f1_true_classes(&predicted, &targets) {
                    *score = (score.0 + f1, score.1 + 1);
                }
                start = Some(model);
            }
        }
        for (&c, &(sum, folds)) in STRENGTHS.iter().zip(&scores) {
            let mean = sum / f64::from(folds.max(1));
            if folds > 0 && best.1.is_none_or(|b| mean > b + 1e-9) {
                best = (Setting { scaling, c }, Some(mean));
            }
        }
    }
    Ok(best)
}

/// Factor of every feature; 0 for a constant one.
fn factors(features: Features<'_>, scaling: Scaling) -> Vec<f64> {
    let spread = column_spread(features);
    let one_by = |s: f64| if s > 0.0 { 1.0 / s } else { 0.0 };
    match scaling {
        Scaling::Each => spread.into_iter().map(one_by).collect(),
        Scaling::Together => {
            let varying = spread.iter().filter(|s| **s > 0.0).count().max(1) as f64;
            let mean = spread.iter().map(|s| s * s).sum::<f64>() / varying;
            spread
                .iter()
                .map(|&s| if s > 0.0 { one_by(mean.sqrt()) } else { 0.0 })
                .collect()
        }
    }
}

/// Features of some cells.
enum Owned {
    Dense(Array2<f32>),
    Sparse(CsrMatrix),
}

impl Owned {
    fn select(features: Features<'_>, rows: &[usize]) -> Self {
        match features {
            Features::Dense(x) => Self::Dense(x.select(Axis(0), rows)),
            Features::Sparse(x) => Self::Sparse(x.select_rows(rows)),
        }
    }

    fn view(&self) -> Features<'_> {
        match self {
            Self::Dense(x) => Features::Dense(x.view()),
            Self::Sparse(x) => Features::Sparse(x),
        }
    }

    /// Every column multiplied by its factor; dense columns are centred first, which does not
    /// change the optimum and keeps precision for values far from the origin.
    fn scaled(&self, factors: &[f64]) -> Self {
        match self {
            Self::Dense(x) => {
                let mut out = x.clone();
                for (mut column, f) in out.columns_mut().into_iter().zip(factors) {
                    column.mapv_inplace(|v| (f64::from(v) * f) as f32);
                }
                Self::Dense(out)
            }
            Self::Sparse(x) => Self::Sparse(x.scale_columns(factors)),
        }
    }

    /// The values, for few features.
    fn dense(&self) -> Array2<f64> {
        match self {
            Self::Dense(x) => x.mapv(f64::from),
            Self::Sparse(x) => {
                let mut out = Array2::zeros((x.rows(), x.cols()));
                for (i, (columns, values)) in x.iter_rows().enumerate() {
                    for (&j, &v) in columns.iter().zip(values) {
                        out[[i, j as usize]] = f64::from(v);
                    }
                }
                out
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controls::random_embedding;

    /// Macro-F1 on the second half of the cells of a fit on the first, and what was chosen.
    fn score(x: &Array2<f32>, labels: &[u32]) -> (f64, Setting) {
        let half = labels.len() / 2;
        let rows: Vec<usize> = (0..half).collect();
        let held: Vec<usize> = (half..labels.len()).collect();
        let donors: Vec<u32> = rows.iter().map(|r| (r % 5) as u32).collect();
        let features = Features::Dense(x.view());
        let fit = tuned_linear(features, &rows, &labels[..half], Some(&donors)).unwrap();
        let found = fit.predict(features, &held).unwrap().predicted;
        (
            probe::macro_f1(&found, &labels[half..]).unwrap(),
            fit.setting,
        )
    }

    #[test]
    fn the_choice_of_scaling_follows_the_data() {
        let labels: Vec<u32> = (0..400).map(|i| i * 7 % 3).collect();
        let noise = random_embedding(400, 300, 1);
        let signal = |i: usize, j: usize| f32::from(u8::from(labels[i] as usize == j));
        // Few features that vary and matter, many that hardly vary: standardising drowns the few.
        let genes = Array2::from_shape_fn((400, 300), |(i, j)| {
            if j < 3 {
                2.0 * signal(i, j) + 0.7 * noise[[i, j]]
            } else {
                0.05 * noise[[i, j]]
            }
        });
        let (f1, setting) = score(&genes, &labels);
        assert!(f1 > 0.9, "{f1} with {setting}");
        assert_eq!(setting.scaling, Scaling::Together);
        // Small features that matter beside a large one that does not, at any scale.
        for scale in [1e-8f32, 1.0, 1e8] {
            let embedding = Array2::from_shape_fn((400, 8), |(i, j)| {
                let value = if j < 3 {
                    1e-3 * (2.0 * signal(i, j) + 0.5 * noise[[i, j]])
                } else {
                    noise[[i, j]]
                };
                scale * value
            });
            let (f1, setting) = score(&embedding, &labels);
            assert!(f1 > 0.9, "{f1} with {setting} at scale {scale}");
        }
    }

    #[test]
    fn folds_keep_donors_whole_and_cells_serve_without_donors() {
        let donors = vec![0, 0, 1, 1, 2, 2, 3, 3];
        let found = folds(8, Some(donors.clone()));
        for pair in 0..4 {
            assert_eq!(found[2 * pair], found[2 * pair + 1]);
        }
        assert_eq!(found.iter().max(), Some(&2));
        assert_eq!(folds(4, None), [0, 1, 2, 0]);
        assert_eq!(folds(3, Some(vec![7; 3])), [0, 1, 2]);
    }

    #[test]
    fn one_class_and_two_cells_are_fitted() {
        let x = random_embedding(6, 3, 2);
        let (f1, _) = score(&x, &[1; 6]);
        assert_eq!(f1, 1.0);
        let rows = [0, 1];
        let fit = tuned_linear(Features::Dense(x.view()), &rows, &[0, 1], None).unwrap();
        assert_eq!(fit.model.classes, [0, 1]);
    }
}
