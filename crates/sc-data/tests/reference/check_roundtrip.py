"""Checks files written by sc-data against Python's anndata and h5py.

    SCFM_ROUNDTRIP=/tmp/out cargo test -p sc-data --test files files_for_the_python_check
    python crates/sc-data/tests/reference/check_roundtrip.py /tmp/out SHARED/data

Every node but obsm/X_test and uns/scfm/X_test must be equal, byte by byte, in values, types and
attributes. Not needed by `cargo test`.
"""

import json
import sys
import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np

warnings.filterwarnings("ignore")
OURS = {"/obsm/X_test", "/uns/scfm/X_test"}


def same(a, b):
    if a is None or b is None or isinstance(a, h5py.Empty):
        return type(a) is type(b)
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype == h5py.ref_dtype:
        return True
    if a.dtype.hasobject or a.dtype.names:
        return str(a.tolist()) == str(b.tolist())
    return a.tobytes() == b.tobytes()


def compare(a, b, path, bad):
    if set(a.attrs) != set(b.attrs):
        bad.append(f"{path}: attributes {set(a.attrs) ^ set(b.attrs)}")
    for key in set(a.attrs) & set(b.attrs):
        if not same(a.attrs[key], b.attrs[key]):
            bad.append(f"{path}: attribute {key}")
    if isinstance(a, h5py.Dataset):
        if a.dtype != b.dtype or a.shape != b.shape or a.chunks != b.chunks:
            bad.append(f"{path}: type or shape")
            return
        try:
            values = a[()]
        except OSError:
            return  # a filter this h5py lacks
        if not same(values, b[()]):
            bad.append(f"{path}: values")
        return
    for key in a:
        child = f"{path}/{key}"
        if child in OURS:
            continue
        if key not in b:
            bad.append(f"{child}: missing")
        else:
            compare(a[key], b[key], child, bad)
    for key in set(b) - set(a):
        child = f"{path}/{key}"
        if child not in OURS and not any(o.startswith(child + "/") for o in OURS):
            bad.append(f"{child}: extra")


def main():
    out, data = Path(sys.argv[1]), Path(sys.argv[2])
    failed = 0
    a = anndata.read_h5ad(out / "simulated.h5ad")
    assert a.X.dtype == np.float32 and (a.X.data == np.round(a.X.data)).all() and a.X.has_sorted_indices
    assert set(a.obs.columns) == {"cell_type", "batch", "donor_id"}
    json.loads(a.uns["simulation"])
    print("simulated.h5ad", a.shape, "density", a.X.nnz / np.prod(a.shape))
    a = anndata.read_h5ad(out / "frame.h5ad")
    print(a.obs.dtypes.to_dict(), a.obsm["X_umap"][:2].tolist())
    assert a.obs["holes"].isna().sum() == 167 and a.obs["maybe"].isna().sum() == 100
    assert a.obs["some"].isna().sum() == 125 and a.obs["text"].iloc[3] == "é3"
    count = 0
    for path in sorted((out / "embedded").glob("*.h5ad")):
        original = next(p for d in ["datasets", "h5ad-variants", "h5ad-variants/generated"]
                        if (p := data / d / path.name).exists())
        bad = []
        with h5py.File(original) as old, h5py.File(path) as new:
            compare(old, new, "", bad)
            values = new["obsm/X_test"][()]
            if values.dtype != np.float32 or (values.ravel() != np.arange(values.size)).any():
                bad.append("obsm/X_test")
        try:
            anndata.read_h5ad(original)
        except Exception:
            pass  # this anndata cannot read the original either
        else:
            b = anndata.read_h5ad(path)
            if json.loads(b.uns["scfm"]["X_test"]) != {"model": "é", "seed": 1}:
                bad.append("uns/scfm/X_test")
        count += 1
        failed += bool(bad)
        if bad:
            print(path.name, bad[:5])
    print(f"{count} files compared, {failed} differ")
    sys.exit(failed > 0)


main()
