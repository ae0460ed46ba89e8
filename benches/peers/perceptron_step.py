"""Training steps, or embedding passes, of perceptrons on whole cells. Prints one JSON line.

    python perceptron_step.py islander|mlp|autoencoder [flags]

Islander is in no package registry, and the others have no original: all are built here of torch's
layers, with Islander's blocks of Linear, BatchNorm, ReLU and Dropout.

A step: forward pass, loss, backward pass, clipping, AdamW.
islander: as its trainer does, the whole autoencoder runs, the encoder runs once more for the mixed
cells, and the loss is cross-entropy of labels and of mixed labels.
mlp: cross-entropy of labels. autoencoder: squared error.
"""

import measure
import torch
from torch import nn

SIZES = {"minibatch": 128, "genes": 8000, "density": 0.08, "classes": 40}
PRESETS = {
    "small": SIZES | {"hidden": [256], "latent": 32},
    "paper": SIZES | {"genes": 20_000, "hidden": [128], "latent": 16},
    "deep": SIZES | {"hidden": [512, 256], "latent": 64},  # small presets of mlp and autoencoder
}
DROPOUT = 0.1


def more(parser):
    parser.add_argument("architecture", choices=["islander", "mlp", "autoencoder"])


def stack(widths, dropout):
    layers = []
    for inp, out in zip(widths, widths[1:-1]):
        layers += [nn.Linear(inp, out), nn.BatchNorm1d(out), nn.ReLU()]
        layers += [nn.Dropout(dropout)] if dropout else []
    return [*layers, nn.Linear(*widths[-2:])]


class Perceptron(nn.Module):
    def __init__(self, a):
        super().__init__()
        widths = [a.genes, *a.hidden, a.latent]
        self.encoder = nn.Sequential(*stack(widths, DROPOUT))
        if a.architecture != "mlp":
            self.decoder = nn.Sequential(*stack(widths[::-1], 0.0), nn.ReLU())
        if a.architecture != "autoencoder":
            self.projector = nn.Linear(a.latent, a.classes)


args = measure.flags(__doc__, PRESETS, more)
model = Perceptron(args)
x = torch.log1p(measure.counts(args.minibatch, args.genes, args.density, args.seed))
labels = torch.randint(0, args.classes, (args.minibatch,))
order, share = torch.randperm(args.minibatch), 0.37
cross_entropy = nn.functional.cross_entropy


def islander():
    z = model.encoder(x)
    model.decoder(z)
    loss = cross_entropy(model.projector(z), labels)
    z = model.encoder(x)
    mixed = model.projector(share * z + (1 - share) * z[order])
    return loss + share * cross_entropy(mixed, labels) + (1 - share) * cross_entropy(mixed, labels[order])


def mlp():
    return cross_entropy(model.projector(model.encoder(x)), labels)


def autoencoder():
    return nn.functional.mse_loss(model.decoder(model.encoder(x)), x)


losses = {"islander": islander, "mlp": mlp, "autoencoder": autoencoder}
measure.run(
    f"{args.architecture}_step", model, args, losses[args.architecture], lambda: model.encoder(x),
    "equivalent", args.minibatch,
)  # fmt: skip
