"""One small state_dict in every container it may come in, and in ones that must be refused."""

import argparse
import collections
import functools
import os
import pathlib
import zipfile

import numpy as np
import torch

from . import containers as c

NAMES = {
    "encoder.weight": (5, 4),
    "encoder.bias": (5,),
    "norm.num_batches_tracked": (),
    "none": (0, 4),
}


def views(tensors, gap=3):
    """Every float tensor a slice of one storage, with gaps between."""
    floats = {k: v for k, v in tensors.items() if v.is_floating_point()}
    one = torch.full((gap + sum(v.numel() + gap for v in floats.values()),), 9.0)
    out, at = dict(tensors), gap
    for name, tensor in floats.items():
        out[name] = one[at : at + tensor.numel()].view(tensor.shape)
        out[name].copy_(tensor)
        at += tensor.numel() + gap
    return out


def strided(tensors):
    """Transposed, every second element, and one element spread over an axis: no copy is made."""
    out = dict(tensors)
    out["encoder.weight"] = tensors["encoder.weight"].t().contiguous().t()
    wide = torch.full((10,), 9.0)
    wide[1::2] = tensors["encoder.bias"]
    out["encoder.bias"] = wide[1::2]
    out["spread"] = torch.tensor([0.5]).expand(3, 2)
    return out


def opaque():
    """Objects of a checkpoint that is no more than data to a reader, some of unknown packages."""
    custom = c.stub("somewhere.models", "Settings")()
    custom.width, custom.parent = 4, custom  # refers to itself
    return {
        "width": 4, "rate": 1e-4, "big": 1 << 70, "negative": -3, "flags": [True, False, None],
        "path": pathlib.PurePosixPath("data/main/genes.parquet"), "device": torch.device("cuda:0"),
        "dtype": torch.float16, "size": torch.Size([3, 2]), "names": {"a"}, "bytes": b"\x00\xff",
        "space": argparse.Namespace(seed=42), "part": functools.partial(torch.nn.Linear, 4),
        "counts": collections.Counter("aab"), "default": collections.defaultdict(list, x=[1]),
        "array": np.arange(6).reshape(2, 3), "scalar": np.float64(1.5), "custom": custom,
        "class": torch.nn.ReLU, "text": "Ångström β", "complex": 1 + 2j, "range": range(3),
    }  # fmt: skip


class Runs:
    """Unpickled by the pickle module, this runs what it names."""

    def __init__(self, call, *words):
        self.made = (call, words)

    def __reduce__(self):
        return self.made


class Claims:
    """Unpickles as a tensor with a storage, offset, shape and strides that need not agree."""

    def __init__(self, tensor, offset, shape, stride):
        hooks = collections.OrderedDict()
        self.parts = (tensor._typed_storage(), offset, shape, stride, False, hooks)

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.parts


def readable(folder):
    """Files that hold `expected.safetensors`, some under other names or with more beside it."""
    tensors = c.fill(NAMES)
    c.expect(_made(folder), tensors)
    plain = c.state_dict(tensors)
    c.save(folder / "plain.pt", plain)
    c.save(folder / "cuda.pt", plain, location="cuda:0")
    c.save(folder / "protocol4.pt", plain, pickle_protocol=4)
    c.save(folder / "legacy.pt", plain, _use_new_zipfile_serialization=False)
    shared = c.state_dict(views(tensors))
    c.save(folder / "shared.pt", shared)
    c.save(folder / "shared_legacy.pt", shared, _use_new_zipfile_serialization=False)
    loose = strided(tensors)
    c.save(folder / "strided.pt", c.state_dict(loose))
    c.expect(folder, loose, "strided.safetensors")
    parameters = {k: torch.nn.Parameter(v, v.is_floating_point()) for k, v in tensors.items()}
    c.save(folder / "parameters.pt", parameters)
    c.save(
        folder / "module_prefix.pt", c.state_dict({f"module.{k}": v for k, v in tensors.items()})
    )
    for name, kind in [
        ("float16", torch.float16),
        ("bfloat16", torch.bfloat16),
        ("float64", torch.float64),
    ]:
        cast = {k: v.to(kind) if v.is_floating_point() else v for k, v in tensors.items()}
        c.save(folder / f"{name}.pt", c.state_dict(cast))
    c.rezip(folder / "plain.pt", folder / "compressed.pt", zipfile.ZIP_DEFLATED)

    def first_release(rest, data):
        if rest == "version":
            return b"2\n"
        return data if rest == "data.pkl" or rest.startswith("data/") else None

    c.rezip(folder / "plain.pt", folder / "torch1.pt", folder="archive", edit=first_release)
    c.save(folder / "opaque.ckpt", c.lightning(tensors, opaque(), "2.0.4"))


