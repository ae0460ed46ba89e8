//! Every scIB metric of one embedding, in one call.

use crate::categories::Categories;
use crate::error::EvalError;
use crate::pairs::check_finite;
use crate::protocol::{Cells, References, Score, strict};
use ndarray::ArrayView2;

/// The metrics of scIB (Luecken et al. 2022) on all cells at once, in their strict definitions: no
/// split, no intervals, no probes. For an evaluation with error bars see [`crate::protocol`].
///
/// # Shapes
/// - embedding: `[cells, dims]`
/// - pre_integration: `[cells, any]`, the embedding before integration; without it
///   `pcr_comparison` is undefined
///
/// # Errors
/// [`EvalError`] when shapes do not match or a value is not finite.
///
/// ```
/// use ndarray::Array2;
/// use sc_eval::{Categories, scib::scib_metrics};
///
/// // Two types far apart, each in two batches.
/// let labels = Categories::new((0..80).map(|i| i / 40).collect(), vec!["B".into(), "T".into()])?;
/// let batches = Categories::new((0..80).map(|i| i % 2).collect(), vec!["1".into(), "2".into()])?;
/// let embedding = Array2::from_shape_fn((80, 2), |(i, j)| {
///     (i / 40 * 10) as f32 + (i * (7 + 4 * j) % 13) as f32 / 13.0
/// });
/// let scores = scib_metrics(embedding.view(), &labels, &batches, None)?;
/// let nmi = scores.iter().find(|s| s.name == "nmi_ari_cluster_labels_kmeans_nmi");
/// assert_eq!(nmi.unwrap().outcome, Ok(1.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn scib_metrics(
    embedding: ArrayView2<'_, f32>,
    labels: &Categories,
    batches: &Categories,
    pre_integration: Option<ArrayView2<'_, f32>>,
) -> Result<Vec<Score>, EvalError> {
    let cells = embedding.nrows();
    EvalError::check("labels", cells, labels.len())?;
    EvalError::check("batches", cells, batches.len())?;
    check_finite("embedding", embedding)?;
    if let Some(pre) = pre_integration {
        EvalError::check("pre-integration embedding", cells, pre.nrows())?;
        check_finite("pre-integration embedding", pre)?;
    }
    let cells = Cells {
        x: embedding.to_owned(),
        pre: pre_integration.map(|p| p.to_owned()),
        labels: labels.codes().to_vec(),
        batches: batches.codes().to_vec(),
    };
    strict(&cells, &References::default(), 0)
}
