"""Training steps, or embedding passes, of scVI's VAE on the CPU. Prints one JSON line.

Runs the module of scvi-tools (`scvi.module.VAE`) where the package is installed, without its data
loader and trainer, else a module of the same shape built here; the line's "model" says which.

A step: log1p, encoder, a draw, decoder, negative binomial (or zero-inflated) loss and KL term,
backward pass, clipping, AdamW. An embedding is the mean of the posterior. Batches enter as one-hot
covariates of the decoder.
"""

import importlib.util
import sys
import warnings

import measure
import torch
from torch import nn

PRESETS = {
    "small": {
        "minibatch": 128, "genes": 8000, "hidden": 256, "layers": 2, "latent": 30, "batches": 8,
        "density": 0.08, "likelihood": "nb",
    },
    "paper": {
        "minibatch": 128, "genes": 20_000, "hidden": 128, "layers": 1, "latent": 10, "batches": 8,
        "density": 0.08, "likelihood": "zinb",
    },
}  # fmt: skip
DROPOUT = 0.1


def more(parser):
    parser.add_argument("--model", choices=["auto", "original", "equivalent"], default="auto")


class Stack(nn.Module):
    """Linear, batch norm, ReLU, dropout; covariates join every layer's input."""

    def __init__(self, inp, covariates, hidden, layers, dropout):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Linear((hidden if i else inp) + covariates, hidden),
                nn.BatchNorm1d(hidden, momentum=0.01, eps=0.001),
                nn.ReLU(),
                nn.Dropout(dropout),
            )
            for i in range(layers)
        )

    def forward(self, x, covariates=None):
        for layer in self.layers:
            x = layer(x if covariates is None else torch.cat([x, covariates], dim=1))
        return x


class Equivalent(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.batches, self.zero_inflated = a.batches, a.likelihood == "zinb"
        self.encoder = Stack(a.genes, 0, a.hidden, a.layers, DROPOUT)
        self.mean, self.variance = nn.Linear(a.hidden, a.latent), nn.Linear(a.hidden, a.latent)
        self.decoder = Stack(a.latent, a.batches, a.hidden, a.layers, 0.0)
        self.scale = nn.Linear(a.hidden, a.genes)
        self.zero = nn.Linear(a.hidden, a.genes) if self.zero_inflated else None
        self.dispersion = nn.Parameter(torch.randn(a.genes))

    def posterior(self, x):
        h = self.encoder(torch.log1p(x))
        return torch.distributions.Normal(self.mean(h), (self.variance(h).exp() + 1e-4).sqrt())

    def embed(self, x, batch):
        return self.posterior(x).loc

    def loss(self, x, batch):
        q = self.posterior(x)
        covariates = nn.functional.one_hot(batch.squeeze(1), self.batches).float()
        h = self.decoder(q.rsample(), covariates)
        mu = self.scale(h).softmax(dim=1) * x.sum(dim=1, keepdim=True)
        theta, eps = self.dispersion.exp(), 1e-8
        log_theta_mu = (theta + mu + eps).log()
        fitted = (
            theta * ((theta + eps).log() - log_theta_mu)
            + x * ((mu + eps).log() - log_theta_mu)
            + torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)
        )  # fmt: skip
        if self.zero_inflated:
            zero = self.zero(h)
            absent = nn.functional.softplus(-zero)
            none = theta * ((theta + eps).log() - log_theta_mu) - zero
            at_zero = nn.functional.softplus(none) - absent
            fitted = torch.where(x < eps, at_zero, fitted - absent - zero)
        prior = torch.distributions.Normal(0.0, 1.0)
        kl = torch.distributions.kl_divergence(q, prior).sum(dim=1)
        return (kl - fitted.sum(dim=1)).mean()


class Original(nn.Module):
    def __init__(self, a):
        super().__init__()
        from scvi.module import VAE

        self.network = VAE(
            a.genes, n_batch=a.batches, n_hidden=a.hidden, n_latent=a.latent, n_layers=a.layers,
            dropout_rate=DROPOUT, gene_likelihood=a.likelihood,
        )  # fmt: skip

    def embed(self, x, batch):
        return self.network.inference(x, batch)["qz"].loc

    def loss(self, x, batch):
        tensors = {"X": x, "batch": batch, "labels": torch.zeros_like(batch)}
        return self.network(tensors)[2].loss


args = measure.flags(__doc__, PRESETS, more)
found = importlib.util.find_spec("scvi") is not None
if args.model == "original" and not found:
    sys.exit("--model original needs: pip install scvi-tools==1.4.2")
original = found and args.model != "equivalent"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    model = Original(args) if original else Equivalent(args)
x = measure.counts(args.minibatch, args.genes, args.density, args.seed)
batch = (torch.arange(args.minibatch) % args.batches).unsqueeze(1)
measure.run(
    "vae_step", model, args, lambda: model.loss(x, batch), lambda: model.embed(x, batch),
    "original" if original else "equivalent", args.minibatch,
)  # fmt: skip
