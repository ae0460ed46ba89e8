"""Multinomial logistic regression of scikit-learn on the counts of an h5ad, for `linear`.

Reads counts from X (CSR), takes ln(1 + counts per 10,000), writes them with the labels for the Rust
side, and fits them to the optimum. Prints one JSON line with the seconds and the objective,
C * (sum of log losses) + |W|^2 / 2.

    python benches/peers/logistic_sklearn.py cells.h5ad --label cell_type --out /tmp/lr
    cargo run --release -p scfm-benches --bin linear -- /tmp/lr

Needs scikit-learn, scipy and h5py.
"""

import argparse
import json
import pathlib
import time

import h5py
import numpy as np
import scipy.sparse as sp
import sklearn
from sklearn.linear_model import LogisticRegression

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("file", type=pathlib.Path)
parser.add_argument("--label", default="cell_type")
parser.add_argument("--cells", type=int, help="only so many cells, evenly")
parser.add_argument("--c", type=float, default=1.0)
parser.add_argument("--tolerance", type=float, default=1e-4, help="of the gradient; scikit-learn's default")
parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the .npy files")
args = parser.parse_args()

with h5py.File(args.file) as file:
    x = file["X"]
    shape = tuple(x.attrs["shape"])
    counts = sp.csr_matrix((x["data"][:], x["indices"][:], x["indptr"][:]), shape=shape)
    column = file["obs"][args.label]
    labels = column["codes"][:].astype(np.int32)
rows = np.arange(shape[0])
if args.cells and args.cells < shape[0]:
    rows = rows[:: shape[0] // args.cells][: args.cells]
counts, labels = counts[rows].astype(np.float64), labels[rows]
totals = np.asarray(counts.sum(1)).ravel()
values = sp.diags(1e4 / np.maximum(totals, 1)) @ counts
values.data = np.log1p(values.data)
values = values.tocsr().astype(np.float32)
values.sort_indices()
args.out.mkdir(parents=True, exist_ok=True)
np.save(args.out / "starts.npy", values.indptr.astype(np.int32))
np.save(args.out / "columns.npy", values.indices.astype(np.int32))
np.save(args.out / "values.npy", values.data)
np.save(args.out / "labels.npy", labels)
(args.out / "setting.json").write_text(json.dumps({"genes": int(shape[1]), "c": args.c, "tolerance": args.tolerance}))

x = values.astype(np.float64)
model = LogisticRegression(C=args.c, tol=args.tolerance, max_iter=100_000)
started = time.perf_counter()
model.fit(x, labels)
seconds = time.perf_counter() - started
chances = model.predict_proba(x)
place = np.searchsorted(model.classes_, labels)
losses = -np.log(chances[np.arange(len(labels)), place])
objective = args.c * losses.sum() + 0.5 * (model.coef_**2).sum()
print(json.dumps({
    "sklearn": sklearn.__version__,
    "cells": len(labels),
    "genes": int(shape[1]),
    "classes": len(model.classes_),
    "seconds": seconds,
    "iterations": int(model.n_iter_[0]),
    "objective": objective,
}))
