"""The weights of golden cases in their publishers' containers.

What is loaded from these must give the outputs of the case; `manifest.json` names it.
"""

import json

from safetensors.torch import load_file

from . import containers as c
from . import files, names


def make(source, out):
    """Every case of `source` whose model is published, and a list of what was made."""
    makers = {"scgpt": scgpt, "cellplm": cellplm, "uce": uce, "scprint": scprint,
              "nicheformer": nicheformer, "scclip": scclip}  # fmt: skip
    made = {}
    for model, maker in makers.items():
        for case in sorted(p for p in (source / model).iterdir() if p.is_dir()):
            weights = case / "weights.safetensors"
            tensors = load_file(weights) if weights.exists() else {}
            if not tensors:
                continue
            config = json.loads((case / "config.json").read_text())
            for folder in maker(out / f"{model}-{case.name}", config, tensors):
                made[folder.name] = f"{model}/{case.name}"
    files.write_json(out / "manifest.json", made)


def scgpt(folder, config, tensors):
    ctor = config["ctor"]
    d, hidden, layers, heads = (ctor[k] for k in ["d_model", "d_hid", "nlayers", "nhead"])
    if "vocab" not in config and "vocab" not in ctor:
        return
    special = config.get("vocab", ctor.get("vocab"))
    more = {
        "n_cls": ctor.get("n_cls", 1), "n_layers_cls": ctor.get("nlayers_cls", 3),
        "MVC": ctor.get("do_mvc", False), "DAR": ctor.get("do_dab", False),
        "use_batch_labels": ctor.get("use_batch_labels", False),
        "input_emb_style": ctor.get("input_emb_style", "continuous"),
        "cell_emb_style": ctor.get("cell_emb_style", "cls"),
        "mvc_decoder_style": ctor.get("mvc_decoder_style", "inner product"),
        "domain_spec_batchnorm": ctor.get("domain_spec_batchnorm", False),
        "explicit_zero_prob": ctor.get("explicit_zero_prob", False),
        "USE_GENERATIVE_TRAINING": "flag_encoder.weight" in tensors,
    }  # fmt: skip
    flash = any("Wqkv" in k for k in tensors)
    variants = {folder: tensors}
    if not flash:
        variants[folder.with_name(f"{folder.name}-flash")] = names.flash(tensors)
    for at, held in variants.items():
        fast = any("Wqkv" in k for k in held)
        args = files.scgpt_args(d, hidden, layers, heads, fast_transformer=fast, **more)
        c.save(at / "best_model.pt", c.state_dict(held), location="cuda:0")
        files.write_json(at / "args.json", args)
        tokens = tensors["encoder.embedding.weight"].shape[0]
        files.write_json(at / "vocab.json", files.scgpt_vocabulary(tokens, special))
        c.expect(at, held)
        yield at


def cellplm(folder, config, tensors):
    ctor = config.get("ctor", {})
    if "enc_hid" not in ctor or "gene_list" not in config:
        return
    sizes = [ctor.get(k) for k in ["enc_hid", "enc_layers", "post_latent_dim"]]
    clusters = ctor.get("num_clusters", 0) if ctor["latent_mod"] == "gmvae" else 0
    own = files.cellplm_config(config["gene_list"], *sizes, clusters, 0, 0, **ctor)
    c.save(folder / "golden.best.ckpt", files.cellplm_checkpoint(c.state_dict(tensors)))
    files.write_json(folder / "golden.config.json", own)
    c.expect(folder, tensors)
    yield folder


def uce(folder, config, tensors):
    if "dataset_num_embedding.weight" in tensors:  # another model, of which nothing is published
        return
    c.save(folder / "model.torch", c.state_dict(tensors))
    c.expect(folder, tensors)
    yield folder


def scprint(folder, config, tensors):
    classes = dict(config["classes"])
    hierarchy = {
        label: {int(node): leaves for node, leaves in nodes.items()}
        for label, nodes in config["labels_hierarchy"].items()
    }
    genes = [f"ENSG{i:011d}" for i in range(config["n_genes"])]
    parameters = files.scprint_parameters(
        genes, config["gene_pos_enc"], config["d_model"], config["nhead"], config["nlayers"], classes,
        hierarchy, config["layers_cls"][0], config["num_batch_labels"], layers_cls=config["layers_cls"],
        normalization=config["normalization"], mvc_decoder=config["mvc_decoder"],
        pred_embedding=config["pred_embedding"], dropout=config["dropout"],
    )  # fmt: skip
    whole = c.lightning(tensors, parameters, "2.2.5", files.scprint_data())
    c.save(folder / "golden.ckpt", whole, location="cuda:0")
    c.expect(folder, tensors)
    yield folder


def nicheformer(folder, config, tensors):
    if "embeddings.weight" not in tensors:  # fine-tuned: only the backbone is published
        return
    keys = ["n_tokens", "dim_model", "dim_feedforward", "nlayers", "nheads", "context_length"]
    sizes = tuple(config[k] for k in keys)
    genes = [f"ENSG{i:011d}" for i in range(config["n_tokens"] - 30)]
    files.nicheformer_files(folder, tensors, sizes, genes)
    yield folder


def scclip(folder, config, tensors):
    def tower(t):
        keys = ["hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads"]
        return *(t[k] for k in keys), t["num_patches"], t["feature_size"]

    towers = {k: tower(config[f"{k}_config"]) for k in ["atac", "rna"]}
    peaks = [f"chr1-{1000 * i}-{1000 * i + 500}" for i in range(towers["atac"][-1])]
    genes = [f"GENE{i}" for i in range(towers["rna"][-1])]
    parameters = files.scclip_parameters(
        towers, config["projection_dim"], config["logit_scale"], peaks, genes,
        requires_grad=config["requires_grad"], normalize=config["normalize"],
    )  # fmt: skip
    c.save(folder / "last.ckpt", c.lightning(tensors, parameters, "2.1.0"), location="cuda:0")
    c.expect(folder, tensors)
    yield folder
