//! The metrics, named as in scib-metrics.
//!
//! Every function returns [`crate::Outcome`]: a score, or the typed reason why there is none.
//! Uncertainty is computed by [`crate::halves`], which recomputes them on halves of the donors.
//! `Mode::Compat` follows scib-metrics 0.5.10 (scGraph: scgraph-eval 0.1.2) with its quirks;
//! `Mode::Strict` corrects them.

pub mod aggregate;
pub mod clustering;
pub mod connectivity;
pub mod kbet;
pub mod lisi;
pub mod matching;
pub mod pcr;
pub mod sbee;
pub mod scgraph;
pub mod silhouette;

/// Mean over groups of the mean of `values` inside each; `None` without groups.
///
/// `members` lists the positions of every group's cells; none is empty.
pub(crate) fn mean_of_group_means(values: &[f64], members: &[Vec<u32>]) -> Option<f64> {
    let inner = |m: &Vec<u32>| {
        let sum: f64 = m.iter().map(|&i| values[i as usize]).sum();
        sum / m.len() as f64
    };
    let groups = members.len();
    (groups > 0).then(|| members.iter().map(inner).sum::<f64>() / groups as f64)
}
