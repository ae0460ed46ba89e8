//! The set of metrics on one set of cells, without uncertainty.

use super::References;
use crate::categories::Groups;
use crate::error::{EvalError, Outcome, Undefined};
use crate::graph::fuzzy;
use crate::metrics::clustering::{nmi_ari_cluster_labels_kmeans, nmi_ari_cluster_labels_leiden};
use crate::metrics::connectivity::graph_connectivity;
use crate::metrics::kbet;
use crate::metrics::lisi::{clisi_knn, ilisi_knn};
use crate::metrics::pcr::{pcr, pcr_comparison};
use crate::metrics::scgraph::{Consensus, ScGraph, scgraph};
use crate::metrics::silhouette::{self, Between, Isolated};
use crate::neighbors::{Neighbors, Ties, knn};
use crate::results::{Group, Mode};
use ndarray::{Array2, ArrayView2, Axis};

/// Neighbours of LISI, the cell itself counted.
const LISI_NEIGHBORS: usize = 90;
/// Neighbours of kBET.
const KBET_NEIGHBORS: usize = 50;
/// Neighbours of graph connectivity, Leiden and UMAPs.
pub(super) const GRAPH_NEIGHBORS: usize = 15;

/// One number of one set of cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Machine name, scib-metrics' own where it has one.
    pub name: String,
    /// The aspect it measures.
    pub group: Group,
    /// The number, or why there is none.
    pub outcome: Outcome,
    /// A note for the reader.
    pub note: Option<String>,
}

impl Score {
    pub(super) fn new(name: impl Into<String>, group: Group, outcome: Outcome) -> Self {
        Self {
            name: name.into(),
            group,
            outcome,
            note: None,
        }
    }

    fn noted(self, note: Option<String>) -> Self {
        Self { note, ..self }
    }
}

/// The cells to score: the rows of an embedding `[cells, dims]` and their annotations.
pub(crate) struct Cells {
    pub(crate) x: Array2<f32>,
    /// The embedding before integration, where there is one.
    pub(crate) pre: Option<Array2<f32>>,
    pub(crate) labels: Vec<u32>,
    pub(crate) batches: Vec<u32>,
}

impl Cells {
    /// The cells at `rows` of these.
    pub(super) fn select(&self, rows: &[usize]) -> Self {
        let pick = |codes: &[u32]| rows.iter().map(|&r| codes[r]).collect();
        Self {
            x: self.x.select(Axis(0), rows),
            pre: self.pre.as_ref().map(|p| p.select(Axis(0), rows)),
            labels: pick(&self.labels),
            batches: pick(&self.batches),
        }
    }
}

/// Every metric in the strict definition.
pub(crate) fn strict(
    cells: &Cells,
    references: &References<'_>,
    seed: u64,
) -> Result<Vec<Score>, EvalError> {
    let near = knn(cells.x.view(), LISI_NEIGHBORS, Ties::Hashed(seed))?;
    let mut out = silhouettes(cells, Mode::Strict)?;
    neighbourhoods(cells, &near, Mode::Strict, &mut out);
    clusterings(cells, &near, seed, &mut out);
    let comparison = match &cells.pre {
        Some(pre) => pcr_comparison(pre.view(), cells.x.view(), &cells.batches),
        None => Err(Undefined::NoReference("the pre-integration embedding")),
    };
    out.push(Score::new("pcr_comparison", Group::Batch, comparison));
    let own = pcr(cells.x.view(), &cells.batches);
    out.push(Score::new("pcr", Group::Batch, own));
    geometry(cells, references, Mode::Strict, &mut out);
    Ok(out)
}

/// The metrics whose published definition gives, or may give, another number.
pub(super) fn compat(cells: &Cells, references: &References<'_>) -> Result<Vec<Score>, EvalError> {
    // Ties by position, as the packages do by accident.
    let near = knn(cells.x.view(), LISI_NEIGHBORS, Ties::Index)?;
    let mut out = silhouettes(cells, Mode::Compat)?;
    neighbourhoods(cells, &near, Mode::Compat, &mut out);
    geometry(cells, references, Mode::Compat, &mut out);
    Ok(out)
}

