"""Builds tests/data/published/geneformer: a small Geneformer as its publisher stores one, and what
Hugging Face's BertForMaskedLM answers with the same weights.

    python make_geneformer.py tests/data/published/geneformer

Writes config.json, model.safetensors, token_dictionary.pkl and expected.safetensors (ids, mask,
logits, embedding: the mean over tokens of the output of the last block but one). Weights are drawn
with a fixed seed and large enough that every part matters.

Needs torch 2.7 or newer, transformers 4.50 or newer, safetensors.
"""

import pathlib
import pickle
import sys

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForMaskedLM

# Genes of configs/experiments/data/pancreas_mini.h5ad, so that an example can embed its cells.
GENES = [f"ENSG{i:011d}" for i in (1617, 1626, 2933, 3400, 3436, 4779, 4799, 4848, 5022, 5108)]


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    dictionary = {"<pad>": 0, "<mask>": 1} | {g: i + 2 for i, g in enumerate(GENES)}
    with open(out / "token_dictionary.pkl", "wb") as file:
        pickle.dump(dictionary, file, protocol=4)
    config = BertConfig(
        vocab_size=len(dictionary),
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=12,
        hidden_act="relu",
        max_position_embeddings=10,
        layer_norm_eps=1e-12,
        pad_token_id=0,
        hidden_dropout_prob=0.02,
        attention_probs_dropout_prob=0.02,
        attn_implementation="eager",
    )
    torch.manual_seed(7)
    model = BertForMaskedLM(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn(p.shape) * 0.5 + (1.0 if "LayerNorm.weight" in name else 0.0))
    model.save_pretrained(out, safe_serialization=True)
    (out / "generation_config.json").unlink(missing_ok=True)
    ids = torch.tensor([[5, 11, 3, 7, 2, 1], [6, 4, 9, 0, 0, 0]])
    mask = (ids != 0).long()
    with torch.no_grad():
        answer = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    hidden = answer.hidden_states[-2]
    kept = mask.unsqueeze(2).float()
    embedding = (hidden * kept).sum(1) / kept.sum(1)
    save_file(
        {
            "ids": ids.float().contiguous(),
            "mask": mask.float().contiguous(),
            "logits": answer.logits.contiguous(),
            "embedding": embedding.contiguous(),
        },
        out / "expected.safetensors",
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
