"""Training steps, or embedding passes, of scCLIP on the CPU. Prints one JSON line.

The original, jsxlei/scCLIP, publishes no licence and is no package; with --scclip FOLDER (a checkout,
revision 835ba7c; needs transformers) its own towers are run, without, the same network built here of
torch's layers. The line's "model" says which. Both take dense cells, as the original does.

A step: both towers, symmetric cross entropy, backward pass, clipping, AdamW. Needs torch; README.md
has the lines.
"""

import argparse
import importlib.util
import json
import resource
import sys
import time
import types

import numpy as np
import torch
from torch import nn

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--mode", choices=["train", "embed"], default="train")
parser.add_argument("--scclip", help="folder of the checkout; its own towers are run")
parser.add_argument("--minibatch", type=int, default=64, help="cells of a step")
parser.add_argument("--genes", type=int, default=20000)
parser.add_argument("--peaks", type=int, default=100000)
parser.add_argument("--density", type=float, default=0.05)
parser.add_argument("--patches", type=int, default=128)
parser.add_argument("--width", type=int, default=128)
parser.add_argument("--layers", type=int, default=4)
parser.add_argument("--heads", type=int, default=8)
parser.add_argument("--feed-forward", type=int, default=256)
parser.add_argument("--steps", type=int, default=3, help="timed steps, after one that warms up")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
torch.set_num_threads(args.threads)
torch.manual_seed(args.seed)
DROPOUT, PROJECTION = 0.1, 128


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Tower(nn.Module):
    """Patches, a pre-norm transformer, tanh of a linear layer of the first token."""

    def __init__(self, features):
        super().__init__()
        d, p = args.width, args.patches
        self.patch = -(-features // p)
        self.pad = p * self.patch - features
        self.projection = nn.Linear(self.patch, d)
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        self.positions = nn.Parameter(torch.zeros(1, p + 1, d))
        self.dropout = nn.Dropout(DROPOUT)
        layer = nn.TransformerEncoderLayer(
            d, args.heads, args.feed_forward, DROPOUT, "gelu", 1e-12, True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, args.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(d, eps=1e-12)
        self.pooler = nn.Linear(d, d)

    def forward(self, x):
        x = nn.functional.pad(x, (0, self.pad)).view(len(x), args.patches, self.patch)
        x = torch.cat([self.cls.expand(len(x), -1, -1), self.projection(x)], 1)
        x = self.norm(self.layers(self.dropout(x + self.positions)))
        return self.pooler(x[:, 0]).tanh()


def original_tower(folder, features):
    """The class of the checkout; the rest of its package is not imported."""
    package = types.ModuleType("scclip")
    package.__path__ = [f"{folder}/scclip"]
    sys.modules["scclip"] = package
    from scclip.vit import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=args.width, num_hidden_layers=args.layers, num_attention_heads=args.heads,
        intermediate_size=args.feed_forward, hidden_dropout_prob=DROPOUT,
        attention_probs_dropout_prob=DROPOUT, feature_size=features, num_patches=args.patches,
    )
    config._attn_implementation = "eager"

    class Pooled(ViTModel):
        def forward(self, x):
            return super().forward(x)[1]

    return Pooled(config)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        tower = (lambda f: original_tower(args.scclip, f)) if args.scclip else Tower
        self.atac, self.rna = tower(args.peaks), tower(args.genes)
        self.from_atac = nn.Linear(args.width, PROJECTION, bias=False)
        self.from_rna = nn.Linear(args.width, PROJECTION, bias=False)
        self.scale = nn.Parameter(torch.tensor(2.6592))

    def embed(self, atac, rna):
        pair = self.from_atac(self.atac(atac)), self.from_rna(self.rna(rna))
        return [x / x.norm(dim=-1, keepdim=True) for x in pair]

    def forward(self, atac, rna):
        a, r = self.embed(atac, rna)
        similarity = a @ r.T * self.scale.exp()
        own = torch.arange(len(a))
        both = (nn.functional.cross_entropy(s, own) for s in (similarity, similarity.T))
        return sum(both) / 2


if args.scclip and importlib.util.find_spec("transformers") is None:
    sys.exit("--scclip needs: pip install transformers==4.40.2")
model = Model()
atac = (torch.rand(args.minibatch, args.peaks) < args.density).float()
rna = torch.rand(args.minibatch, args.genes) * (
    torch.rand(args.minibatch, args.genes) < args.density
)

before = peak_memory()
seconds, loss = [], None
used = time.process_time()
if args.mode == "train":
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)
    for _ in range(args.steps + 1):
        start = time.perf_counter()
        loss = model(atac, rna)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        loss = loss.item()
        seconds.append(time.perf_counter() - start)
else:
    model.eval()
    with torch.no_grad():
        for _ in range(args.steps + 1):
            start = time.perf_counter()
            sum(x.sum() for x in model.embed(atac, rna)).item()
            seconds.append(time.perf_counter() - start)

# Well under 1: other work had the cores, and the times say little.
share = (time.process_time() - used) / (sum(seconds) * args.threads)
median = float(np.median(seconds[1:]))
print(json.dumps({
    "name": "scclip_step", "side": "original" if args.scclip else "torch",
    "model": "original" if args.scclip else "equivalent", "mode": args.mode,
    "seconds_per_step": median, "cells_per_second": args.minibatch / median,
    "seconds_all": seconds[1:], "seconds_warm_up": seconds[0],
    "processor_share": share,
    "peak_memory_bytes": peak_memory(), "memory_before_steps_bytes": before,
    "last_loss": loss, "parameters": sum(p.numel() for p in model.parameters()),
    "cells": args.minibatch, "genes": args.genes, "peaks": args.peaks,
    "width": args.width, "layers": args.layers, "heads": args.heads,
    "threads": torch.get_num_threads(), "torch": torch.__version__,
}))
