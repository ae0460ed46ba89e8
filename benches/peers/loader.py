"""Cells per second of the Python loaders on the files that the Rust side reads.

Cases: `copies` writes gzip.h5ad and plain.h5ad as anndata writes them, beside the file; `annbatch-make` writes annbatch's own Zarr copy; `annbatch` reads block-shuffled minibatches
from it; `anndata` the same blocks from the backed file, each window read at once; `anndata-random`
minibatches of cells from anywhere; `h5py` slices the three arrays in order. One JSON line.

Needs annbatch (Python 3.12), anndata, h5py, zarrs; README.md has the lines.
"""

import argparse
import json
import resource
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("case")
parser.add_argument("file")
parser.add_argument("--zarr", help="folder of annbatch's copy")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--cells", type=int, default=None, help="stop after so many cells")
parser.add_argument("--minibatch", type=int, default=512)
parser.add_argument("--block", type=int, default=512)
parser.add_argument("--window", type=int, default=16384)
args = parser.parse_args()

import numpy as np  # noqa: E402


def copies():
    import pathlib

    import anndata as ad

    data = ad.read_h5ad(args.file)
    folder = pathlib.Path(args.file).parent
    data.write_h5ad(folder / "gzip.h5ad", compression="gzip")
    data.write_h5ad(folder / "plain.h5ad")
    return data.n_obs, data.X.nnz


def annbatch_make():
    import anndata as ad
    import zarr
    from annbatch import DatasetCollection

    group = zarr.open_group(args.zarr, mode="w", zarr_format=3)
    DatasetCollection(group).add_adatas([args.file], shuffle=False)
    return ad.read_h5ad(args.file, backed="r").n_obs, 0


def annbatch():
    import zarr
    from annbatch import DatasetCollection, Loader

    # The pipeline of zarrs is what annbatch's documentation recommends.
    zarr.config.set(
        {
            "codec_pipeline.path": "zarrs.ZarrsCodecPipeline",
            "threading.max_workers": args.threads,
        }
    )
    collection = DatasetCollection(zarr.open_group(args.zarr, mode="r"))
    loader = Loader(
        batch_size=args.minibatch,
        chunk_size=args.block,
        preload_nchunks=args.window // args.block,
        shuffle=True,
        preload_to_gpu=False,
        to=None,
        rng=np.random.default_rng(0),
    ).use_collection(collection)
    cells = entries = 0
    for batch in loader:
        x = batch["X"]
        cells, entries = cells + x.shape[0], entries + x.nnz
        if args.cells and cells >= args.cells:
            break
    return cells, entries


def order(n, random):
    """Rows of every window, and the minibatches cut from it."""
    rng = np.random.default_rng(0)
    if random:
        rows = rng.permutation(n)
        yield from ((np.sort(m), [m]) for m in np.array_split(rows, -(-n // args.minibatch)))
        return
    starts = rng.permutation(np.arange(0, n, args.block))
    per = args.window // args.block
    for k in range(0, len(starts), per):
        blocks = [np.arange(s, min(s + args.block, n)) for s in starts[k : k + per]]
        rows = np.concatenate(blocks)
        mixed = rng.permutation(rows)
        yield np.sort(rows), [mixed[i : i + args.minibatch] for i in range(0, len(mixed), args.minibatch)]


def anndata(random=False):
    import anndata as ad

    x = ad.read_h5ad(args.file, backed="r").X
    cells = entries = 0
    for rows, minibatches in order(x.shape[0], random):
        window = x[rows]
        for minibatch in minibatches:
            batch = window[np.searchsorted(rows, minibatch)]
            cells, entries = cells + batch.shape[0], entries + batch.nnz
        if args.cells and cells >= args.cells:
            break
    return cells, entries


def h5py_scan():
    import h5py

    with h5py.File(args.file) as f:
        x = f["X"]
        indptr = x["indptr"][:]
        cells = entries = 0
        for first in range(0, len(indptr) - 1, 8192):
            last = min(first + 8192, len(indptr) - 1)
            part = slice(indptr[first], indptr[last])
            entries += len(x["data"][part])
            assert len(x["indices"][part]) == part.stop - part.start
            cells += last - first
    return cells, entries


cases = {
    "copies": copies,
    "annbatch-make": annbatch_make,
    "annbatch": annbatch,
    "anndata": anndata,
    "anndata-random": lambda: anndata(random=True),
    "h5py": h5py_scan,
}
started = time.perf_counter()
cells, entries = cases[args.case]()
seconds = time.perf_counter() - started
print(
    json.dumps(
        {
            "case": args.case,
            "cells": int(cells),
            "entries": int(entries),
            "seconds": seconds,
            "cells_per_s": cells / seconds,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "threads": args.threads,
        }
    )
)
