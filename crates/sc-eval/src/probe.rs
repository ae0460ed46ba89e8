//! Scores of class predictions.
//!
//! Definitions as scikit-learn 1.9.

use crate::error::{EvalError, Outcome, Undefined};
use crate::protocol::Predictions;

/// Bins of the expected calibration error.
const BINS: usize = 15;

/// All scores, in the order of a table: accuracy, `balanced_accuracy`, `macro_f1`,
/// `macro_f1_true_classes`, `mcc`, `auroc_macro_ovr`, `ece15`, `log_loss`.
pub fn scores(predictions: &Predictions, targets: &[u32]) -> Vec<(&'static str, Outcome)> {
    vec![
        ("accuracy", accuracy(&predictions.predicted, targets)),
        (
            "balanced_accuracy",
            balanced_accuracy(&predictions.predicted, targets),
        ),
        ("macro_f1", macro_f1(&predictions.predicted, targets)),
        (
            "macro_f1_true_classes",
            macro_f1_true_classes(&predictions.predicted, targets),
        ),
        ("mcc", mcc(&predictions.predicted, targets)),
        ("auroc_macro_ovr", auroc_macro_ovr(predictions, targets)),
        ("ece15", ece15(predictions, targets)),
        ("log_loss", log_loss(predictions, targets)),
    ]
}

/// Cells by class: correct, true, predicted.
struct Margins {
    hits: Vec<f64>,
    targets: Vec<f64>,
    predicted: Vec<f64>,
    total: f64,
}

const NO_CELLS: Undefined = Undefined::TooFewCells {
    needed: 1,
    found: 0,
};

impl Margins {
    fn new(predicted: &[u32], targets: &[u32]) -> Result<Self, Undefined> {
        EvalError::check("predictions", targets.len(), predicted.len())?;
        if targets.is_empty() {
            return Err(NO_CELLS);
        }
        let mut codes: Vec<u32> = targets.iter().chain(predicted).copied().collect();
        codes.sort_unstable();
        codes.dedup();
        let position = |c: u32| codes.partition_point(|&d| d < c);
        let zeros = || vec![0f64; codes.len()];
        let mut m = Self {
            hits: zeros(),
            targets: zeros(),
            predicted: zeros(),
            total: targets.len() as f64,
        };
        for (&t, &p) in targets.iter().zip(predicted) {
            m.targets[position(t)] += 1.0;
            m.predicted[position(p)] += 1.0;
            m.hits[position(t)] += f64::from(u8::from(t == p));
        }
        Ok(m)
    }
}

fn from_margins(predicted: &[u32], targets: &[u32], score: impl Fn(&Margins) -> f64) -> Outcome {
    Ok(score(&Margins::new(predicted, targets)?))
}

/// Share of cells with the correct class.
pub fn accuracy(predicted: &[u32], targets: &[u32]) -> Outcome {
    from_margins(predicted, targets, |m| m.hits.iter().sum::<f64>() / m.total)
}

/// Mean over true classes of the share of their cells that are correct.
pub fn balanced_accuracy(predicted: &[u32], targets: &[u32]) -> Outcome {
    from_margins(predicted, targets, |m| {
        mean(
            m.hits
                .iter()
                .zip(&m.targets)
                .filter(|(_, t)| **t > 0.0)
                .map(|(h, t)| h / t),
        )
    })
}

/// Mean F1 over classes that occur in the true or predicted labels (scikit-learn's
/// `average="macro"`).
pub fn macro_f1(predicted: &[u32], targets: &[u32]) -> Outcome {
    from_margins(predicted, targets, |m| mean_f1(m, |t, p| t + p > 0.0))
}

/// Mean F1 over classes that occur in the true labels.
pub fn macro_f1_true_classes(predicted: &[u32], targets: &[u32]) -> Outcome {
    from_margins(predicted, targets, |m| mean_f1(m, |t, _| t > 0.0))
}

fn mean_f1(m: &Margins, counts: impl Fn(f64, f64) -> bool) -> f64 {
    let classes = m.hits.iter().zip(m.targets.iter().zip(&m.predicted));
    mean(
        classes
            .filter(|(_, (t, p))| counts(**t, **p))
            .map(|(h, (t, p))| 2.0 * h / (t + p)),
    )
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0u32);
    for v in values {
        sum += v;
        count += 1;
    }
    sum / f64::from(count.max(1))
}

