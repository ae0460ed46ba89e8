"""Training steps, or embedding passes, of the original CellPLM on the CPU. Prints one JSON line.

A step is what a trainer of the original runs: its own masking, forward pass, negative-binomial
denoising loss and Gaussian-mixture latent loss, backward pass, clipping, AdamW.

Needs torch and cellplm 0.1.0.post2; README.md has the lines.
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
parser.add_argument("--cells", type=int, default=2000, help="cells of the one sentence")
parser.add_argument("--genes", type=int, default=19374)
parser.add_argument("--density", type=float, default=0.08, help="share of non-zero counts")
parser.add_argument("--hidden", type=int, default=1024)
parser.add_argument("--layers", type=int, default=4)
parser.add_argument("--latent", type=int, default=512)
parser.add_argument("--clusters", type=int, default=16)
parser.add_argument("--batches", type=int, default=8, help="the original's batch_num")
parser.add_argument("--steps", type=int, default=3, help="timed steps, after one that warms up")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
torch.set_num_threads(args.threads)
torch.manual_seed(args.seed)
np.random.seed(args.seed)  # the original draws its masked cells from numpy's global state


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def sparse_counts():
    """Small integers, half of the non-zeros ones; drawn by cell, so that no dense copy exists."""
    rng = np.random.default_rng(args.seed)
    columns = [np.flatnonzero(rng.random(args.genes) < args.density) for _ in range(args.cells)]
    rows = np.repeat(np.arange(args.cells), [len(c) for c in columns])
    values = torch.from_numpy(rng.geometric(0.5, len(rows)).astype(np.float32))
    at = torch.from_numpy(np.stack([rows, np.concatenate(columns)]))
    return torch.sparse_coo_tensor(at, values, (args.cells, args.genes)).coalesce()


model = OmicsFormer(
    gene_list=[f"ENSG{i:011d}" for i in range(args.genes)], out_dim=args.genes,
    enc_mod="flowformer", enc_hid=args.hidden, enc_layers=args.layers, enc_head=8,
    latent_mod="gmvae", post_latent_dim=args.latent, num_clusters=args.clusters,
    w_li=5.0, w_en=5.0, lamda=5.0,
    dec_mod="nbmlp", dec_hid=args.hidden, dec_layers=2, batch_num=args.batches, dataset_num=0,
    model_dropout=0.2, norm="groupnorm", pe_type=None, cat_pe=False, dae=True,
    # No cell is dropped, so that a step has exactly --cells cells.
    mask_node_rate=0.75, mask_feature_rate=0.25, drop_node_rate=0.0, max_batch_size=args.cells,
    head_type="embedder" if args.mode == "embed" else None,
)
x = sparse_counts()
batch = torch.arange(args.cells) % args.batches
parts = {"mask": [], "forward": [], "backward": [], "update": []}
mask = model.mask_model.apply_mask


def timed_mask(x_dict):
    start = time.perf_counter()
    x_dict = mask(x_dict)
    parts["mask"].append(time.perf_counter() - start)
    return x_dict


model.mask_model.apply_mask = timed_mask


def forward():
    # The model writes into its input, so that every pass gets a new one.
    return model({
        "x_seq": x,
        "batch": batch,
        "coord": torch.full((args.cells, 2), -1.0),
        "gene_mask": torch.ones(args.genes, dtype=torch.bool),
    })


before = peak_memory()
seconds, loss = [], None
used = time.process_time()
if args.mode == "train":
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-4, weight_decay=1e-8)
    for _ in range(args.steps + 1):
        marks = [time.perf_counter()]
        _, loss = forward()
        marks.append(time.perf_counter())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        marks.append(time.perf_counter())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        marks.append(time.perf_counter())
        seconds.append(marks[3] - marks[0])
        parts["forward"].append(marks[1] - marks[0] - parts["mask"][-1])
        parts["backward"].append(marks[2] - marks[1])
        parts["update"].append(marks[3] - marks[2])
        loss = loss.item()
else:
    model.eval()
    with torch.no_grad():
        for _ in range(args.steps + 1):
            start = time.perf_counter()
            forward()
            seconds.append(time.perf_counter() - start)
            parts["forward"].append(seconds[-1] - parts["mask"][-1])

# Well under 1: other processes used the cores, and the times say little.
share = (time.process_time() - used) / (sum(seconds) * args.threads)
median = float(np.median(seconds[1:]))
print(json.dumps({
    "name": "cellplm_step", "side": "original", "mode": args.mode,
    "seconds_per_step": median, "cells_per_second": args.cells / median,
    "seconds_all": seconds[1:], "seconds_warm_up": seconds[0],
    "processor_share": share,
    "seconds_by_part": {k: float(np.median(v[1:])) for k, v in parts.items() if v},
    "peak_memory_bytes": peak_memory(), "memory_before_steps_bytes": before,
    "last_loss": loss, "parameters": sum(p.numel() for p in model.parameters()),
    "cells": args.cells, "genes": args.genes, "density": args.density, "hidden": args.hidden,
    "layers": args.layers, "latent": args.latent, "clusters": args.clusters,
    "batches": args.batches, "threads": torch.get_num_threads(), "torch": torch.__version__,
}))
