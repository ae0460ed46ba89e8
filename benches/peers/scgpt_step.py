"""One training step, or one embedding pass, of scGPT's network on torch. Prints one JSON line.

The original package does not install beside a current torch (it pins torchtext), so the network is
built here from torch.nn.TransformerEncoderLayer, which is what the original runs on without
flash-attn, with the same embeddings and heads.

Needs: pip install torch numpy
"""

import argparse
import json
import resource
import time

import numpy as np
import torch
from torch import nn

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--mode", choices=["train", "embed"], default="train")
parser.add_argument("--minibatch", type=int, default=8)
parser.add_argument("--tokens", type=int, default=1200)
parser.add_argument("--vocabulary", type=int, default=20000)
parser.add_argument("--width", type=int, default=512)
parser.add_argument("--layers", type=int, default=12)
parser.add_argument("--steps", type=int, default=1)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
torch.set_num_threads(args.threads)
torch.manual_seed(0)
d = args.width


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.genes = nn.Embedding(args.vocabulary + 3, d, padding_idx=args.vocabulary)
        self.gene_norm = nn.LayerNorm(d)
        self.values = nn.Sequential(
            nn.Linear(1, d), nn.ReLU(), nn.Linear(d, d), nn.LayerNorm(d), nn.Dropout(0.2)
        )
        layer = nn.TransformerEncoderLayer(d, 8, d, 0.2, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, args.layers)
        self.from_token = nn.Sequential(
            nn.Linear(d, d), nn.LeakyReLU(), nn.Linear(d, d), nn.LeakyReLU(), nn.Linear(d, 1)
        )
        self.query = nn.Sequential(nn.Linear(d, d), nn.Sigmoid())
        self.from_cell = nn.Linear(d, d, bias=False)

    def encode(self, genes, values):
        embedded = self.gene_norm(self.genes(genes))
        x = embedded + self.values(values.unsqueeze(-1).clamp(max=512))
        return embedded, self.encoder(x)

    def forward(self, genes, values):
        embedded, x = self.encode(genes, values)
        from_cell = self.from_cell(self.query(embedded)) @ x[:, 0].unsqueeze(2)
        return self.from_token(x).squeeze(-1), from_cell.squeeze(-1)


model = Network()
genes = torch.stack(
    [torch.randperm(args.vocabulary)[: args.tokens] for _ in range(args.minibatch)]
)
target = torch.randint(1, 51, genes.shape).float()
masked = torch.rand(genes.shape) < 0.4
values = target.masked_fill(masked, -1.0)
seconds = []
if args.mode == "train":
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for _ in range(args.steps + 1):
        start = time.perf_counter()
        predictions = model(genes, values)
        loss = sum((((p - target) * masked) ** 2).sum() / masked.sum() for p in predictions)
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
            nn.functional.normalize(model.encode(genes, target)[1][:, 0])
            seconds.append(time.perf_counter() - start)

median = float(np.median(seconds[1:]))
print(json.dumps({
    "name": "scgpt_step", "side": "torch", "model": "equivalent", "mode": args.mode,
    "cells": args.minibatch, "tokens": args.tokens, "seconds_per_step": median,
    "cells_per_second": args.minibatch / median,
    "parameters": sum(p.numel() for p in model.parameters()),
    "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "threads": torch.get_num_threads(), "torch": torch.__version__,
}))
