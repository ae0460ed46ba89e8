"""What the peers' step scripts share: flags, the timed loop, the printed line.

A script gives its sizes as two presets, `small` (that of configs/models) and `paper` (the published
one); every size is a flag of its own too.
"""

import argparse
import contextlib
import json
import resource
import time

import numpy as np
import torch


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def flags(description, presets, more=None):
    """Parsed flags. `presets`: sizes by preset; `more(parser)` adds what only one script has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mode", choices=["train", "embed"], default="train")
    parser.add_argument("--preset", choices=list(presets), default="small")
    for name, size in presets["small"].items():
        many = isinstance(size, list)
        told = ", ".join(f"{p}: {sizes[name]}" for p, sizes in presets.items())
        kind = type(size[0]) if many else type(size)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, nargs="*" if many else None, help=told)
    parser.add_argument("--steps", type=int, default=3, help="timed steps, after one that warms up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    if more:
        more(parser)
    args = parser.parse_args()
    for name, size in presets[args.preset].items():
        if getattr(args, name) is None:
            setattr(args, name, size)
    args.sizes = list(presets["small"])
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    return args


def counts(cells, genes, density, seed):
    """Small integers, half of the non-zeros ones, dense."""
    rng = np.random.default_rng(seed)
    shown = rng.random((cells, genes)) < density
    return torch.from_numpy((rng.geometric(0.5, (cells, genes)) * shown).astype(np.float32))


ZINB_EPS = 1e-8


def zinb(x, mean, theta, logits):
    """Negative log-likelihood of every entry, as scvi-tools has it."""
    total = (theta + mean + ZINB_EPS).log()
    z = theta * ((theta + ZINB_EPS).log() - total) - logits
    rest = x * ((mean + ZINB_EPS).log() - total) + torch.lgamma(x + theta) - torch.lgamma(theta)
    more = z + rest - torch.lgamma(x + 1)
    return torch.nn.functional.softplus(-logits) - torch.where(x < ZINB_EPS, torch.nn.functional.softplus(z), more)


def run(name, model, args, loss_of, embed, kind, cells, **told):
    """Times training steps of `loss_of()`, or passes of `embed()`, and prints the line.

    A training step is forward pass, backward pass, clipping to norm 1, AdamW. `kind` says whose
    the model is: "original" of a published package, "equivalent" built here of torch's layers.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    before, seconds, loss = peak_memory(), [], None
    parts = {"forward": [], "backward": [], "update": []}
    used = time.process_time()
    train = args.mode == "train"
    model.train(train)
    optimiser = torch.optim.AdamW(trained, lr=1e-4) if train else None
    with contextlib.nullcontext() if train else torch.no_grad():
        for _ in range(args.steps + 1):
            start = time.perf_counter()
            if not train:
                embed()
                seconds.append(time.perf_counter() - start)
                continue
            loss = loss_of()
            forward = time.perf_counter()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            backward = time.perf_counter()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            end = time.perf_counter()
            seconds.append(end - start)
            parts["forward"].append(forward - start)
            parts["backward"].append(backward - forward)
            parts["update"].append(end - backward)
            loss = loss.item()
    # Well under 1: other processes used the cores, and the times say little.
    share = (time.process_time() - used) / (sum(seconds) * args.threads)
    median = float(np.median(seconds[1:]))
    print(json.dumps({
        "name": name, "side": "original" if kind == "original" else "torch",
        "model": kind, "mode": args.mode, "preset": args.preset,
        "seconds_per_step": median, "cells_per_second": cells / median,
        "seconds_all": seconds[1:], "seconds_warm_up": seconds[0],
        "processor_share": share,
        "seconds_by_part": {k: float(np.median(v[1:])) for k, v in parts.items() if v},
        "peak_memory_bytes": peak_memory(), "memory_before_steps_bytes": before,
        "last_loss": loss, "parameters": sum(p.numel() for p in trained), "cells": cells,
        **{size: getattr(args, size) for size in args.sizes if size != "minibatch"}, **told,
        "threads": torch.get_num_threads(), "torch": torch.__version__,
    }))  # fmt: skip