fn silhouettes(cells: &Cells, mode: Mode) -> Result<Vec<Score>, EvalError> {
    let (x, labels, batches) = (cells.x.view(), &cells.labels, &cells.batches);
    let s = silhouette::per_cell(x, labels)?;
    let rule = match mode {
        Mode::Strict => Isolated::FewestNotAll,
        Mode::Compat => Isolated::Fewest,
    };
    let isolated = silhouette::isolated_from_per_cell(s.clone(), labels, batches, rule, mode);
    let label = silhouette::label_from_per_cell(s, labels, mode);
    let mut out = vec![
        Score::new("silhouette_label", Group::Bio, label),
        Score::new("isolated_labels", Group::Bio, isolated),
    ];
    let bras = |between, mode| silhouette::bras(x, labels, batches, between, mode);
    match mode {
        Mode::Strict => {
            let batch = silhouette::silhouette_batch(x, labels, batches);
            out.push(Score::new("silhouette_batch", Group::Batch, batch));
            let mean = bras(Between::MeanOther, Mode::Strict);
            out.push(Score::new("bras", Group::Batch, mean));
            let furthest = bras(Between::Furthest, Mode::Strict);
            out.push(Score::new("bras_furthest", Group::Batch, furthest));
        }
        // The modes differ only where a cell lies at the origin.
        Mode::Compat if at_origin(x) => {
            let mean = bras(Between::MeanOther, Mode::Compat);
            out.push(Score::new("bras", Group::Batch, mean));
        }
        Mode::Compat => {}
    }
    Ok(out)
}

fn at_origin(x: ArrayView2<'_, f32>) -> bool {
    x.outer_iter().any(|row| row.iter().all(|&v| v == 0.0))
}

fn neighbourhoods(cells: &Cells, near: &Neighbors, mode: Mode, out: &mut Vec<Score>) {
    let (labels, batches) = (&cells.labels, &cells.batches);
    let note = |wanted: usize| {
        (near.k() < wanted).then(|| {
            format!(
                "{} neighbours instead of {wanted}, because there are few cells",
                near.k()
            )
        })
    };
    // Without ties both modes see the same neighbours, and LISI has one definition.
    if mode == Mode::Strict || near.tied {
        let lisi = note(LISI_NEIGHBORS);
        let clisi = Score::new("clisi_knn", Group::Bio, clisi_knn(near, labels));
        out.push(clisi.noted(lisi.clone()));
        let ilisi = Score::new("ilisi_knn", Group::Batch, ilisi_knn(near, batches));
        out.push(ilisi.noted(lisi));
    }
    let kbet = kbet::kbet_per_label(near, KBET_NEIGHBORS, labels, batches, mode);
    let kbet = Score::new("kbet_per_label", Group::Batch, kbet);
    out.push(kbet.noted(note(KBET_NEIGHBORS)));
    let connectivity = graph_connectivity(near, GRAPH_NEIGHBORS, labels, mode);
    let connectivity = Score::new("graph_connectivity", Group::Batch, connectivity);
    out.push(connectivity.noted(note(GRAPH_NEIGHBORS)));
}

fn clusterings(cells: &Cells, near: &Neighbors, seed: u64, out: &mut Vec<Score>) {
    // NMI of one label is 1 whatever the embedding: a number, but not a measurement.
    let one = Groups::new(&cells.labels).len() < 2;
    let mut pair = |method: &str, found: Result<(f64, f64), Undefined>| {
        let found = if one { Err(Undefined::OneLabel) } else { found };
        let (nmi, ari) = match found {
            Ok((nmi, ari)) => (Ok(nmi), Ok(ari)),
            Err(e) => (Err(e.clone()), Err(e)),
        };
        let name = |what| format!("nmi_ari_cluster_labels_{method}_{what}");
        out.push(Score::new(name("nmi"), Group::Bio, nmi));
        out.push(Score::new(name("ari"), Group::Bio, ari));
    };
    let kmeans = nmi_ari_cluster_labels_kmeans(cells.x.view(), &cells.labels, seed);
    pair("kmeans", kmeans);
    let graph = fuzzy(near, GRAPH_NEIGHBORS);
    let leiden = nmi_ari_cluster_labels_leiden(&graph, &cells.labels, seed);
    pair("leiden", leiden);
}

fn geometry(cells: &Cells, references: &References<'_>, mode: Mode, out: &mut Vec<Score>) {
    let consensus: Result<&Consensus, Undefined> = match references.scgraph {
        None => Err(Undefined::NoReference(
            "a reference geometry (log-normalised values)",
        )),
        Some(r) if mode == Mode::Strict => r.strict.as_ref().map_err(Clone::clone),
        Some(r) => r.compat.as_ref().map_err(Clone::clone),
    };
    let scores = match consensus {
        Ok(consensus) => scgraph(cells.x.view(), &cells.labels, consensus),
        Err(e) => ScGraph {
            rank: Err(e.clone()),
            corr: Err(e.clone()),
            corr_weighted: Err(e),
        },
    };
    for (name, outcome) in [
        ("scgraph_corr_weighted", scores.corr_weighted),
        ("scgraph_corr", scores.corr),
        ("scgraph_rank", scores.rank),
    ] {
        out.push(Score::new(name, Group::Geometry, outcome));
    }
}
