"""An epoch of scvi-tools' SCVI, trained as its documentation shows, on the counts of an h5ad.

Prints one JSON line. The Rust side is `scfm pretrain --config vae-paper` on the same file; its seconds
are the sum of those in train.jsonl. README.md has the lines. Needs scvi-tools and anndata.
"""

import argparse
import json
import pathlib
import time
import warnings

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("file", type=pathlib.Path)
parser.add_argument("--batch", help="column of obs with the sequencing batch")
parser.add_argument("--epochs", type=int, default=2, help="timed one by one; the first warms up")
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
warnings.simplefilter("ignore")

import anndata  # noqa: E402
import measure  # noqa: E402
import scvi  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(args.threads)
scvi.settings.verbosity = 40
adata = anndata.read_h5ad(args.file)
scvi.model.SCVI.setup_anndata(adata, batch_key=args.batch)
model = scvi.model.SCVI(adata, n_hidden=128, n_latent=10, n_layers=1, gene_likelihood="zinb")
seconds = []
for _ in range(args.epochs):
    started = time.perf_counter()
    model.train(
        max_epochs=1,
        accelerator="cpu",
        batch_size=128,
        train_size=1.0,
        enable_progress_bar=False,
        logger=False,
    )
    seconds.append(time.perf_counter() - started)
print(
    json.dumps(
        {
            "name": "vae_epoch",
            "side": f"scvi-tools {scvi.__version__}",
            "cells": adata.n_obs,
            "genes": adata.n_vars,
            "seconds": seconds[-1],
            "seconds_all": seconds,
            "peak_memory_bytes": measure.peak_memory(),
        }
    )
)
