"""Builds weight files as their publishers made them: same tensor names, structure and containers.

    python make_published_weights.py OUT [--compact] [--golden DIR] [--uce-full]

The published files are large and few may be passed on, so that these stand in for them: sizes are
scaled down, values follow from names (`published/containers.py`), and beside every file lies
`expected.safetensors` with the same tensors in float32. `manifest.json` lists what loads, what is
refused and why. tests/data/published is OUT of a run with --compact.

--compact leaves out the larger expected.safetensors, whose values a test can compute.
--golden DIR adds OUT/golden: the weights of golden cases, in the same containers.
--uce-full adds OUT/uce-full: UCE's four layers at full size, 3.4 GB, written as a stream.

Needs torch 2.7 or newer, numpy, safetensors, and pandas 2 (a scCLIP checkpoint pickles its frames).
"""

import argparse
import pathlib

import torch
from published import containers as c
from published import files, golden, names, variants
from safetensors.torch import load_file

GENES = [f"ENSG{i:011d}" for i in (3, 5, 419, 457, 460, 938, 971, 1036, 1084, 1167, 1460, 1461)]


# scGPT: args.json, vocab.json, best_model.pt.


def scgpt(out):
    d, hidden, layers = 4, 6, 2
    trunk = names.flash(names.scgpt(15, d, hidden, layers, flags=2))
    whole = c.fill(trunk)
    c.save(out / "scgpt-human" / "best_model.pt", c.state_dict(whole), location="cuda:0")
    files.write_json(out / "scgpt-human" / "args.json", files.scgpt_args(d, hidden, layers, 2))
    files.write_json(out / "scgpt-human" / "vocab.json", files.scgpt_vocabulary(15))
    c.expect(out / "scgpt-human", whole)

    # Fine-tuned for integration and annotation, without flash-attn.
    tuned = c.fill(names.scgpt(12, d, hidden, 1, classes=4, batches=2))
    c.save(out / "scgpt-finetuned" / "best_model.pt", tuned, location="cuda:0", alignment=4)
    more = {"fast_transformer": False, "USE_GENERATIVE_TRAINING": False, "DSBN": True, "DAR": True,
            "explicit_zero_prob": True, "use_batch_labels": True, "n_cls": 4, "USE_CLS": True}  # fmt: skip
    files.write_json(
        out / "scgpt-finetuned" / "args.json", files.scgpt_args(d, hidden, 1, 2, **more)
    )
    files.write_json(out / "scgpt-finetuned" / "vocab.json", files.scgpt_vocabulary(12))
    c.expect(out / "scgpt-finetuned", tuned)

    # The same folder with faults in the tensors: every one must be told.
    small = c.fill(names.flash(names.scgpt(5, 2, 2, 1, flags=2)))
    folder = out / "scgpt-faults"
    files.write_json(folder / "args.json", files.scgpt_args(2, 2, 1, 1))
    files.write_json(folder / "vocab.json", files.scgpt_vocabulary(5))
    lost = ["encoder.enc_norm.bias", "transformer_encoder.layers.0.linear2.weight"]
    extra = {"decoder.fc.6.weight": (1, 2), "transformer_encoder.layers.1.norm1.bias": (2,)}
    other = {"value_encoder.linear1.weight": (1, 2), "mvc_decoder.W.weight": (4,)}
    kept = {k: v for k, v in small.items() if k not in lost}
    wrong, more = c.fill(other), c.fill(extra)
    for name, tensors in {
        "missing": kept, "extra": small | more, "shape": small | wrong, "all": kept | more | wrong,
    }.items():  # fmt: skip
        c.save(folder / f"{name}.pt", variants.views(tensors, gap=0))
    return {
        "missing.pt": {"missing": lost}, "extra.pt": {"extra": list(extra)},
        "shape.pt": {"shape": list(other)},
        "all.pt": {"missing": lost, "extra": list(extra), "shape": list(other)},
    }  # fmt: skip


# CellPLM: <name>.best.ckpt with model_state_dict, <name>.config.json.


def cellplm(out):
    genes, d, latent, batches, datasets = GENES[:5], 8, 1, 3, 2
    for name, layers, clusters in [("20230926_85M", 1, 2), ("20231027_85M", 1, 0)]:
        folder = out / f"cellplm-{'gmvae' if clusters else 'vae'}"
        shapes = names.cellplm(len(genes), d, layers, latent, clusters, batches, datasets, places=9)
        tensors = c.fill(shapes)
        c.save(folder / f"{name}.best.ckpt", files.cellplm_checkpoint(tensors), alignment=4)
        sizes = (genes, d, layers, latent, clusters, batches, datasets)
        files.write_json(folder / f"{name}.config.json", files.cellplm_config(*sizes))
        c.expect(folder, tensors)


# UCE: one state_dict, nothing beside it.


def uce(out):
    for layers, file in [(4, "4layer_model.torch"), (33, "33l_8ep_1024t_1280.torch")]:
        d = 4 if layers == 4 else 2
        shapes = names.uce(14, 6, d, 2 * d, layers, d, 6, (8, 6, 4), places=64)
        tensors = c.fill(shapes)
        # In the larger one all are views of one storage: a record each would be most of the file.
        saved, protocol = (tensors, 2) if layers == 4 else (variants.views(tensors, gap=0), 4)
        c.save(out / f"uce-{layers}layer" / file, saved, alignment=4, pickle_protocol=protocol)
        c.expect(out / f"uce-{layers}layer", tensors)


def uce_full(out):
    shapes = names.uce(145_469, 5120, 1280, 5120, 4, 1280)
    c.stream(out / "uce-full" / "4layer_model.torch", shapes)


# scPRINT: a Lightning checkpoint; its hyper-parameters hold the vocabulary.

CLASSES = {
    "cell_type_ontology_term_id": 5, "disease_ontology_term_id": 3, "assay_ontology_term_id": 3,
    "self_reported_ethnicity_ontology_term_id": 2, "sex_ontology_term_id": 2,
    "organism_ontology_term_id": 2,
}  # fmt: skip


def scprint(out):
    d, heads, layers, inner, batches = 4, 2, 2, 6, 2
    genes = GENES[:9] + ["ENSMUSG00000000001", "ENSMUSG00000000003"]
    hierarchy = {"cell_type_ontology_term_id": {5: [0, 1, 2], 6: [3, 4]}}
    positions = [(7 * i) % len(genes) for i in range(len(genes))]
    tensors = c.fill(names.scprint(len(genes), d, layers, CLASSES, inner, batches))
    parameters = files.scprint_parameters(
        genes, positions, d, heads, layers, CLASSES, hierarchy, inner, batches
    )
    whole = c.lightning(tensors, parameters, "2.2.5", files.scprint_data())
    c.save(out / "scprint-v1" / "medium-v1.ckpt", whole, location="cuda:0", alignment=4)
    c.expect(out / "scprint-v1", tensors)


# Nicheformer: Hugging Face folder, and a Lightning checkpoint.


def nicheformer(out):
    sizes = (30 + len(GENES), 4, 8, 2, 2, 10)  # tokens, width, hidden, layers, heads, context
    tokens, d, hidden, layers, _, context = sizes
    tensors = c.fill(names.nicheformer(tokens, d, hidden, layers, context))
    # As older checkpoints do, this one holds the positions too.
    tensors["pos"] = torch.arange(context)
    files.nicheformer_files(out / "nicheformer", tensors, sizes, GENES)


# scCLIP: a Lightning checkpoint; its hyper-parameters are objects, data frames among them.


def scclip(out):
    # Width, layers, hidden, heads, patches, features.
    towers = {"atac": (4, 1, 6, 2, 4, 14), "rna": (4, 1, 6, 2, 4, 12)}
    tensors = c.fill(files.scclip_shapes(towers, 4)) | {"criterion.logit_scale": torch.tensor(1.0)}
    peaks = [f"chr1-{1000 * i}-{1000 * i + 500}" for i in range(14)]
    parameters = files.scclip_parameters(towers, 4, 1.0, peaks, GENES)
    whole = c.lightning(tensors, parameters, "2.1.0")
    c.save(out / "scclip" / "last.ckpt", whole, location="cuda:0", alignment=4)
    c.expect(out / "scclip", tensors)


def tensors_of(path):
    """The state_dict that torch reads from a file."""
    if path.suffix == ".safetensors":
        return load_file(path)
    held = torch.load(path, map_location="cpu", weights_only=False)
    return held.get("state_dict", held.get("model_state_dict", held))


def check(out):
    """Every readable file, as torch reads it, holds what lies beside it; returns their sizes."""
    made = {}
    for expected in sorted(out.rglob("expected.safetensors")):
        want = load_file(expected)
        for path in sorted(expected.parent.rglob("*")):
            if path.suffix not in [".pt", ".ckpt", ".torch"] and path.name != "model.safetensors":
                continue
            held = tensors_of(path)
            hf = path.suffix == ".safetensors"  # which has fewer heads, under a prefix
            got = {
                k.removeprefix("module.").removeprefix("nicheformer."): v for k, v in held.items()
            }
            assert hf or set(want) <= set(got), (path, set(want) ^ set(got))
            common = [k for k in want if k in got]
            assert all(torch.equal(got[k].to(torch.float32), want[k]) for k in common), path
            sizes = {"tensors": len(held), "values": sum(v.numel() for v in held.values())}
            made[path.relative_to(out).as_posix()] = sizes
    return made


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--compact", action="store_true")
    parser.add_argument("--golden", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--uce-full", action="store_true")
    args = parser.parse_args()
    faults = scgpt(args.out)
    for make in [cellplm, uce, scprint, nicheformer, scclip]:
        make(args.out)
    variants.readable(args.out / "variants")
    refused = variants.refused(args.out / "refused")
    manifest = {"loads": check(args.out), "faults": faults, "refused": refused}
    files.write_json(args.out / "manifest.json", manifest)
    if args.compact:
        for path in args.out.rglob("expected.safetensors"):
            if path.stat().st_size > 6500:
                path.unlink()
    if args.golden:
        golden.make(args.golden, args.out / "golden")
        check(args.out / "golden")
    if args.uce_full:
        uce_full(args.out)


if __name__ == "__main__":
    main()
