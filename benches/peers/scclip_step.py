"""Training steps, or embedding passes, of scCLIP on the CPU. Prints one JSON line.

The original, jsxlei/scCLIP, publishes no licence and is no package; with --scclip FOLDER (a checkout,
revision 835ba7c; needs transformers) its own towers are run, without, the same network built here of
torch's layers. The line's "model" says which. Both take dense cells, as the original does.

A step: both towers, symmetric cross entropy, backward pass, clipping, AdamW. Needs torch; README.md
has the lines.
"""

import importlib.util
import sys
import types

import measure
import torch
from torch import nn

PRESETS = {
    "small": {
        "minibatch": 256, "genes": 20_000, "peaks": 100_000, "patches": 128, "width": 128,
        "layers": 4, "heads": 8, "feed_forward": 256,
    },
    "paper": {
        "minibatch": 512, "genes": 36_601, "peaks": 1_000_000, "patches": 128, "width": 256,
        "layers": 6, "heads": 8, "feed_forward": 512,
    },
}  # fmt: skip
DROPOUT, PROJECTION = 0.1, 128


def more(parser):
    parser.add_argument("--scclip", help="folder of the checkout; its own towers are run")
    parser.add_argument("--density", type=float, default=0.05, help="share of values above 0")


args = measure.flags(__doc__, PRESETS, more)


class Tower(nn.Module):
    """Patches, a pre-norm transformer, tanh of a linear layer of the first token."""

    def __init__(self, features):
        super().__init__()
        d, p = args.width, args.patches
        self.patch = -(-features // p)
        self.pad = p * self.patch - features
        self.projection = nn.Linear(self.patch, d)
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        self.positions = nn.Parameter(torch.zeros(1, p + 1, d))
        self.dropout = nn.Dropout(DROPOUT)
        layer = nn.TransformerEncoderLayer(
            d, args.heads, args.feed_forward, DROPOUT, "gelu", 1e-12, True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, args.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(d, eps=1e-12)
        self.pooler = nn.Linear(d, d)

    def forward(self, x):
        x = nn.functional.pad(x, (0, self.pad)).view(len(x), args.patches, self.patch)
        x = torch.cat([self.cls.expand(len(x), -1, -1), self.projection(x)], 1)
        x = self.norm(self.layers(self.dropout(x + self.positions)))
        return self.pooler(x[:, 0]).tanh()


def original_tower(folder, features):
    """The class of the checkout; the rest of its package is not imported."""
    package = types.ModuleType("scclip")
    package.__path__ = [f"{folder}/scclip"]
    sys.modules["scclip"] = package
    from scclip.vit import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=args.width, num_hidden_layers=args.layers, num_attention_heads=args.heads,
        intermediate_size=args.feed_forward, hidden_dropout_prob=DROPOUT,
        attention_probs_dropout_prob=DROPOUT, feature_size=features, num_patches=args.patches,
    )
    config._attn_implementation = "eager"

    class Pooled(ViTModel):
        def forward(self, x):
            return super().forward(x)[1]

    return Pooled(config)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        tower = (lambda f: original_tower(args.scclip, f)) if args.scclip else Tower
        self.atac, self.rna = tower(args.peaks), tower(args.genes)
        self.from_atac = nn.Linear(args.width, PROJECTION, bias=False)
        self.from_rna = nn.Linear(args.width, PROJECTION, bias=False)
        self.scale = nn.Parameter(torch.tensor(2.6592))

    def embed(self, atac, rna):
        pair = self.from_atac(self.atac(atac)), self.from_rna(self.rna(rna))
        return [x / x.norm(dim=-1, keepdim=True) for x in pair]

    def forward(self, atac, rna):
        a, r = self.embed(atac, rna)
        similarity = a @ r.T * self.scale.exp()
        own = torch.arange(len(a))
        both = (nn.functional.cross_entropy(s, own) for s in (similarity, similarity.T))
        return sum(both) / 2


if args.scclip and importlib.util.find_spec("transformers") is None:
    sys.exit("--scclip needs: pip install transformers==4.40.2")
model = Model()
atac = (torch.rand(args.minibatch, args.peaks) < args.density).float()
rna = torch.rand(args.minibatch, args.genes) * (
    torch.rand(args.minibatch, args.genes) < args.density
)


def loss():
    return model(atac, rna)


def embed():
    return model.embed(atac, rna)


kind = "original" if args.scclip else "equivalent"
measure.run("scclip_step", model, args, loss, embed, kind, args.minibatch, density=args.density)
