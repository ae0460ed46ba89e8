"""Makes configs/experiments/data/pancreas_mini.h5ad, the data set behind the quickstart.

    python make_pancreas_mini.py SOURCE.h5ad OUT.h5ad

SOURCE is the four-study pancreas file of the PyPI package hormone2cell 0.1.2, with the columns
cell_type, batch, donor_id and assay in `obs` and feature_name in `var`.
The choice of cells and genes is a pure function of SOURCE: no random numbers are drawn.
Labels decide which cells are kept (so that every type has enough), never which genes.
"""

import hashlib
import sys

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp

CELLS = 1200
GENES = 2000
VARIABLE = 1500  # of GENES; the others are the best expressed
MIN_TYPE = 100  # cells a type needs in SOURCE
COLUMNS = ["cell_type", "batch", "donor_id", "assay"]


def order(names):
    """Rank of every name by its hash: a shuffle that needs no generator."""
    keys = [hashlib.sha256(n.encode()).hexdigest() for n in names]
    return pd.Series(np.argsort(np.argsort(keys)), index=names)


def fill(available, total):
    """Even shares of `total` over bins that hold `available` items each."""
    share = {k: 0 for k in available}
    left = min(total, sum(available.values()))
    while left:
        for k in sorted(available):
            if left and share[k] < available[k]:
                share[k] += 1
                left -= 1
    return share


def choose_cells(obs):
    """Even over cell types, and inside a type even over donors."""
    obs = obs.assign(rank=order(obs.index))
    counts = obs.cell_type.value_counts()
    types = {t: int(n) for t, n in counts.items() if n >= MIN_TYPE}
    kept = []
    for cell_type, n in fill(types, CELLS).items():
        group = obs[obs.cell_type == cell_type]
        donors = {d: int(c) for d, c in group.donor_id.value_counts().items() if c}
        for donor, m in fill(donors, n).items():
            kept += list(group[group.donor_id == donor].sort_values("rank").index[:m])
    return [name for name in obs.index if name in set(kept)]


def choose_genes(cells):
    """Most variable genes across studies, then the genes seen in most cells."""
    x = cells.copy()
    sc.pp.normalize_total(x, target_sum=1e4)
    sc.pp.log1p(x)
    seen = np.asarray((cells.X > 0).mean(axis=0)).ravel()
    x = x[:, seen >= 0.02].copy()
    sc.pp.highly_variable_genes(x, n_top_genes=VARIABLE, flavor="seurat", batch_key="batch")
    kept = set(x.var_names[x.var.highly_variable])
    by_share = pd.Series(seen, index=cells.var_names).sort_values(ascending=False, kind="stable")
    for gene in by_share.index:
        if len(kept) == GENES:
            break
        kept.add(gene)
    return [g for g in cells.var_names if g in kept]


def main(source, out):
    full = ad.read_h5ad(source)
    obs = full.obs[COLUMNS].astype(str)
    full = ad.AnnData(sp.csr_matrix(full.X), obs=obs, var=full.var[["feature_name"]].astype(str))
    cells = full[choose_cells(full.obs)].copy()
    mini = cells[:, choose_genes(cells)].copy()
    mini.X = sp.csr_matrix(mini.X, dtype=np.float32)
    mini.X.sort_indices()
    for column in COLUMNS:
        mini.obs[column] = pd.Categorical(mini.obs[column])
    about = {
        "title": "Human pancreas, four studies, trimmed to 1,200 cells and 2,000 genes",
        "source": "PyPI hormone2cell 0.1.2; CELLxGENE 854c0855-23ad-4362-8b77-6b1639e7a9fc",
        "license": "CC BY 4.0",
        "citation": "Xu et al., Cell 2023, doi:10.1016/j.cell.2023.11.026",
    }
    packed = dict(compression="gzip", compression_opts=9, shuffle=True)
    with h5py.File(out, "w") as f:
        ad.io.write_elem(f, "/", mini, dataset_kwargs=packed)
        ad.io.write_elem(f, "uns", about)  # scalars take no filter
    print(mini)
    print(pd.crosstab(mini.obs.cell_type, mini.obs.batch))
    print(mini.obs.donor_id.value_counts().to_dict())
    print("density", mini.X.nnz / np.prod(mini.shape), "median counts", np.median(np.asarray(mini.X.sum(1))))
    print("largest count by study", {b: float(mini[mini.obs.batch == b].X.max()) for b in mini.obs.batch.cat.categories})
    print("sha256", hashlib.sha256(open(out, "rb").read()).hexdigest())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: make_pancreas_mini.py SOURCE.h5ad OUT.h5ad")
    main(sys.argv[1], sys.argv[2])
