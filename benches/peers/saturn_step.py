"""Training steps, or embedding passes, of SATURN's autoencoder on the CPU. Prints one JSON line.

SATURN is in no package registry, so that this is the same network built here of torch's layers.

A step: macrogenes of the cells of every species, encoder, decoder, zero-inflated negative binomial
of the counts, similarity of every gene to another one against that of their proteins; backward
pass, clipping, AdamW. As in the original, counts are dense and placed among the genes of all
species before they are summed to macrogenes.
"""

import measure
import torch
from torch import nn
from torch.nn.functional import cosine_similarity

PRESETS = {
    "small": {
        "minibatch": 512, "genes": 4000, "species": 1, "macrogenes": 500, "hidden": 256,
        "width": 128, "protein_width": 256,
    },
    "paper": {
        "minibatch": 4096, "genes": 8000, "species": 2, "macrogenes": 2000, "hidden": 256,
        "width": 256, "protein_width": 5120,
    },
}  # fmt: skip
DROPOUT, GENE_WIDTH = 0.1, 256


def more(parser):
    parser.add_argument("--density", type=float, default=0.1, help="share of counts above 0")


def block(inp, out):
    return nn.Sequential(nn.Linear(inp, out), nn.LayerNorm(out), nn.ReLU(), nn.Dropout(DROPOUT))


class Saturn(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.genes = a.genes
        all_genes = a.genes * a.species
        self.log_weights = nn.Parameter(torch.randn(a.macrogenes, all_genes) * 2 - 6)
        self.norm = nn.LayerNorm(a.macrogenes)
        self.encoder = nn.Sequential(block(a.macrogenes, a.hidden), block(a.hidden, a.width))
        self.decoder = block(a.width + a.species, a.hidden)
        self.scale = block(a.hidden, a.macrogenes)
        self.zeros = nn.ModuleList(nn.Linear(a.hidden, a.genes) for _ in range(a.species))
        self.theta = nn.ParameterList(nn.Parameter(torch.randn(a.genes)) for _ in range(a.species))
        self.gene_block = block(a.macrogenes, GENE_WIDTH)
        self.dropout = nn.Dropout(DROPOUT)

    def embed(self, counts, species):
        placed = torch.zeros(len(counts), self.log_weights.shape[1])
        placed[:, self.place(species)] = counts
        x = nn.functional.linear(torch.log(placed + 1), self.log_weights.exp())
        return self.encoder(self.dropout(self.norm(x).relu()))

    def place(self, species):
        return slice(species * self.genes, (species + 1) * self.genes)

    def nll(self, counts, species):
        z = self.embed(counts, species)
        told = torch.zeros(len(counts), len(self.zeros))
        told[:, 0] = 1
        hidden = self.decoder(torch.cat([z, told], dim=1))
        logits = (self.scale(hidden) @ self.log_weights.exp())[:, self.place(species)]
        mean = logits.softmax(-1) * counts.sum(1, keepdim=True)
        nll = measure.zinb(counts, mean, self.theta[species].exp(), self.zeros[species](hidden))
        return nll.sum() / len(counts)

    def similarity(self, proteins):
        genes = self.gene_block(self.log_weights.exp().t())
        other = torch.randint(len(proteins), (len(proteins),))
        wanted = cosine_similarity(proteins, proteins[other])
        return (cosine_similarity(genes, genes[other]) - wanted).square().sum()


args = measure.flags(__doc__, PRESETS, more)
model = Saturn(args)
proteins = torch.randn(args.genes * args.species, args.protein_width)
each = args.minibatch // args.species
cells = [measure.counts(each, args.genes, args.density, args.seed + s) for s in range(args.species)]


def embed():
    return [model.embed(counts, s) for s, counts in enumerate(cells)]


def loss():
    likelihood = sum(model.nll(counts, s) for s, counts in enumerate(cells))
    return likelihood + 0.2 * model.similarity(proteins)


measure.run(
    "saturn_step", model, args, loss, embed, "equivalent", each * args.species,
    density=args.density,
)  # fmt: skip
