//! The metric set on the cells of the held-out donors.

use super::recorder::Recorder;
use super::{Dataset, Options, References};
use crate::categories::Groups;
use crate::error::{EvalError, Undefined};
use crate::graph::fuzzy;
use crate::metrics::clustering::{nmi_ari_cluster_labels_kmeans, nmi_ari_cluster_labels_leiden};
use crate::metrics::connectivity::graph_connectivity;
use crate::metrics::kbet::{self, LabelKbet, per_label, per_label_both};
use crate::metrics::lisi::{clisi_knn, ilisi_knn};
use crate::metrics::pcr::{pcr, pcr_comparison};
use crate::metrics::scgraph::{Consensus, ScGraph, scgraph};
use crate::metrics::silhouette::{self, Between, Isolated};
use crate::neighbors::{Neighbors, Ties, knn};
use crate::results::{Group, Mode};
use ndarray::{ArrayView2, Axis};

/// Neighbours of LISI, the cell itself counted.
const LISI_NEIGHBORS: usize = 90;
/// Neighbours of kBET.
const KBET_NEIGHBORS: usize = 50;
/// Neighbours of graph connectivity, Leiden and pictures.
pub(super) const GRAPH_NEIGHBORS: usize = 15;

/// Runs and records every metric.
pub(super) fn metrics(
    embedding: ArrayView2<'_, f32>,
    dataset: &Dataset,
    references: &References<'_>,
    options: &Options,
    recorder: &mut Recorder,
) -> Result<(), EvalError> {
    let x = embedding.select(Axis(0), &dataset.test);
    let (labels, batches) = (
        dataset.labels.select(&dataset.test),
        dataset.batches.select(&dataset.test),
    );
    let cells = Cells {
        x: x.view(),
        labels: labels.codes(),
        batches: batches.codes(),
        seed: options.seed,
    };
    recorder.part("neighbours");
    let strict = knn(cells.x, LISI_NEIGHBORS, Ties::Hashed(options.seed))?;
    let compat = if strict.tied {
        Some(knn(cells.x, LISI_NEIGHBORS, Ties::Index)?)
    } else {
        None
    };
    silhouettes(&cells, recorder)?;
    recorder.part("kbet");
    let kbet = match &compat {
        None => per_label_both(&strict, KBET_NEIGHBORS, cells.labels, cells.batches)
            .map_or_else(|e| (Err(e.clone()), Err(e)), |(s, c)| (Ok(s), Ok(c))),
        Some(compat) => {
            let one =
                |near, mode| per_label(near, KBET_NEIGHBORS, cells.labels, cells.batches, mode);
            (one(&strict, Mode::Strict), one(compat, Mode::Compat))
        }
    };
    neighbourhoods(&cells, &strict, kbet.0, Mode::Strict, recorder);
    neighbourhoods(
        &cells,
        compat.as_ref().unwrap_or(&strict),
        kbet.1,
        Mode::Compat,
        recorder,
    );
    clusterings(&cells, &strict, recorder);
    recorder.part("pcr");
    let comparison = match references.pre_integration {
        Some(pre) => {
            let pre = pre.select(Axis(0), &dataset.test);
            pcr_comparison(pre.view(), cells.x, cells.batches)
        }
        None => Err(Undefined::NoReference("the pre-integration embedding")),
    };
    recorder.metric(
        "pcr_comparison",
        Group::Batch,
        Mode::Strict,
        &comparison,
        None,
    );
    let own = pcr(cells.x, cells.batches);
    recorder.metric("pcr", Group::Batch, Mode::Strict, &own, None);
    geometry(&cells, references, recorder);
    recorder.aggregates(Mode::Strict);
    recorder.aggregates(Mode::Compat);
    Ok(())
}

/// The scored cells.
struct Cells<'a> {
    x: ArrayView2<'a, f32>,
    labels: &'a [u32],
    batches: &'a [u32],
    seed: u64,
}

