"""Training steps, or embedding passes, of Nicheformer on the CPU. Prints one JSON line.

Nicheformer is in no package registry, so that this is the same network built here of torch's
layers: learned positions, nn.TransformerEncoder (post-norm, ReLU, epsilon 1e-12, no dropout) and
the classifier over the vocabulary; its unused heads are left out.

A step: forward pass, cross-entropy at the masked 15 % of the tokens, backward pass, clipping,
AdamW. The mask is drawn outside the timing. As in the original, logits are made for every
position, and cells are padded to the whole context. An embedding is the mean of the last layer
over what follows the three context tokens, padding included as released.
"""

import measure
import torch
from torch import nn

PRESETS = {
    "small": {
        "minibatch": 32, "tokens": 512, "vocabulary": 8030, "width": 256, "layers": 4, "heads": 8,
        "feed_forward": 512,
    },
    "paper": {
        "minibatch": 6, "tokens": 1500, "vocabulary": 20_340, "width": 512, "layers": 12,
        "heads": 16, "feed_forward": 1024,
    },
}  # fmt: skip
MASK, PAD, FIRST_GENE = 0, 1, 30


def more(parser):
    parser.add_argument("--padded", type=float, default=0.0, help="share of padding in a cell")


class Nicheformer(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.tokens = nn.Embedding(a.vocabulary + 5, a.width, padding_idx=PAD)
        self.positions = nn.Embedding(a.tokens, a.width)
        layer = nn.TransformerEncoderLayer(
            a.width, a.heads, a.feed_forward, dropout=0.0, layer_norm_eps=1e-12, batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, a.layers, enable_nested_tensor=False)
        self.classifier = nn.Linear(a.width, a.vocabulary)

    def forward(self, ids, padding):
        return self.layers(self.tokens(ids) + self.positions.weight, src_key_padding_mask=padding)


args = measure.flags(__doc__, PRESETS, more)
model = Nicheformer(args)
ids = torch.stack([
    torch.randperm(args.vocabulary - FIRST_GENE)[: args.tokens] + FIRST_GENE
    for _ in range(args.minibatch)
])
ids[:, :3] = torch.tensor([5, 11, 3])  # human, 10x 3' v3, dissociated
ids[:, args.tokens - int(args.padded * args.tokens) :] = PAD
padding = ids == PAD
chosen = (torch.rand(ids.shape) < 0.15) & ~padding
masked = ids.masked_fill(chosen, MASK)
targets = ids.masked_fill(~chosen, -100)


def embed():
    return model(ids, padding)[:, 3:].mean(dim=1)


def loss():
    logits = model.classifier(model(masked, padding))
    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


measure.run(
    "nicheformer_step", model, args, loss, embed, "equivalent", args.minibatch, padded=args.padded
)
