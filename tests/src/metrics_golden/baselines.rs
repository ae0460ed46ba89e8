//! Classifiers against scikit-learn.

use super::{Arrays, arrays, codes, largest, matrix32, need, number, positions, scalar};
use crate::row::Row;
use ndarray::{Array2, Axis};
use sc_data::sparse::CsrMatrix;
use sc_eval::baselines::{
    Features, LogisticModel, LogisticOptions, knn_classify, logistic_l1, logistic_l2, majority,
};
use sc_eval::probe;
use sc_eval::protocol::Predictions;
use serde_json::Value;
use std::path::Path;

/// Training and test features of one problem.
enum Problem {
    Dense(Array2<f32>, Array2<f32>),
    Sparse(CsrMatrix, CsrMatrix),
}

impl Problem {
    fn train(&self) -> Features<'_> {
        match self {
            Self::Dense(x, _) => Features::Dense(x.view()),
            Self::Sparse(x, _) => Features::Sparse(x),
        }
    }

    fn test(&self) -> Features<'_> {
        match self {
            Self::Dense(_, x) => Features::Dense(x.view()),
            Self::Sparse(_, x) => Features::Sparse(x),
        }
    }

    fn dense(&self) -> Result<(Array2<f32>, Array2<f32>), String> {
        let fill = |x: &CsrMatrix| {
            Array2::from_shape_vec((x.rows(), x.cols()), x.to_dense()).map_err(|e| e.to_string())
        };
        match self {
            Self::Dense(a, b) => Ok((a.clone(), b.clone())),
            Self::Sparse(a, b) => Ok((fill(a)?, fill(b)?)),
        }
    }
}

pub(super) fn run(dir: &Path, expected: &Value) -> Result<Vec<Row>, String> {
    let (stored, labels) = (
        arrays(dir, "baselines")?,
        codes(need(&arrays(dir, "cells")?, "label")?),
    );
    let embeddings = arrays(dir, "embeddings")?;
    let mut rows = Vec::new();
    for (name, section) in expected["baselines"].as_object().into_iter().flatten() {
        let Some(models) = section.get("models").and_then(Value::as_object) else {
            continue;
        };
        let (problem, train, test) = open(name, &stored, &embeddings)?;
        let pick = |rows: &[usize]| rows.iter().map(|&r| labels[r]).collect::<Vec<u32>>();
        let (y, truth) = (pick(&train), pick(&test));
        for (model, entry) in models {
            let title = format!("{name}.{model}");
            let run = Run {
                title: &title,
                entry,
                stored: &stored,
                truth: &truth,
            };
            match model.as_str() {
                "lr_l2" => {
                    let fit = logistic_l2(problem.train(), &y, &LogisticOptions::default())
                        .map_err(|e| e.to_string())?;
                    run.l2(&fit, &problem, &y, &mut rows)?;
                }
                "lr_l1_tight" | "lr_l1_default" => {
                    let options = LogisticOptions {
                        c: 0.1,
                        tolerance: 1e-9,
                        ..LogisticOptions::default()
                    };
                    let fit =
                        logistic_l1(problem.train(), &y, &options).map_err(|e| e.to_string())?;
                    run.l1(&fit, &problem, &mut rows)?;
                }
                "majority" => {
                    let predictions = majority(&y, truth.len()).map_err(|e| e.to_string())?;
                    run.metrics(&predictions, &mut rows);
                }
                // The optimum is compared under lr_l2.
                "lr_l2_optimum" => {}
                _ => match model.strip_prefix("knn").map(str::parse) {
                    Some(Ok(k)) => {
                        let (a, b) = problem.dense()?;
                        let predictions =
                            knn_classify(a.view(), &y, b.view(), k).map_err(|e| e.to_string())?;
                        run.predictions(&predictions, &mut rows);
                        run.metrics(&predictions, &mut rows);
                    }
                    _ => rows.push(Row::not_built(title.clone())),
                },
            }
        }
    }
    Ok(rows)
}

fn open(
    name: &str,
    stored: &Arrays,
    embeddings: &Arrays,
) -> Result<(Problem, Vec<usize>, Vec<usize>), String> {
    if let Some(width) = stored.get(&format!("{name}.gene_index")) {
        let read = |part: &str| -> Result<CsrMatrix, String> {
            let array = |what: &str| need(stored, &format!("{name}.X_{part}.{what}"));
            CsrMatrix::new(
                width.data.len(),
                positions(array("indptr")?),
                codes(array("indices")?),
                array("data")?.f32(),
            )
            .map_err(|e| e.to_string())
        };
        let split = |part: &str| need(stored, &format!("{name}.{part}")).map(positions);
        return Ok((
            Problem::Sparse(read("train")?, read("test")?),
            split("train")?,
            split("test")?,
        ));
    }
    let (_, split) = name
        .split_once('.')
        .ok_or_else(|| format!("{name} names no split"))?;
    let part = |part: &str| need(stored, &format!("split.{split}.{part}")).map(positions);
    let (train, test) = (part("train")?, part("test")?);
    let x = matrix32(need(embeddings, "X_pca")?)?;
    Ok((
        Problem::Dense(x.select(Axis(0), &train), x.select(Axis(0), &test)),
        train,
        test,
    ))
}