fn silhouettes(cells: &Cells<'_>, recorder: &mut Recorder) -> Result<(), EvalError> {
    let Cells {
        x, labels, batches, ..
    } = *cells;
    recorder.part("silhouettes");
    let s = silhouette::per_cell(x, labels)?;
    for (mode, rule) in [
        (Mode::Strict, Isolated::FewestNotAll),
        (Mode::Compat, Isolated::Fewest),
    ] {
        let label = silhouette::label_from_per_cell(s.clone(), labels, mode);
        recorder.metric("silhouette_label", Group::Bio, mode, &label, None);
        let isolated = silhouette::isolated_from_per_cell(s.clone(), labels, batches, rule, mode);
        recorder.metric("isolated_labels", Group::Bio, mode, &isolated, None);
    }
    let batch = silhouette::silhouette_batch(x, labels, batches);
    recorder.metric("silhouette_batch", Group::Batch, Mode::Strict, &batch, None);
    let bras = |mode| silhouette::bras(x, labels, batches, Between::MeanOther, mode);
    recorder.metric(
        "bras",
        Group::Batch,
        Mode::Strict,
        &bras(Mode::Strict),
        None,
    );
    // The modes differ only where a cell lies at the origin.
    if x.outer_iter().any(|row| row.iter().all(|&v| v == 0.0)) {
        recorder.metric(
            "bras",
            Group::Batch,
            Mode::Compat,
            &bras(Mode::Compat),
            None,
        );
    }
    let furthest = silhouette::bras(x, labels, batches, Between::Furthest, Mode::Strict);
    recorder.metric("bras_furthest", Group::Batch, Mode::Strict, &furthest, None);
    Ok(())
}

fn neighbourhoods(
    cells: &Cells<'_>,
    near: &Neighbors,
    kbet: Result<Vec<LabelKbet>, Undefined>,
    mode: Mode,
    recorder: &mut Recorder,
) {
    let note = |wanted: usize| {
        (near.k() < wanted)
            .then(|| format!("{} neighbours instead of {wanted}: few cells", near.k()))
    };
    // Without ties both modes see the same neighbours, and LISI has one definition.
    if mode == Mode::Strict || near.tied {
        recorder.part("lisi");
        let lisi = note(LISI_NEIGHBORS);
        let clisi = clisi_knn(near, cells.labels);
        recorder.metric("clisi_knn", Group::Bio, mode, &clisi, lisi.clone());
        let ilisi = ilisi_knn(near, cells.batches);
        recorder.metric("ilisi_knn", Group::Batch, mode, &ilisi, lisi);
    }
    let kbet = kbet.and_then(|results| kbet::from_labels(&results, cells.labels));
    recorder.metric(
        "kbet_per_label",
        Group::Batch,
        mode,
        &kbet,
        note(KBET_NEIGHBORS),
    );
    recorder.part("connectivity");
    let connectivity = graph_connectivity(near, GRAPH_NEIGHBORS, cells.labels, mode);
    recorder.metric(
        "graph_connectivity",
        Group::Batch,
        mode,
        &connectivity,
        note(GRAPH_NEIGHBORS),
    );
}

fn clusterings(cells: &Cells<'_>, near: &Neighbors, recorder: &mut Recorder) {
    // NMI of one label is 1 whatever the embedding: a number, but not a measurement.
    let one = Groups::new(cells.labels).len() < 2;
    let refuse = || Err(Undefined::OneLabel);
    recorder.part("k-means");
    let kmeans = if one {
        refuse()
    } else {
        nmi_ari_cluster_labels_kmeans(cells.x, cells.labels, cells.seed)
    };
    let names = [
        "nmi_ari_cluster_labels_kmeans_nmi",
        "nmi_ari_cluster_labels_kmeans_ari",
    ];
    recorder.pair(names, Group::Bio, Mode::Strict, kmeans);
    recorder.part("leiden");
    let leiden = if one {
        refuse()
    } else {
        nmi_ari_cluster_labels_leiden(&fuzzy(near, GRAPH_NEIGHBORS), cells.labels, cells.seed)
    };
    let names = [
        "nmi_ari_cluster_labels_leiden_nmi",
        "nmi_ari_cluster_labels_leiden_ari",
    ];
    recorder.pair(names, Group::Bio, Mode::Strict, leiden);
}

fn geometry(cells: &Cells<'_>, references: &References<'_>, recorder: &mut Recorder) {
    recorder.part("scgraph");
    for mode in [Mode::Strict, Mode::Compat] {
        let consensus: Result<&Consensus, Undefined> = match references.scgraph {
            None => Err(Undefined::NoReference(
                "a reference geometry (log-normalised values)",
            )),
            Some(r) if mode == Mode::Strict => r.strict.as_ref().map_err(Clone::clone),
            Some(r) => r.compat.as_ref().map_err(Clone::clone),
        };
        let scores = match consensus {
            Ok(consensus) => scgraph(cells.x, cells.labels, consensus),
            Err(e) => ScGraph {
                rank: Err(e.clone()),
                corr: Err(e.clone()),
                corr_weighted: Err(e),
            },
        };
        recorder.metric(
            "scgraph_corr_weighted",
            Group::Geometry,
            mode,
            &scores.corr_weighted,
            None,
        );
        recorder.metric("scgraph_corr", Group::Geometry, mode, &scores.corr, None);
        recorder.metric("scgraph_rank", Group::Geometry, mode, &scores.rank, None);
    }
}
