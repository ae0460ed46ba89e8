//! SATURN's macrogene scores.

use super::close;
use crate::case::{Array, Case};
use crate::row::Row;
use ndarray::{Array2, ArrayView2};
use sc_data::tokens::macrogenes::{Score, distances, initial_weights, ranks, scores};

const SCORES: [(&str, Score); 3] = [
    ("default", Score::Default),
    ("one_hot", Score::OneHot),
    ("smoothed", Score::Smoothed),
];

/// Distances, ranks, scores and initial weights, of centroids and of a table with ties.
pub fn macrogenes(case: &Case) -> Result<Vec<Row>, String> {
    let matrix = |a: &Array| {
        let shape = (a.shape[0], a.shape[1]);
        Array2::from_shape_vec(shape, a.data.clone()).map_err(|e| e.to_string())
    };
    let single = |name: &str| Ok::<_, String>(matrix(case.input(name)?)?.mapv(|v| v as f32));
    let (genes, centroids) = (single("embeddings")?, single("centroids")?);
    let found = distances(genes.view(), centroids.view()).map_err(|e| e.to_string())?;
    let ranked = ranks(found.view());
    let mut rows = vec![
        close(case, "distances", &flat(found.view())),
        close(case, "ranks", &flat(ranked.view())),
    ];
    for (name, score) in SCORES {
        let scored = scores(ranked.view(), score);
        rows.push(close(case, &format!("scores.{name}"), &flat(scored.view())));
        let weights = initial_weights(scored.view()).mapv(f64::from);
        rows.push(close(
            case,
            &format!("p_weights.{name}"),
            &flat(weights.view()),
        ));
    }
    if let Some(ties) = case.inputs.get("distances_with_ties") {
        let ranked = ranks(matrix(ties)?.view());
        rows.push(close(case, "ties.ranks", &flat(ranked.view())));
        for (name, score) in SCORES {
            let scored = scores(ranked.view(), score);
            rows.push(close(
                case,
                &format!("ties.scores.{name}"),
                &flat(scored.view()),
            ));
        }
    }
    Ok(rows)
}

fn flat(matrix: ArrayView2<'_, f64>) -> Vec<f64> {
    matrix.iter().copied().collect()
}