/// Matthews correlation coefficient for several classes (Gorodkin 2004); 0 when either side is
/// constant.
pub fn mcc(predicted: &[u32], targets: &[u32]) -> Outcome {
    from_margins(predicted, targets, |m| {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let square = m.total * m.total;
        let covariance = m.hits.iter().sum::<f64>() * m.total - dot(&m.targets, &m.predicted);
        let scale =
            (square - dot(&m.predicted, &m.predicted)) * (square - dot(&m.targets, &m.targets));
        if scale > 0.0 {
            covariance / scale.sqrt()
        } else {
            0.0
        }
    })
}

/// The probabilities, checked against the true labels.
fn probabilities<'a>(
    predictions: &'a Predictions,
    targets: &[u32],
) -> Result<&'a ndarray::Array2<f64>, Undefined> {
    let p = predictions
        .probabilities
        .as_ref()
        .ok_or(Undefined::NoProbabilities)?;
    EvalError::check("probabilities", targets.len(), p.nrows())?;
    EvalError::check(
        "columns of probabilities",
        predictions.classes.len(),
        p.ncols(),
    )?;
    crate::pairs::check_finite("probabilities", p.mapv(|v| v as f32).view())?;
    Ok(p)
}

/// Mean over true classes with cells on both sides of the area under the ROC curve of one class
/// against the rest; ties count half. A class the method does not know scores ½.
pub fn auroc_macro_ovr(predictions: &Predictions, targets: &[u32]) -> Outcome {
    let p = probabilities(predictions, targets)?;
    let mut classes = targets.to_vec();
    classes.sort_unstable();
    classes.dedup();
    let (mut sum, mut count) = (0.0, 0u32);
    for class in classes {
        let column = predictions.classes.iter().position(|&c| c == class);
        let score = |i: usize| column.map_or(0.0, |k| p[[i, k]]);
        let mut order: Vec<usize> = (0..targets.len()).collect();
        order.sort_by(|&a, &b| score(a).total_cmp(&score(b)).then(a.cmp(&b)));
        let (mut positive, mut negative, mut area) = (0f64, 0f64, 0f64);
        for equal in order.chunk_by(|&a, &b| score(a) == score(b)) {
            let hits = equal.iter().filter(|&&i| targets[i] == class).count();
            let (p, n) = (hits as f64, (equal.len() - hits) as f64);
            area += p * (negative + 0.5 * n);
            positive += p;
            negative += n;
        }
        if positive > 0.0 && negative > 0.0 {
            sum += area / (positive * negative);
            count += 1;
        }
    }
    if count == 0 {
        return Err(Undefined::NoContrast);
    }
    Ok(sum / f64::from(count))
}

/// Expected calibration error over 15 equal bins `(lo, hi]` of the largest probability: the
/// weighted mean of `|accuracy − confidence|`.
pub fn ece15(predictions: &Predictions, targets: &[u32]) -> Outcome {
    let p = probabilities(predictions, targets)?;
    EvalError::check("predictions", targets.len(), predictions.predicted.len())?;
    if targets.is_empty() {
        return Err(NO_CELLS);
    }
    let mut gaps = [0f64; BINS];
    for (row, (a, b)) in p
        .outer_iter()
        .zip(predictions.predicted.iter().zip(targets))
    {
        let confidence = row.iter().fold(0f64, |m, &v| m.max(v));
        // A confidence on an edge, up to rounding, belongs to the bin below.
        let bin = (confidence * BINS as f64 - 1e-9).ceil().max(1.0) as usize - 1;
        gaps[bin.min(BINS - 1)] += f64::from(u8::from(a == b)) - confidence;
    }
    Ok(gaps.iter().map(|g| g.abs()).sum::<f64>() / targets.len() as f64)
}

/// Mean of `−ln p(true class)`, probabilities clipped at the f64 epsilon.
pub fn log_loss(predictions: &Predictions, targets: &[u32]) -> Outcome {
    let p = probabilities(predictions, targets)?;
    if targets.is_empty() {
        return Err(NO_CELLS);
    }
    let losses = targets.iter().zip(p.outer_iter()).map(|(&t, row)| {
        let column = predictions.classes.iter().position(|&c| c == t);
        let v = column.map_or(0.0, |k| row[k]);
        -v.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
    });
    Ok(losses.sum::<f64>() / targets.len() as f64)
}
