"""Values, and the files they are published in."""

import collections
import contextlib
import math
import sys
import types
import zipfile

import numpy as np
import torch
from safetensors.torch import save_file
from torch.utils.serialization import config

# Values are multiples of 1/64 in [-2, 2): exact in float16 and bfloat16 too.
STEP, SPAN = 37, 256


def seed(name):
    """FNV-1a, 32 bits, of the tensor's name."""
    h = 0x811C9DC5
    for byte in name.encode():
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    return h


def period(name):
    """The 256 values that repeat through the tensor, last axis fastest."""
    k = (seed(name) + STEP * np.arange(SPAN, dtype=np.int64)) % SPAN
    if name.endswith("running_var"):
        return ((k + 1) / 64).astype(np.float32)
    return ((k - SPAN // 2) / 64).astype(np.float32)


def sinusoid(places, width):
    """Positions as the originals compute them: sines in even columns, cosines in odd ones."""
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angle = torch.arange(places).unsqueeze(1) * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).reshape(places, width)


def value(name, shape):
    if name.endswith("num_batches_tracked"):
        return torch.tensor(seed(name) % 1000)
    if name.endswith(".pos"):
        return torch.arange(shape[0])
    if name == "pos_encoder.pe":
        return sinusoid(shape[0], shape[2]).reshape(shape)
    data = (
        np.resize(period(name), math.prod(shape)) if math.prod(shape) else np.zeros(0, np.float32)
    )
    return torch.from_numpy(data.copy()).reshape(shape)


def fill(names):
    return {name: value(name, shape) for name, shape in names.items()}


def state_dict(tensors):
    """What Module.state_dict() returns: an ordered dict with every module's version attached.

    Some training scripts copy it into a new dict, which loses the versions; a third of the bytes of
    a small file are theirs, so that most files here do.
    """
    out = collections.OrderedDict(tensors)
    modules = [""]
    for name in tensors:
        parts = name.split(".")[:-1]
        modules += [".".join(parts[: i + 1]) for i in range(len(parts))]
    out._metadata = collections.OrderedDict((m, {"version": 1}) for m in dict.fromkeys(modules))
    return out


def expect(folder, tensors, name="expected.safetensors"):
    """The same tensors under the same names, all float32."""
    plain = {k: v.detach().to(torch.float32).contiguous().clone() for k, v in tensors.items()}
    save_file(plain, folder / name)


def save(path, what, location=None, alignment=64, **options):
    """torch.save, which may note another device than the CPU, as where a GPU run saved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    config.save.storage_alignment = alignment
    with located(location):
        torch.save(what, path, **options)
    config.save.storage_alignment = 64


@contextlib.contextmanager
def located(location):
    tag = torch.serialization.location_tag
    if location:
        torch.serialization.location_tag = lambda storage: location
    try:
        yield
    finally:
        torch.serialization.location_tag = tag


def stub(module, name):
    """A class that pickles as `module.name`, of a package that need not be installed."""
    parts = module.split(".")
    for i in range(len(parts)):
        at = ".".join(parts[: i + 1])
        sys.modules.setdefault(at, types.ModuleType(at))
    if not hasattr(sys.modules[module], name):
        setattr(sys.modules[module], name, type(name, (), {"__module__": module}))
    return getattr(sys.modules[module], name)


def progress():
    def counts():
        return {"ready": 4, "started": 4, "processed": 4, "completed": 4}

    return {"total": counts(), "current": counts()}


def lightning(tensors, hyper_parameters, version, data_parameters=None):
    """What Trainer.save_checkpoint writes. Two moments of the optimiser stand for all."""
    first = list(tensors)[:2]
    moments = {
        i: {
            "step": torch.tensor(4.0),
            "exp_avg": torch.full_like(tensors[name], 0.5),
            "exp_avg_sq": torch.full_like(tensors[name], 0.25),
        }
        for i, name in enumerate(first)
    }
    group = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "params": [0, 1]}
    stopping = "ModelCheckpoint{'monitor': 'val_loss', 'mode': 'min', 'every_n_train_steps': 0}"
    out = {
        "epoch": 1,
        "global_step": 4,
        "pytorch-lightning_version": version,
        "state_dict": collections.OrderedDict(tensors),
        "loops": {
            "fit_loop": {
                "state_dict": {},
                "epoch_loop.state_dict": {"_batches_that_stepped": 4},
                "epoch_loop.batch_progress": progress() | {"is_last_batch": True},
                "epoch_progress": progress(),
            },
            "validate_loop": {"state_dict": {}, "batch_progress": progress()},
        },
        "callbacks": {
            stopping: {
                "monitor": "val_loss",
                "best_model_score": torch.tensor(1.5),
                "best_model_path": "checkpoints/epoch=1-step=4.ckpt",
                "best_k_models": {"checkpoints/epoch=1-step=4.ckpt": torch.tensor(1.5)},
            }
        },
        "optimizer_states": [{"state": moments, "param_groups": [group]}],
        "lr_schedulers": [
            {"last_epoch": 4, "_step_count": 5, "base_lrs": [1e-4], "_last_lr": [1e-4]}
        ],
        "MixedPrecision": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 4},
        "hparams_name": "kwargs",
        "hyper_parameters": hyper_parameters,
    }
    if data_parameters is not None:
        out |= {"datamodule_hparams_name": "kwargs", "datamodule_hyper_parameters": data_parameters}
    return out


def rezip(source, target, compression=zipfile.ZIP_STORED, folder=None, edit=None):
    """Copies a zip, with another compression, folder name, or records: `edit` maps a record's name
    (without folder) and bytes to new bytes, or to None to leave it out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for record in old.infolist():
            first, _, rest = record.filename.partition("/")
            data = old.read(record)
            if edit is not None:
                data = edit(rest, data)
                if data is None:
                    continue
            info = zipfile.ZipInfo(f"{folder or first}/{rest}")
            new.writestr(info, data, compress_type=compression)


def stream(path, names, chunk=1 << 22):
    """A zip checkpoint of float32 tensors, written without holding any of them.

    torch writes the pickle, with tensors that have no memory; the storages follow from `period`.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.draft")
    with FakeTensorMode():
        hollow = state_dict({n: torch.empty(s) for n, s in names.items()})
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(hollow, draft)
    with zipfile.ZipFile(draft) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for record in old.infolist():
            rest = record.filename.partition("/")[2]
            info = zipfile.ZipInfo(f"{path.stem}/{rest}")
            if not rest.startswith("data/"):
                new.writestr(info, old.read(record))
                continue
            name = list(names)[int(rest.removeprefix("data/"))]
            # torch aligns storages to 64 bytes with an extra field; 30 is the local header's size.
            pad = -(new.start_dir + 30 + len(info.filename) + 4) % 64
            info.extra = b"FB" + pad.to_bytes(2, "little") + b"Z" * pad
            left = math.prod(names[name]) * 4
            info.file_size = left
            block = np.tile(period(name), chunk // SPAN // 4).tobytes()
            if name == "pos_encoder.pe":
                block = value(name, names[name]).numpy().tobytes()
            with new.open(info, "w") as out:
                while left:
                    out.write(block[: min(left, len(block))])
                    left -= min(left, len(block))
    draft.unlink()
