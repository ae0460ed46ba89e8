"""scGPT's transformer on torch's scaled_dot_product_attention, on the GPU if there is one.

A step: forward pass, squared error of one value per token, backward pass, clipping, AdamW. Embedding
is the forward pass to the first token. No padding mask, which torch's fast kernels want. Prints one
JSON line.
"""

import argparse
import json
import time

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

PRESETS = {"tiny": (8, 64, 32, 2, 2, 500), "paper": (8, 1200, 512, 12, 8, 20000)}

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--mode", choices=["train", "embed"], default="train")
parser.add_argument("--preset", choices=list(PRESETS), default="paper")
parser.add_argument("--precision", choices=["f32", "bf16"], default="bf16")
parser.add_argument("--steps", type=int, default=10)
args = parser.parse_args()
CELLS, TOKENS, WIDTH, LAYERS, HEADS, GENES = PRESETS[args.preset]
DROPOUT = 0.2
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.manual_seed(0)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.project, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, x):
        q, k, v = (
            part.view(CELLS, TOKENS, HEADS, -1).transpose(1, 2) for part in self.project(x).chunk(3, -1)
        )
        dropout = DROPOUT if self.training else 0.0
        context = scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        context = context.transpose(1, 2).reshape(CELLS, TOKENS, WIDTH)
        x = self.norms[0](x + self.drop(self.out(context)))
        return self.norms[1](x + self.drop(self.down(self.drop(torch.relu(self.up(x))))))


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.genes, self.values = nn.Embedding(GENES, WIDTH), nn.Linear(1, WIDTH)
        self.layers = nn.Sequential(*(Layer() for _ in range(LAYERS)))
        self.decoder = nn.Linear(WIDTH, 1)

    def forward(self, genes, values):
        return self.layers(self.genes(genes) + self.values(values[..., None]))


model = Network().to(device).train(args.mode == "train")
genes = torch.randint(GENES, (CELLS, TOKENS), device=device)
values = torch.randint(51, (CELLS, TOKENS), device=device).float()
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
half = torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16")
seconds = []
for _ in range(args.steps + 2):
    started = time.perf_counter()
    if args.mode == "train":
        with half:
            loss = (model.decoder(model(genes, values)).squeeze(-1).float() - values).square().mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        loss.item()
    else:
        with torch.no_grad(), half:
            model(genes, values)[:, 0].float().cpu()
    seconds.append(time.perf_counter() - started)
median = sorted(seconds[2:])[len(seconds[2:]) // 2]
print(
    json.dumps(
        {
            "name": "scgpt_sdpa",
            "side": "torch " + torch.__version__,
            "mode": args.mode,
            "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            "precision": args.precision,
            "cells_per_second": CELLS / median,
            "seconds_per_step": median,
            "peak_memory_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
        }
    )
)