def refused(folder):
    """Files that must be refused with a reason, and must run nothing."""
    tensors, mark = c.fill(NAMES), "echo run > PICKLE_WAS_EXECUTED"
    _made(folder)
    plain = folder.parent / "variants" / "plain.pt"
    runs = Runs(os.system, mark)
    c.save(folder / "runs.pt", {**tensors, "more": runs})
    c.save(
        folder / "runs_legacy.pt", {**tensors, "more": runs}, _use_new_zipfile_serialization=False
    )
    c.save(folder / "runs_eval.pt", Runs(eval, f"__import__('os').system({mark!r})"))
    beside = {"state_dict": tensors, "hyper_parameters": {"width": 4, "more": runs}}
    c.save(folder / "runs_beside.ckpt", beside)

    whole = plain.read_bytes()
    (folder / "truncated.pt").write_bytes(whole[: len(whole) * 3 // 5])
    legacy = (folder.parent / "variants" / "legacy.pt").read_bytes()
    (folder / "truncated_legacy.pt").write_bytes(legacy[: len(legacy) - 24])
    flipped = bytearray(whole)
    with zipfile.ZipFile(plain) as z:
        first = next(i for i in z.infolist() if i.filename.endswith("data/0"))
        with z.open(first) as f:
            start = f._orig_compress_start
    flipped[start + 5] ^= 0x40
    (folder / "flipped.pt").write_bytes(flipped)

    def change(record, to):
        return lambda rest, data: to(data) if rest == record else data

    c.rezip(plain, folder / "short_storage.pt", edit=change("data/0", lambda d: d[: len(d) // 2]))
    c.rezip(plain, folder / "no_storage.pt", edit=change("data/1", lambda d: None))
    c.rezip(plain, folder / "no_pickle.pt", edit=change("data.pkl", lambda d: None))
    c.rezip(plain, folder / "cut_pickle.pt", edit=change("data.pkl", lambda d: d[:-40]))
    c.rezip(plain, folder / "big_endian.pt", edit=change("byteorder", lambda d: b"big"))

    base = torch.arange(4.0)
    c.save(folder / "outside.pt", {"encoder.bias": Claims(base, 2, (4,), (1,))})
    c.save(folder / "huge.pt", {"encoder.bias": Claims(base, 0, (1 << 40,), (1,))})
    c.save(folder / "spread_huge.pt", {"encoder.bias": Claims(base, 0, (1 << 40,), (0,))})
    c.save(folder / "overflow.pt", {"encoder.weight": Claims(base, 0, (1 << 33, 1 << 33), (1, 1))})
    c.save(folder / "negative.pt", {"encoder.weight": Claims(base, 0, (2, -2), (2, 1))})
    c.save(folder / "complex.pt", {"encoder.bias": torch.zeros(3, dtype=torch.complex64)})
    c.save(folder / "quantised.pt", {"w": torch.quantize_per_tensor(base, 0.1, 0, torch.qint8)})
    c.save(folder / "no_tensors.pt", {"encoder.bias": "a string", "epoch": 3})
    rest = {"epoch": 3, "hyper_parameters": {"width": 4}, "optimizer_states": [base]}
    c.save(folder / "no_state_dict.ckpt", rest)
    c.save(folder / "a_list.pt", [torch.zeros(2)])
    (folder / "web_page.pt").write_text(
        "<!DOCTYPE html><html><title>Virus scan warning</title></html>\n"
    )
    (folder / "lfs_pointer.pt").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 218354671\n"
    )
    (folder / "empty.pt").write_bytes(b"")
    (folder / "cut_header.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    return WHY


WHY = {
    "runs.pt": "a value calls os.system",
    "runs_legacy.pt": "a value calls os.system",
    "runs_eval.pt": "the whole is a call of eval",
    "runs_beside.ckpt": "hyper-parameters call os.system; the tensors may be loaded, nothing may run",
    "truncated.pt": "cut at three fifths: no central directory",
    "truncated_legacy.pt": "the last storage is cut",
    "flipped.pt": "one bit of a storage differs from its checksum",
    "short_storage.pt": "a storage holds half of its elements",
    "no_storage.pt": "a storage has no record",
    "no_pickle.pt": "no data.pkl",
    "cut_pickle.pt": "data.pkl ends early",
    "big_endian.pt": "byteorder says big",
    "outside.pt": "a tensor reaches beyond its storage",
    "huge.pt": "a shape of 2^40 elements in a storage of four",
    "spread_huge.pt": "2^40 elements by a stride of zero",
    "overflow.pt": "a shape whose product overflows 64 bits",
    "negative.pt": "a negative length",
    "complex.pt": "complex64 values",
    "quantised.pt": "a quantised tensor",
    "no_tensors.pt": "no tensors",
    "no_state_dict.ckpt": "a checkpoint without state_dict",
    "a_list.pt": "a list, no dict",
    "web_page.pt": "an HTML page saved in place of the file",
    "lfs_pointer.pt": "a Git LFS pointer in place of the file",
    "empty.pt": "no bytes",
    "cut_header.safetensors": "a header of 2^40 bytes in a file of ten",
}


def _made(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder
