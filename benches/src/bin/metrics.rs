//! `metrics DIR`: seconds and memory of the metric set on `DIR/{x,labels,batches}.npy`.
//!
//! The arrays are those that `benches/peers/scib_metrics_set.py` wrote and timed scib-metrics on.
//! Prints one JSON line.

// This program prints its results.
#![allow(clippy::print_stdout)]

use ndarray::Array2;
use sc_eval::Outcome;
use sc_eval::graph::fuzzy;
use sc_eval::metrics::silhouette::{self, Between};
use sc_eval::metrics::{clustering, connectivity, kbet, lisi, pcr};
use sc_eval::neighbors::{Ties, knn};
use sc_eval::results::Mode;
use scfm_benches::npy;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    sc_data::memory::keep_freed();
    let dir = std::env::args().nth(1).ok_or("usage: metrics DIR")?;
    let dir = Path::new(&dir);
    let (shape, x) = npy(&dir.join("x.npy"), f32::from_le_bytes)?;
    let (_, labels) = npy(&dir.join("labels.npy"), |b| i32::from_le_bytes(b) as u32)?;
    let (_, batches) = npy(&dir.join("batches.npy"), |b| i32::from_le_bytes(b) as u32)?;
    let x = Array2::from_shape_vec((shape[0], shape[1]), x)?;
    let (x, l, b) = (x.view(), labels.as_slice(), batches.as_slice());
    let mut seconds = Map::new();
    let mut values = Map::new();
    let started = Instant::now();
    let mut part = Instant::now();
    let mut done = |name: &str, scores: &[(&str, Outcome)]| {
        seconds.insert(name.into(), json!(part.elapsed().as_secs_f64()));
        for (name, score) in scores {
            values.insert(
                (*name).into(),
                score.as_ref().map_or(Value::Null, |s| json!(s)),
            );
        }
        part = Instant::now();
    };
    let neighbors = knn(x, 90, Ties::Index)?;
    done("neighbors", &[]);
    done(
        "silhouette_label",
        &[(
            "silhouette_label",
            silhouette::silhouette_label(x, l, Mode::Strict),
        )],
    );
    done(
        "isolated_labels",
        &[(
            "isolated_labels",
            silhouette::isolated_labels(x, l, b, Mode::Strict),
        )],
    );
    done(
        "silhouette_batch",
        &[("silhouette_batch", silhouette::silhouette_batch(x, l, b))],
    );
    done(
        "bras",
        &[(
            "bras",
            silhouette::bras(x, l, b, Between::MeanOther, Mode::Strict),
        )],
    );
    done(
        "clisi_knn",
        &[("clisi_knn", lisi::clisi_knn(&neighbors, l))],
    );
    done(
        "ilisi_knn",
        &[("ilisi_knn", lisi::ilisi_knn(&neighbors, b))],
    );
    done(
        "kbet_per_label",
        &[(
            "kbet_per_label",
            kbet::kbet_per_label(&neighbors, 50, l, b, Mode::Compat),
        )],
    );
    let connectivity = connectivity::graph_connectivity(&neighbors, 15, l, Mode::Compat);
    done(
        "graph_connectivity",
        &[("graph_connectivity", connectivity)],
    );
    done(
        "pcr_comparison",
        &[("pcr_comparison", pcr::pcr_comparison(x, x, b))],
    );
    if let Ok((nmi, ari)) = clustering::nmi_ari_cluster_labels_kmeans(x, l, 0) {
        done(
            "kmeans",
            &[("kmeans_nmi", Ok(nmi)), ("kmeans_ari", Ok(ari))],
        );
    }
    let graph = fuzzy(&neighbors, 15);
    if let Ok((nmi, ari)) = clustering::nmi_ari_cluster_labels_leiden(&graph, l, 0) {
        done(
            "leiden",
            &[("leiden_nmi", Ok(nmi)), ("leiden_ari", Ok(ari))],
        );
    }
    let line = json!({
        "name": "metric_set", "side": "scfm", "cells": shape[0], "dims": shape[1],
        "seconds": started.elapsed().as_secs_f64(),
        "peak_memory_bytes": sc_data::memory::peak(),
        "threads": rayon::current_num_threads(), "by_metric": seconds, "values": values,
    });
    println!("{line}");
    Ok(())
}
