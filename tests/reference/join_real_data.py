"""Files for `configs/experiments/{species,spatial}.toml` from public ones.

species: human brain nuclei (Habib 2017) and mouse brain cells (MERFISH, Zhang 2023), in the genes that
the mouse panel shares with the human file by symbol; `species`, `label` and `sample` in obs.

spatial: MERFISH of the mouse preoptic area (Moffitt 2018), whose values are counts divided by the cell's
volume, rounded up to whole numbers so that what was seen stays seen.

    python join_real_data.py species HABIB.h5ad MOUSE.h5ad OUT.h5ad
    python join_real_data.py spatial MERFISH.h5ad OUT.h5ad
"""

import sys

import anndata
import numpy
import pandas
import scipy.sparse


def species(human_path, mouse_path, out):
    human, mouse = anndata.read_h5ad(human_path), anndata.read_h5ad(mouse_path)
    mouse.var_names = mouse.var["feature_name"].astype(str).str.upper()
    human.var_names = human.var_names.str.upper()
    mouse.var_names_make_unique()
    human.var_names_make_unique()
    shared = [g for g in human.var_names if g in set(mouse.var_names)]
    human, mouse = human[:, shared], mouse[:, shared]
    labels = [human.obs["cell_type_shared"].astype(str), mouse.obs["cell_type"].astype(str)]
    common = set(labels[0]) & set(labels[1])
    kept = [label.isin(common).to_numpy() for label in labels]
    parts = []
    for name, file, label, keep in zip(["human", "mouse"], [human, mouse], labels, kept):
        part = file[keep]
        obs = pandas.DataFrame(
            {
                "species": name,
                "cell_type": label[keep].to_numpy(),
                "sample": name + "_" + part.obs["batch"].astype(str).to_numpy(),
            },
            index=name + "_" + part.obs_names,
        )
        parts.append((scipy.sparse.csr_matrix(part.X), obs))
    counts = scipy.sparse.vstack([p[0] for p in parts]).tocsr().astype("float32")
    obs = pandas.concat([p[1] for p in parts]).astype("category")
    joined = anndata.AnnData(counts, obs=obs, var=pandas.DataFrame(index=shared))
    joined.write_h5ad(out, compression="gzip")
    print(joined, sorted(common))


def spatial(path, out):
    cells = anndata.read_h5ad(path)
    cells.X = scipy.sparse.csr_matrix(cells.X).astype("float32")
    cells.X.data = numpy.ceil(cells.X.data)
    cells.write_h5ad(out, compression="gzip")
    print(cells)


if __name__ == "__main__":
    {"species": species, "spatial": spatial}[sys.argv[1]](*sys.argv[2:])
