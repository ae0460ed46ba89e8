"""One training step, or one embedding pass, of the original CellPLM. Prints one JSON line.

Needs: pip install torch anndata "cellplm==0.1.0.post2" (the package alone with --no-deps, then
einops torchmetrics hdf5plugin scanpy).
"""

import argparse
import json
import resource
import time

import numpy as np
import torch
from CellPLM.model import OmicsFormer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--mode", choices=["train", "embed"], default="train")
parser.add_argument("--cells", type=int, default=2000)
parser.add_argument("--genes", type=int, default=19374)
parser.add_argument("--density", type=float, default=0.08)
parser.add_argument("--hidden", type=int, default=1024)
parser.add_argument("--layers", type=int, default=4)
parser.add_argument("--latent", type=int, default=512)
parser.add_argument("--batches", type=int, default=8)
parser.add_argument("--steps", type=int, default=2)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
torch.set_num_threads(args.threads)
torch.manual_seed(0)
rng = np.random.default_rng(0)

model = OmicsFormer(
    gene_list=[f"ENSG{i:011d}" for i in range(args.genes)],
    enc_mod="flowformer", enc_hid=args.hidden, enc_layers=args.layers, enc_head=8,
    post_latent_dim=args.latent, dec_mod="nbmlp", dec_hid=args.hidden, dec_layers=2,
    out_dim=args.genes, batch_num=args.batches, dataset_num=0, model_dropout=0.2,
    norm="groupnorm", mask_node_rate=0.75, mask_feature_rate=0.25, drop_node_rate=0.0,
    max_batch_size=args.cells, pe_type=None, cat_pe=False, latent_mod="gmvae",
    num_clusters=16, w_li=5.0, w_en=5.0, lamda=5.0, dae=True, mask_beta=True,
    head_type="embedder" if args.mode == "embed" else None,
)
mask = rng.random((args.cells, args.genes), dtype=np.float32) < args.density
rows, cols = np.nonzero(mask)
del mask
values = 1 + np.floor(np.log(rng.random(rows.size)) / np.log(0.5)).astype(np.float32)
x = torch.sparse_coo_tensor(np.stack([rows, cols]), values, (args.cells, args.genes)).coalesce()
batch = torch.zeros(args.cells, dtype=torch.long)


def inputs():
    return {
        "x_seq": x,
        "batch": batch,
        "coord": torch.full((args.cells, 2), -1.0),
        "gene_mask": torch.ones(args.genes, dtype=torch.bool),
    }


seconds = []
if args.mode == "train":
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-4)
    for _ in range(args.steps + 1):
        start = time.perf_counter()
        _, loss = model(inputs())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        seconds.append(time.perf_counter() - start)
else:
    model.eval()
    with torch.no_grad():
        for _ in range(args.steps + 1):
            start = time.perf_counter()
            model(inputs())
            seconds.append(time.perf_counter() - start)

median = float(np.median(seconds[1:]))
print(json.dumps({
    "name": "cellplm_step", "side": "original", "mode": args.mode, "cells": args.cells,
    "genes": args.genes, "parameters": sum(p.numel() for p in model.parameters()),
    "seconds_per_step": median, "cells_per_second": args.cells / median,
    "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "threads": torch.get_num_threads(), "torch": torch.__version__,
}))