/// One fitted model beside its entry.
struct Run<'a> {
    title: &'a str,
    entry: &'a Value,
    stored: &'a Arrays,
    truth: &'a [u32],
}

impl Run<'_> {
    fn row(&self, what: &str, error: f64, tolerance: &str, rows: &mut Vec<Row>) {
        if let Some(tolerance) = number(self.entry, tolerance) {
            rows.push(Row::check(
                format!("{}.{what}", self.title),
                error,
                tolerance,
            ));
        }
    }

    fn array(&self, what: &str) -> Option<&[f64]> {
        self.stored
            .get(&format!("{}.{what}", self.title))
            .map(|a| a.data.as_slice())
    }

    fn l2(
        &self,
        fit: &LogisticModel,
        problem: &Problem,
        y: &[u32],
        rows: &mut Vec<Row>,
    ) -> Result<(), String> {
        let coef: Vec<f64> = fit.coef.iter().copied().collect();
        for what in ["coef_optimum", "coef"] {
            if let Some(theirs) = self.array(what) {
                self.row(what, largest(&coef, theirs), "coef_abs_tol", rows);
            }
        }
        if let Some(theirs) = self.array("intercept_optimum_centred") {
            self.row(
                "intercept",
                largest(&fit.intercept, theirs),
                "intercept_centred_abs_tol",
                rows,
            );
        }
        if let Some(e) = self.entry.get("objective_sum_loglik_plus_half_l2") {
            let theirs = number(e, "value").unwrap_or(f64::NAN);
            let error = (fit.objective / theirs - 1.0).abs();
            rows.push(Row::check(
                format!("{}.objective", self.title),
                error,
                number(e, "rel_tol").unwrap_or(0.0),
            ));
        }
        let own = fit.predict(problem.train()).map_err(|e| e.to_string())?;
        if let Some(e) = self.entry.get("train_log_loss") {
            let ours = probe::log_loss(&own, y).ok();
            rows.push(scalar(format!("{}.train_log_loss", self.title), ours, e));
        }
        let predictions = fit.predict(problem.test()).map_err(|e| e.to_string())?;
        if let (Some(p), Some(theirs)) = (&predictions.probabilities, self.array("proba")) {
            let ours: Vec<f64> = p.iter().copied().collect();
            self.row("proba", largest(&ours, theirs), "proba_abs_tol", rows);
        }
        self.metrics(&predictions, rows);
        Ok(())
    }

    fn l1(
        &self,
        fit: &LogisticModel,
        problem: &Problem,
        rows: &mut Vec<Row>,
    ) -> Result<(), String> {
        let coef: Vec<f64> = fit.coef.iter().copied().collect();
        if let Some(theirs) = self.array("coef") {
            self.row("coef", largest(&coef, theirs), "coef_abs_tol", rows);
        }
        let theirs: f64 = self
            .entry
            .get("objective_per_class")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_f64)
            .sum();
        self.row(
            "objective",
            (fit.objective / theirs - 1.0).abs(),
            "objective_rel_tol",
            rows,
        );
        let predictions = fit.predict(problem.test()).map_err(|e| e.to_string())?;
        self.metrics(&predictions, rows);
        Ok(())
    }

    /// Share of predictions that differ; none may.
    fn predictions(&self, predictions: &Predictions, rows: &mut Vec<Row>) {
        if let Some(theirs) = self.array("pred") {
            let wrong = predictions
                .predicted
                .iter()
                .zip(theirs)
                .filter(|(a, b)| f64::from(**a) != **b)
                .count();
            rows.push(Row::check(
                format!("{}.pred", self.title),
                wrong as f64,
                0.0,
            ));
        }
    }

    fn metrics(&self, predictions: &Predictions, rows: &mut Vec<Row>) {
        let ours = probe::scores(predictions, self.truth);
        for (key, entry) in self
            .entry
            .get("metrics")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let title = format!("{}.{key}", self.title);
            let wanted = if key == "log_loss_test" {
                "log_loss"
            } else {
                key.as_str()
            };
            match ours.iter().find(|s| s.0 == wanted) {
                Some((_, outcome)) => {
                    rows.push(scalar(title, outcome.as_ref().ok().copied(), entry));
                }
                None if key == "n_classes_in_auroc" => {}
                None => rows.push(Row::not_built(title)),
            }
        }
    }
}
