"""Training steps, or embedding passes, of scHyena on the CPU. Prints one JSON line.

scHyena has no public code. The operator is that of HazyResearch/safari: with --safari FOLDER (a
checkout, revision 02220c6) its own HyenaOperator is run, which looks back only; without, the two-sided
operator built here of torch.fft, as ours is. The line's "model" says which. Blocks, tokens, head and
loss are the same in both: LayerNorm, operator, LayerNorm, perceptron with tanh-GELU, a regressor,
squared error over hidden values.

A step: forward pass, loss, backward pass, clipping, AdamW. Needs torch; README.md has the lines.
"""

import importlib.util
import math
import sys
import types

import measure
import torch
from torch import nn

PRESETS = {
    "small": {"minibatch": 16, "genes": 8000, "width": 128, "layers": 4, "feed_forward": 512},
    "paper": {"minibatch": 16, "genes": 19_000, "width": 256, "layers": 4, "feed_forward": 1024},
}


def more(parser):
    parser.add_argument("--safari", help="folder of the checkout; its own operator is run")


args = measure.flags(__doc__, PRESETS, more)
LENGTH = args.genes + 1


def safari_operator(folder):
    """The class of the checkout, whose other parts (registry, fused kernels) are stood in for."""
    for name in ["src.utils.registry", "src.utils.train", "src.utils.config", "src.models.nn"]:
        sys.modules[name] = types.ModuleType(name)

    class OptimModule(nn.Module):
        def register(self, name, tensor, lr=None, wd=0.0):
            if lr == 0.0:
                self.register_buffer(name, tensor)
            else:
                self.register_parameter(name, nn.Parameter(tensor))

    registry = sys.modules["src.utils.registry"]
    registry.layer = {}
    sys.modules["src.utils.train"].OptimModule = OptimModule
    config = sys.modules["src.utils.config"]
    config.auto_assign_attrs = lambda cls, **kwargs: [setattr(cls, k, v) for k, v in kwargs.items()]
    sys.modules["src.models.nn"].Activation = lambda _: nn.Identity()
    sys.modules["src"], sys.modules["src.utils"] = types.ModuleType("src"), types.ModuleType("utils")
    sys.modules["src"].utils = sys.modules["src.utils"]
    sys.modules["src.utils"].registry = registry
    spec = importlib.util.spec_from_file_location("hyena", f"{folder}/src/models/sequence/hyena.py")
    module = importlib.util.module_from_spec(spec)
    config.instantiate = lambda registry, name, partial: module.HyenaFilter
    spec.loader.exec_module(module)
    return module.HyenaOperator(
        args.width, LENGTH, order=2, filter_order=64, emb_dim=5, w=10, num_inner_mlps=2
    )


class Sin(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.freq = nn.Parameter(10.0 * torch.ones(1, width))

    def forward(self, x):
        return torch.sin(self.freq * x)


class TwoSided(nn.Module):
    """Order 2, one filter for each direction, by transforms of twice the length."""

    def __init__(self):
        super().__init__()
        d = args.width
        self.in_proj, self.out_proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.short = nn.Conv1d(3 * d, 3 * d, 3, padding=1, groups=3 * d)
        self.bias = nn.Parameter(torch.randn(d))
        t = torch.linspace(0, 1, LENGTH)[:, None]
        angle = 2 * math.pi * torch.arange(LENGTH)[:, None] / LENGTH
        f = torch.linspace(1e-4, 1, 2)[None]
        self.z = nn.Parameter(torch.cat([t, (f * angle).cos(), -(f * angle).sin()], 1))
        decay = torch.linspace(math.log(1e-2) / 1.5, math.log(1e-2) / 0.3, d).abs()
        self.register_buffer("window", torch.exp(-t * decay[None]))
        sin = Sin(64)
        self.filter = nn.Sequential(
            nn.Linear(5, 64), sin, nn.Linear(64, 64), sin, nn.Linear(64, 64), sin,
            nn.Linear(64, 2 * d, bias=False),
        )

    def forward(self, u):
        length = u.shape[1]
        x0, x1, v = self.short(self.in_proj(u).transpose(1, 2)).chunk(3, dim=1)
        k0, k1 = (self.filter(self.z) * self.window.repeat(1, 2)).T.chunk(2)
        k = nn.functional.pad(k0, (0, length)) + nn.functional.pad(k1.flip(-1), (length, 0))
        g = x1 * v
        spectrum = torch.fft.rfft(g, n=2 * length) * torch.fft.rfft(k, n=2 * length)
        y = torch.fft.irfft(spectrum, n=2 * length)[..., :length] + g * self.bias[:, None]
        return self.out_proj((y * x0).transpose(1, 2))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        d = args.width
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.mixer = safari_operator(args.safari) if args.safari else TwoSided()
        self.fc1, self.fc2 = nn.Linear(d, args.feed_forward), nn.Linear(args.feed_forward, d)

    def forward(self, x):
        x = x + self.mixer(self.norm1(x))
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x)), approximate="tanh"))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        d = args.width
        self.values, self.genes = nn.Linear(1, d), nn.Embedding(LENGTH, d)
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        self.hidden = nn.Parameter(torch.zeros(1, 1, d))
        self.layers = nn.ModuleList(Block() for _ in range(args.layers))
        self.norm = nn.LayerNorm(d)
        self.regressor = nn.Sequential(
            nn.Linear(d, d), nn.GELU(), nn.LayerNorm(d), nn.Linear(d, 1)
        )

    def embed(self, values, mask):
        x = self.values(values[..., None])
        if mask is not None:
            x = torch.where(mask[..., None], self.hidden, x)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.genes.weight
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)

    def forward(self, values, mask):
        return self.regressor(self.embed(values, mask))[:, 1:, 0]


model = Model()
values = torch.rand(args.minibatch, args.genes) * 3
values = values * (torch.rand_like(values) < 0.1)
mask = (values > 0) & (torch.rand_like(values) < 0.15)


def loss():
    return (((model(values, mask) - values) * mask) ** 2).sum() / mask.sum()


def embed():
    return model.embed(values, None)[:, 0]


kind = "original operator" if args.safari else "equivalent"
measure.run("schyena_step", model, args, loss, embed, kind, args.minibatch)
