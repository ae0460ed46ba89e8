"""Training steps, or embedding passes, of scPRINT on the CPU. Prints one JSON line.

scPRINT's package needs a local database of ontologies before its network can be built, so that
this is the same network built here of torch's layers: pre-norm blocks with a joint projection and
scaled_dot_product_attention, the decoder of counts, and class tokens with their decoders.

A step: a pass on counts of which a part is removed, a pass on genes without values that begins with
the cell tokens of the first, zero-inflated negative binomial of the true counts in both, binary
cross-entropy of --classes classes, similarity of cell tokens; backward pass, clipping, AdamW.
Vectors of genes and their places are not trained.
"""

import measure
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, scaled_dot_product_attention

PRESETS = {
    "small": {
        "minibatch": 16, "genes": 8000, "length": 512, "width": 128, "layers": 4, "heads": 2,
        "classes": 0, "leaves": 100,
    },
    "paper": {
        "minibatch": 2, "genes": 44_756, "length": 2200, "width": 512, "layers": 16, "heads": 8,
        "classes": 6, "leaves": 100,
    },
}  # fmt: skip
DROPOUT, NOISE = 0.1, 0.66


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(d, eps=1e-6), nn.LayerNorm(d, eps=1e-6)
        self.joint, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.joint(self.norm1(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        p = DROPOUT if self.training else 0.0
        y = scaled_dot_product_attention(q, k, v, dropout_p=p).transpose(1, 2).reshape(b, n, d)
        x = x + self.dropout(self.out(y))
        return x + self.dropout(self.mlp(self.norm2(x)))


def number(d):
    return nn.Sequential(
        nn.Linear(1, d), nn.LayerNorm(d), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(d, d)
    )


class ScPrint(nn.Module):
    def __init__(self, a):
        super().__init__()
        d = a.width
        self.table = nn.Embedding.from_pretrained(torch.randn(a.genes, d))
        self.places = nn.Embedding.from_pretrained(torch.randn(a.genes, d))
        self.value, self.depth = number(d), number(d)
        self.cells = nn.Embedding(a.classes + 1, d)
        self.blocks = nn.Sequential(*(Block(d, a.heads) for _ in range(a.layers)))
        self.norm = nn.LayerNorm(d, eps=1e-6)
        self.decoder = nn.Sequential(
            nn.Linear(d, d), nn.LayerNorm(d), nn.LeakyReLU(), nn.Dropout(DROPOUT),
            nn.Linear(d, d), nn.LayerNorm(d), nn.LeakyReLU(), nn.Linear(d, 3),
        )  # fmt: skip
        self.class_decoders = nn.ModuleList(
            nn.Sequential(
                nn.Linear(d, d), nn.LayerNorm(d), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(d, a.leaves)
            )
            for _ in range(a.classes)
        )

    def forward(self, genes, total, counts=None, depth=None, cells=None):
        x = self.table(genes) + self.places(genes)
        if counts is not None:
            x = x + self.value(torch.log2(1 + counts).unsqueeze(-1))
        if cells is None:
            cells = self.cells.weight.expand(len(genes), -1, -1)
            depth = self.depth(torch.log2(1 + depth).view(-1, 1, 1))
            cells = torch.cat([cells[:, :1], depth, cells[:, 1:]], dim=1)
        n = cells.shape[1]
        x = self.norm(self.blocks(torch.cat([cells, x], dim=1)))
        share, dispersion, zero = self.decoder(x[:, n:]).unbind(-1)
        return x[:, :n], share.softmax(-1) * total, dispersion.clamp(max=15).exp(), zero


args = measure.flags(__doc__, PRESETS)
model = ScPrint(args)
genes = torch.stack([torch.randperm(args.genes)[: args.length] for _ in range(args.minibatch)])
counts = measure.counts(args.minibatch, args.length, 0.7, args.seed)
total = counts.sum(1, keepdim=True)
labels = torch.randint(args.leaves, (args.minibatch, max(args.classes, 1)))


def embed():
    cells, *_ = model(genes, total, counts, total.squeeze(1))
    return cells.mean(1)


def loss():
    removed = torch.poisson(counts * NOISE / 2)
    stays = torch.rand_like(counts) >= NOISE / 2
    noisy = (counts - removed).clamp(min=0) * stays
    cells, *predicted = model(genes, total, noisy, total.squeeze(1))
    sum_ = measure.zinb(counts, *predicted).mean()
    if args.classes:
        unit = nn.functional.normalize(cells, dim=2)
        cos = (unit @ unit.transpose(1, 2)).abs().mean(0)
        sum_ = sum_ + 0.2 * cos.fill_diagonal_(0).mean()
    for i, decoder in enumerate(model.class_decoders):
        wanted = nn.functional.one_hot(labels[:, i], args.leaves).float()
        sum_ = sum_ + 1.5 * binary_cross_entropy_with_logits(decoder(cells[:, 2 + i]), wanted)
    _, *predicted = model(genes, total, cells=cells)
    return sum_ + measure.zinb(counts, *predicted).mean()


measure.run("scprint_step", model, args, loss, embed, "equivalent", args.minibatch)
