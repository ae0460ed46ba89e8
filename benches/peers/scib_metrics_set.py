"""The metric set of scib-metrics on a seeded mixture, which it also writes for the Rust side.

The set is what the package's Benchmarker computes, called one by one: exact neighbours (by
scikit-learn), then every metric on the neighbours or the matrix that the Benchmarker gives it. Each
is called --calls times, since the first call compiles. Prints one JSON line.

Needs scib-metrics 0.5.10; README.md has the lines.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import resource
import time
import warnings

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--cells", type=int, default=20000)
parser.add_argument("--dims", type=int, default=50)
parser.add_argument("--neighbors", choices=["brute", "auto"], default="brute")
parser.add_argument("--calls", type=int, default=2, help="calls of each metric; 1 halves the wait")
parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the .npy files")
args = parser.parse_args()
os.environ["JAX_PLATFORMS"] = "cpu"  # read when jax is imported
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import scib_metrics as sm  # noqa: E402
from scib_metrics.nearest_neighbors import NeighborsResults  # noqa: E402
from sklearn.neighbors import NearestNeighbors  # noqa: E402

rng = np.random.default_rng(0)
labels = rng.integers(0, 12, args.cells)
batches = rng.integers(0, 4, args.cells)
centres = rng.normal(0, 2, (12, args.dims))
shifts = rng.normal(0, 0.4, (4, args.dims))
x = centres[labels] + shifts[batches] + rng.normal(0, 1, (args.cells, args.dims))
x = x.astype(np.float32)
args.out.mkdir(parents=True, exist_ok=True)
np.save(args.out / "x.npy", x)
np.save(args.out / "labels.npy", labels.astype(np.int32))
np.save(args.out / "batches.npy", batches.astype(np.int32))


def neighbors():
    search = NearestNeighbors(n_neighbors=90, algorithm=args.neighbors).fit(x)
    distances, indices = search.kneighbors(x)  # every cell is among its own neighbours
    return NeighborsResults(indices=indices, distances=distances)


def metrics(n90):
    """Name and call of each metric, with the Benchmarker's numbers of neighbours."""
    return {
        "silhouette_label": lambda: sm.silhouette_label(x, labels),
        "isolated_labels": lambda: sm.isolated_labels(x, labels, batches),
        "silhouette_batch": lambda: sm.silhouette_batch(x, labels, batches),
        "bras": lambda: sm.bras(x, labels, batches),
        "clisi_knn": lambda: sm.clisi_knn(n90, labels),
        "ilisi_knn": lambda: sm.ilisi_knn(n90, batches),
        "kbet_per_label": lambda: sm.kbet_per_label(n90.subset_neighbors(50), batches, labels),
        "graph_connectivity": lambda: sm.graph_connectivity(n90.subset_neighbors(15), labels),
        # The matrix against itself: the work of the metric, and a value of zero.
        "pcr_comparison": lambda: sm.pcr_comparison(x, x, batches, categorical=True),
        "kmeans": lambda: sm.nmi_ari_cluster_labels_kmeans(x, labels),
        "leiden": lambda: sm.nmi_ari_cluster_labels_leiden(n90.subset_neighbors(15), labels),
    }


def timed(f):
    start = time.perf_counter()
    result = f()
    return result, time.perf_counter() - start


used = time.process_time()
begin = time.perf_counter()
n90, spent = timed(neighbors)
calls, values = [{"neighbors": spent}], {}
for call in range(args.calls):
    if call > 0:
        _, spent = timed(neighbors)
        calls.append({"neighbors": spent})
    for name, f in metrics(n90).items():
        result, calls[call][name] = timed(f)
        result = {f"{name}_{k}": v for k, v in result.items()} if isinstance(result, dict) else {
            name: result
        }
        values.update({k: float(v) for k, v in result.items()})
cores = len(os.sched_getaffinity(0))
# Well under 1: other processes used the cores, or the metric uses one core.
share = (time.process_time() - used) / ((time.perf_counter() - begin) * cores)

print(json.dumps({
    "name": "metric_set", "side": "scib-metrics",
    "seconds": sum(calls[0].values()), "by_metric": calls[0],
    "seconds_again": sum(calls[-1].values()) if args.calls > 1 else None,
    "by_metric_again": calls[-1] if args.calls > 1 else None,
    "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "values": values, "cells": args.cells, "dims": args.dims, "threads": cores,
    "processor_share": share, "version": importlib.metadata.version("scib-metrics"),
    "jax": importlib.metadata.version("jax"),
}))
