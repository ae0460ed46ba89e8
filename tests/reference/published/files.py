"""What lies beside the tensors: configurations, vocabularies and hyper-parameters."""

import argparse
import json
import pathlib

import pandas as pd
import torch
from safetensors.torch import save_file

from . import containers as c
from . import names


def write_json(path, what):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(what, indent=1) + "\n")


def scgpt_args(d, hidden, layers, heads, **more):
    """The keys of the released args.json."""
    return {
        "data_source": "/data/cellxgene/scb_strict/human", "save_dir": "/save", "load_model": None,
        "n_hvg": None, "valid_size_or_ratio": 0.003, "dist_backend": "nccl", "grad_accu_steps": 1,
        "pad_token": "<pad>", "input_style": "binned", "input_emb_style": "continuous", "n_bins": 51,
        "max_seq_len": 1200, "training_tasks": "both", "mask_ratio": [0.25, 0.5, 0.75],
        "trunc_by_sample": True, "vocab_path": "default_census_vocab.json", "rank": 0,
        "batch_size": 32, "eval_batch_size": 64, "epochs": 6, "lr": 0.0001, "scheduler_interval": 100,
        "scheduler_factor": 0.99, "warmup_ratio_or_step": 10000.0, "no_cls": True, "no_cce": True,
        "fp16": True, "fast_transformer": True, "nlayers": layers, "nheads": heads, "embsize": d,
        "d_hid": hidden, "dropout": 0.2, "n_layers_cls": 3, "log_interval": 9000,
        "save_interval": 27000, "mask_value": -1, "pad_value": -2, "USE_CLS": False, "USE_CCE": False,
        "MVC": True, "USE_GENERATIVE_TRAINING": True, "world_size": 16, "distributed": True,
        "local_rank": 0, "gpu": 0,
    } | more  # fmt: skip


def scgpt_vocabulary(tokens, special=None):
    """Token to id; the order in the file is not the order of ids, as in the released ones."""
    special = special or {t: tokens - 3 + i for i, t in enumerate(["<pad>", "<cls>", "<eoc>"])}
    free = [i for i in range(tokens) if i not in special.values()]
    ids = {f"GENE{n}": i for n, i in enumerate(free)} | special
    return dict(sorted(ids.items(), key=lambda item: item[1] * 7 % 23))


def cellplm_config(genes, d, layers, latent, clusters, batches, datasets, **more):
    """The keys of the released 20230926_85M.config.json; of the other no copy is public."""
    return {
        "name": "20230926_75M_50M", "enc_mod": "flowformer", "enc_hid": d, "enc_layers": layers,
        "latent_mod": "gmvae" if clusters else "vae", "lamda": 5.0, "post_latent_dim": latent,
        "dec_mod": "nbmlp", "dec_hid": d, "dec_layers": 2, "model_dropout": 0.2,
        "mask_node_rate": 0.75, "mask_feature_rate": 0.25, "drop_node_rate": 0.3,
        "norm": "groupnorm", "dataset": "HLCA", "architecture": "OmicsFormer", "epochs": 200,
        "lr": 0.0002, "wd": 1e-08, "w_li": 5.0, "w_en": 5.0, "num_clusters": clusters or 16,
        "out_dim": len(genes), "ddp": True, "cat_pe": False, "val_num": 10, "max_batch_size": 4000,
        "dar": False, "input_covariate": False, "beta": [2.0, 1.5], "batch_mixing": False,
        "ecs": False, "dsbn": False, "dae": True, "batch_flip": True, "mask_beta": True,
        "batch_num": batches, "dataset_num": datasets, "gene_list": genes,
    } | more  # fmt: skip


def cellplm_checkpoint(tensors):
    moments = {"state": {0: {"step": 4, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 2e-4}]}
    return {"epoch": 3, "model_state_dict": tensors, "optimizer_state_dict": moments}


def scprint_parameters(
    genes, positions, d, heads, layers, classes, hierarchy, inner, batches, **more
):
    decoders = {
        k: {i: f"{k.split('_')[0].upper()}:{i:07d}" for i in range(n)} for k, n in classes.items()
    }
    return {
        "genes": genes, "organisms": ["NCBITaxon:9606", "NCBITaxon:10090"],
        "precpt_gene_emb": pathlib.PurePosixPath("data/main/gene_embeddings.parquet"),
        "gene_pos_enc": positions, "normalization": "sum", "d_model": d, "nhead": heads,
        "attn_bias": "none", "d_hid": d, "edge_dim": 12, "nlayers": layers, "expr_encoder_layers": 2,
        "layers_cls": [inner], "classes": classes, "labels_hierarchy": hierarchy, "dropout": 0.1,
        "transformer": "flash", "expr_emb_style": "continuous", "domain_spec_batchnorm": "None",
        "n_input_bins": 0, "num_batch_labels": batches, "mvc_decoder": "None",
        "pred_embedding": ["cell_type_ontology_term_id"], "cell_emb_style": "cls",
        "freeze_embeddings": True, "label_decoders": decoders, "zinb": True, "lr": 1e-4,
        "optim": "adamW", "weight_decay": 0.01, "residual_in_fp32": True, "checkpointing": False,
        "device": torch.device("cuda:0"), "dtype": torch.float16,
    } | more  # fmt: skip


