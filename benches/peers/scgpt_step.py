"""Training steps, or embedding passes, of scGPT on the CPU. Prints one JSON line.

Runs the original's own network where the package scgpt is installed (--no-deps is enough), else
the same network built here of torch.nn.TransformerEncoderLayer; the line's "model" says which. The
original runs on that layer too where flash-attn, which has no CPU version, is absent.

A step: forward pass, masked squared error of the values predicted from tokens and from the cell,
backward pass, clipping, AdamW. Every cell has exactly --tokens tokens, <cls> among them.

Needs torch; README.md has the lines.
"""

import argparse
import importlib.util
import json
import logging
import resource
import sys
import time
import types
import warnings

import numpy as np
import torch
from torch import nn

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--mode", choices=["train", "embed"], default="train")
parser.add_argument("--model", choices=["auto", "original", "equivalent"], default="auto")
parser.add_argument("--minibatch", type=int, default=8, help="cells of a step")
parser.add_argument("--tokens", type=int, default=1200)
parser.add_argument("--vocabulary", type=int, default=20000, help="genes, without special tokens")
parser.add_argument("--width", type=int, default=512)
parser.add_argument("--layers", type=int, default=12)
parser.add_argument("--heads", type=int, default=8)
parser.add_argument("--steps", type=int, default=2, help="timed steps, after one that warms up")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
torch.set_num_threads(args.threads)
torch.manual_seed(args.seed)
PAD, CLS, EOC = range(args.vocabulary, args.vocabulary + 3)
DROPOUT = 0.2


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Equivalent(nn.Module):
    """The original's network without flash-attn, with the same names of calls and results."""

    def __init__(self):
        super().__init__()
        d = args.width
        self.genes = nn.Embedding(args.vocabulary + 3, d, padding_idx=PAD)
        self.gene_norm = nn.LayerNorm(d)
        self.values = nn.Sequential(
            nn.Linear(1, d), nn.ReLU(), nn.Linear(d, d), nn.LayerNorm(d), nn.Dropout(DROPOUT)
        )
        layer = nn.TransformerEncoderLayer(d, args.heads, d, DROPOUT, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, args.layers)
        self.from_token = nn.Sequential(
            nn.Linear(d, d), nn.LeakyReLU(), nn.Linear(d, d), nn.LeakyReLU(), nn.Linear(d, 1)
        )
        self.query = nn.Sequential(nn.Linear(d, d), nn.Sigmoid())
        self.from_cell = nn.Linear(d, d, bias=False)

    def embed(self, genes, values, padding):
        self.embedded = self.gene_norm(self.genes(genes))
        x = self.embedded + self.values(values.unsqueeze(-1).clamp(max=512))
        return self.layers(x, src_key_padding_mask=padding)

    def forward(self, genes, values, padding):
        x = self.embed(genes, values, padding)
        from_cell = self.from_cell(self.query(self.embedded)) @ x[:, 0].unsqueeze(2)
        return self.from_token(x).squeeze(-1), from_cell.squeeze(-1)


class Original(nn.Module):
    """The class of the package, whose network alone is imported.

    The package's front door imports the whole of scGPT and with it torchtext, which has no release
    for current torch. The folder of the network needs neither: an empty parent module stands in.
    """

    def __init__(self, folder):
        super().__init__()
        parent, utils = types.ModuleType("scgpt"), types.ModuleType("scgpt.utils")
        parent.__path__ = [folder]
        parent.logger = logging.getLogger("scgpt")
        utils.map_raw_id_to_vocab_id = None  # named by the perturbation model, never called here
        sys.modules.update({"scgpt": parent, "scgpt.utils": utils})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # flash-attn is not installed
            from scgpt.model import TransformerModel
        self.network = TransformerModel(
            args.vocabulary + 3, args.width, args.heads, args.width, args.layers,
            vocab={"<pad>": PAD, "<cls>": CLS, "<eoc>": EOC}, dropout=DROPOUT, pad_value=-2,
            do_mvc=True, input_emb_style="continuous", cell_emb_style="cls",
            mvc_decoder_style="inner product", use_fast_transformer=False,
        )

    def embed(self, genes, values, padding):
        return self.network._encode(genes, values, padding)

    def forward(self, genes, values, padding):
        out = self.network(genes, values, padding, MVC=True)
        return out["mlm_output"], out["mvc_output"]


found = importlib.util.find_spec("scgpt")
if args.model == "original" and found is None:
    sys.exit("--model original needs: pip install --no-deps scgpt==0.2.4")
original = found is not None and args.model != "equivalent"
model = Original(found.submodule_search_locations[0]) if original else Equivalent()

genes = torch.stack(
    [torch.randperm(args.vocabulary)[: args.tokens] for _ in range(args.minibatch)]
)
genes[:, 0] = CLS
target = torch.randint(1, 51, genes.shape).float()
target[:, 0] = 0
masked = torch.rand(genes.shape) < 0.4
masked[:, 0] = False
values = target.masked_fill(masked, -1.0)
padding = genes == PAD  # all false, and passed all the same, as the original always does

before = peak_memory()
seconds, loss = [], None
used = time.process_time()
if args.mode == "train":
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for _ in range(args.steps + 1):
        start = time.perf_counter()
        predictions = model(genes, values, padding)
        loss = sum((((p - target) * masked) ** 2).sum() / masked.sum() for p in predictions)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        seconds.append(time.perf_counter() - start)
        loss = loss.item()
        del predictions
else:
    model.eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nested tensors are a prototype
        for _ in range(args.steps + 1):
            start = time.perf_counter()
            nn.functional.normalize(model.embed(genes, target, padding)[:, 0])
            seconds.append(time.perf_counter() - start)

# Well under 1: other processes used the cores, and the times say little.
share = (time.process_time() - used) / (sum(seconds) * args.threads)
median = float(np.median(seconds[1:]))
print(json.dumps({
    "name": "scgpt_step", "side": "original" if original else "torch",
    "model": "original" if original else "equivalent", "mode": args.mode,
    "seconds_per_step": median, "cells_per_second": args.minibatch / median,
    "seconds_all": seconds[1:], "seconds_warm_up": seconds[0],
    "processor_share": share,
    "peak_memory_bytes": peak_memory(), "memory_before_steps_bytes": before,
    "last_loss": loss, "parameters": sum(p.numel() for p in model.parameters()),
    "cells": args.minibatch, "tokens": args.tokens, "vocabulary": args.vocabulary,
    "width": args.width, "layers": args.layers, "heads": args.heads,
    "threads": torch.get_num_threads(), "torch": torch.__version__,
}))
