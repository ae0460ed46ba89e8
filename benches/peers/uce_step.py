"""Training steps, or embedding passes, of UCE on the CPU. Prints one JSON line.

No package of UCE is published, so that this is the same network built here of torch's layers: the
projection of frozen protein vectors, sinusoids, nn.TransformerEncoder (post-norm, ReLU, tokens
first, as the original runs it), the decoder and the binary decoder.

A step: protein vectors of the tokens, normalised; forward pass; binary cross-entropy of
--asked genes a cell, half of them expressed; backward pass, clipping, AdamW. The original's
training code is not public: this is the objective as documented. The table of protein vectors is
not trained. Its published size is 3 GB.

Every sentence has --tokens tokens of which --padded are padding. As released, padding adds 1 to
attention scores (--padding compat) where it should hide keys (--padding strict).
"""

import math

import measure
import torch
from torch import nn

PRESETS = {
    "small": {
        "minibatch": 32, "tokens": 515, "rows": 8004, "token_width": 512, "width": 256, "layers": 4,
        "heads": 8, "feed_forward": 1024, "output": 256, "decoder_hidden": 256,
        "binary_hidden": [512, 256, 128], "asked": 256,
    },
    "paper": {
        "minibatch": 2, "tokens": 1536, "rows": 145_469, "token_width": 5120, "width": 1280,
        "layers": 4, "heads": 20, "feed_forward": 5120, "output": 1280, "decoder_hidden": 1024,
        "binary_hidden": [2048, 512, 128], "asked": 1024,
    },
}  # fmt: skip
DROPOUT = 0.05


def more(parser):
    parser.add_argument("--padding", choices=["compat", "strict"], default="strict")
    parser.add_argument("--padded", type=float, default=0.0, help="share of padding in a sentence")


def block(inp, out):
    return nn.Sequential(nn.Linear(inp, out), nn.LayerNorm(out), nn.GELU(), nn.Dropout(DROPOUT))


class Uce(nn.Module):
    def __init__(self, a):
        super().__init__()
        d = a.width
        self.scale = math.sqrt(d)
        rate = torch.exp(torch.arange(0, d, 2) * (-math.log(10000.0) / d))
        angle = torch.arange(a.tokens).unsqueeze(1) * rate
        positions = torch.stack([angle.sin(), angle.cos()], dim=2).reshape(a.tokens, 1, d)
        self.register_buffer("positions", positions)
        self.dropout = nn.Dropout(DROPOUT)
        self.encoder = self.projection(a)
        layer = nn.TransformerEncoderLayer(d, a.heads, a.feed_forward, DROPOUT)
        self.layers = nn.TransformerEncoder(layer, a.layers, enable_nested_tensor=False)
        self.decoder = nn.Sequential(
            block(d, a.decoder_hidden), block(a.decoder_hidden, a.output),
            block(a.output, a.output), nn.Linear(a.output, a.output),
        )  # fmt: skip
        first, second, third = a.binary_hidden
        self.binary = nn.Sequential(
            block(a.output + d, first), block(first, second), block(second, third), nn.Linear(third, 1)
        )
        self.genes = self.projection(a)

    @staticmethod
    def projection(a):
        return nn.Sequential(nn.Linear(a.token_width, a.width), nn.GELU(), nn.LayerNorm(a.width))

    def embed(self, tokens, hidden):
        """tokens [length, cells, token_width], normalised; hidden [cells, length]."""
        x = self.dropout(self.encoder(tokens) * self.scale + self.positions[: len(tokens)])
        x = self.decoder(self.layers(x, src_key_padding_mask=hidden))
        return nn.functional.normalize(x[0], dim=1)

    def predict(self, cells, genes):
        """cells [cells, output], genes [cells, asked, token_width] -> [cells, asked]."""
        cells = cells.unsqueeze(1).expand(-1, genes.shape[1], -1)
        return self.binary(torch.cat([cells, self.genes(genes)], dim=2)).squeeze(2)


args = measure.flags(__doc__, PRESETS, more)
model = Uce(args)
table = nn.functional.normalize(torch.randn(args.rows, args.token_width), dim=1)
ids = torch.randint(4, args.rows, (args.minibatch, args.tokens))
ids[:, 0] = 3  # CLS
ids[:, args.tokens - int(args.padded * args.tokens) :] = 0
hidden = ids == 0
if args.padding == "compat":
    hidden = hidden.float()
asked = torch.randint(4, args.rows, (args.minibatch, args.asked))
expressed = (torch.arange(args.asked) < args.asked // 2).float().expand(args.minibatch, -1)


def embed():
    tokens = nn.functional.normalize(table[ids], dim=2).transpose(0, 1)
    return model.embed(tokens, hidden)


def loss():
    logits = model.predict(embed(), table[asked])
    return nn.functional.binary_cross_entropy_with_logits(logits, expressed)


measure.run(
    "uce_step", model, args, loss, embed, "equivalent", args.minibatch,
    padding=args.padding, padded=args.padded,
)  # fmt: skip