def scprint_data():
    """The data module's side, which no reader needs: objects of packages that are absent."""
    collator = c.stub("scdataloader.collator", "Collator")()
    collator.__dict__ |= {"max_len": 2200, "how": "random expr", "start_idx": {"NCBITaxon:9606": 0}}
    return {"collate_fn": collator, "weight_scaler": 50, "counts": torch.ones(3)}


def nicheformer_config(tokens, d, hidden, layers, heads, context):
    return {
        "architectures": ["NicheformerForMaskedLM"], "assay": True, "batch_first": True,
        "cls_classes": 164, "context_length": context, "dim_feedforward": hidden, "dim_model": d,
        "dropout": 0.0, "learnable_pe": True, "masking_p": 0.15, "modality": True,
        "model_type": "nicheformer", "n_tokens": tokens, "nheads": heads, "nlayers": layers,
        "specie": True, "supervised_task": None, "torch_dtype": "float32",
        "transformers_version": "4.48.3",
    }  # fmt: skip


def nicheformer_vocabulary(genes):
    special = {
        "[PAD]": 1, "[MASK]": 0, "[CLS]": 2, "[MODALITY_dissociated]": 3, "[MODALITY_spatial]": 4,
        "[SPECIES_human]": 5, "[SPECIES_mouse]": 6, "[TECH_merfish]": 7, "[TECH_cosmx]": 8,
        "[TECH_nanostring_digital_spatial_profiling]": 8, "[TECH_xenium]": 9,
        "[TECH_10x_5__v2]": 10, "[TECH_10x_3__v3]": 11, "[TECH_10x_3__v2]": 12,
        "[TECH_10x_5__v1]": 13, "[TECH_10x_3__v1]": 14, "[TECH_10x_3__transcription_profiling]": 15,
        "[TECH_10x_5__transcription_profiling]": 16, "[TECH_cite-seq]": 17, "[TECH_smart-seq_v4]": 18,
    }  # fmt: skip
    return special | {gene: 30 + i for i, gene in enumerate(genes)}


def nicheformer_parameters(tokens, d, hidden, layers, heads, context):
    return {
        "dim_model": d, "nheads": heads, "dim_feedforward": hidden, "nlayers": layers, "dropout": 0.0,
        "batch_first": True, "masking_p": 0.15, "n_tokens": tokens, "context_length": context,
        "lr": 7e-4, "warmup": 100_000, "batch_size": 6, "max_epochs": 30_661_140, "cls_classes": 164,
        "supervised_task": None, "learnable_pe": True, "specie": True, "assay": True,
        "modality": True, "contrastive": False,
    }  # fmt: skip


def nicheformer_files(folder, tensors, sizes, genes):
    """Both containers of one set of tensors, which is the Lightning one's."""
    context = sizes[-1]
    renamed = names.nicheformer_hf({k: v.shape for k, v in tensors.items()}, context)
    hf = {k: tensors.get(k.removeprefix("nicheformer."), torch.arange(context)) for k in renamed}
    (folder / "huggingface").mkdir(parents=True, exist_ok=True)
    save_file(hf, folder / "huggingface" / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "huggingface" / "config.json", nicheformer_config(*sizes))
    write_json(folder / "huggingface" / "vocab.json", nicheformer_vocabulary(genes))
    whole = c.lightning(tensors, nicheformer_parameters(*sizes), "2.1.3")
    c.save(folder / "nicheformer.ckpt", whole, location="cuda:0", alignment=4)
    c.expect(folder, tensors)


def scclip_tower(modality, d, layers, hidden, heads, patches, features):
    config = c.stub("scclip.vit", "ViTConfig")()
    config.__dict__ |= {
        "modality": modality, "hidden_size": d, "num_hidden_layers": layers,
        "num_attention_heads": heads, "intermediate_size": hidden, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02,
        "layer_norm_eps": 1e-12, "feature_size": features, "num_patches": patches,
        "patch_size": -(-features // patches), "qkv_bias": True, "return_dict": True,
        "torch_dtype": None, "id2label": {0: "LABEL_0", 1: "LABEL_1"},
    }  # fmt: skip
    return config


def scclip_parameters(towers, out, scale, peaks, genes, **more):
    def frame(index, kind):
        return pd.DataFrame(
            {"feature_types": [kind] * len(index)}, index=pd.Index(index, dtype=object)
        )

    options = argparse.Namespace(
        seed=42, checkpoint=None, batch_size=512, num_workers=4, data_dir="fetal", backed=False,
        split=0.9, n_top_genes=None, binary=True, dist=None, mask=None, peak_dist=10_000,
        experiment=True, mod="multiome", lr=1.5e-4, weight_decay=0.05, warmup_steps=2000,
        hidden_size=128, num_heads=8, num_layers=6, ffn_dim=2048, dropout=0.1, projection_dim=out,
        requires_grad=False, normalize=True, max_steps=30_000, logit_scale=scale, num_patches=128,
        peaks=frame(peaks, "Peaks"), genes=frame(genes, "Gene Expression"),
        default_root_dir=pathlib.PurePosixPath("results/fetal"),
    )  # fmt: skip
    vars(options).update(more)
    return {
        "config": options,
        "atac_config": scclip_tower("atac", *towers["atac"]),
        "rna_config": scclip_tower("rna", *towers["rna"]),
    }


def scclip_shapes(towers, out):
    def shape(d, layers, hidden, heads, patches, features):
        return d, layers, hidden, patches, -(-features // patches)

    return names.scclip({k: shape(*v) for k, v in towers.items()}, out)
