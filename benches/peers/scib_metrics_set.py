"""The metric set of scib-metrics on a seeded mixture, which it also writes for the Rust side.

Prints one JSON line. Needs: pip install "scib-metrics==0.5.10" scikit-learn
"""

import argparse
import json
import os
import resource
import time

import numpy as np
import scib_metrics as sm
from scib_metrics.nearest_neighbors import NeighborsResults
from sklearn.neighbors import NearestNeighbors

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--cells", type=int, default=20000)
parser.add_argument("--dims", type=int, default=50)
parser.add_argument("--out", required=True)
args = parser.parse_args()

rng = np.random.default_rng(0)
labels = rng.integers(0, 12, args.cells)
batches = rng.integers(0, 4, args.cells)
centres = rng.normal(0, 2, (12, args.dims))
shifts = rng.normal(0, 0.4, (4, args.dims))
x = centres[labels] + shifts[batches] + rng.normal(0, 1, (args.cells, args.dims))
x = x.astype(np.float32)
os.makedirs(args.out, exist_ok=True)
np.save(f"{args.out}/x.npy", x)
np.save(f"{args.out}/labels.npy", labels.astype(np.int32))
np.save(f"{args.out}/batches.npy", batches.astype(np.int32))

times, values = {}, {}
begin = time.perf_counter()


def run(name, f):
    start = time.perf_counter()
    result = f()
    times[name] = time.perf_counter() - start
    if isinstance(result, dict):
        values.update({f"{name}_{k}": float(v) for k, v in result.items()})
    elif result is not None:
        values[name] = float(result)


store = {}


def neighbours():
    distances, indices = NearestNeighbors(n_neighbors=90, algorithm="brute").fit(x).kneighbors(x)
    store["n"] = NeighborsResults(indices=indices, distances=distances)


run("neighbors", neighbours)
n90 = store["n"]
part = lambda k: n90.subset_neighbors(k)  # noqa: E731
run("silhouette_label", lambda: sm.silhouette_label(x, labels))
run("isolated_labels", lambda: sm.isolated_labels(x, labels, batches))
run("silhouette_batch", lambda: sm.silhouette_batch(x, labels, batches))
run("bras", lambda: sm.bras(x, labels, batches))
run("clisi_knn", lambda: sm.clisi_knn(n90, labels))
run("ilisi_knn", lambda: sm.ilisi_knn(n90, batches))
run("kbet_per_label", lambda: sm.kbet_per_label(part(50), batches, labels))
run("graph_connectivity", lambda: sm.graph_connectivity(part(15), labels))
run("pcr_comparison", lambda: sm.pcr_comparison(x, x, batches, categorical=True))
run("kmeans", lambda: sm.nmi_ari_cluster_labels_kmeans(x, labels))
run("leiden", lambda: sm.nmi_ari_cluster_labels_leiden(part(15), labels))
print(json.dumps({
    "name": "metric_set", "side": "scib-metrics", "cells": args.cells, "dims": args.dims,
    "seconds": time.perf_counter() - begin,
    "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "by_metric": times, "values": values, "version": "0.5.10",
}))
