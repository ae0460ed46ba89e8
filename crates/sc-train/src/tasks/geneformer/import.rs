//! Geneformer's files: the folder of Hugging Face and its token dictionary.

use crate::error::{Result, TrainError};
use crate::import::{Files, PublishedFile, beside, json, number, weight_file};
use crate::model::Model;
use sc_data::genes::normal_form;
use sc_data::genes::vocab::{self, GeneValues, gene_values};
use sc_models::weights::{Checkpoint, NamedTensor, Tensors};
use serde_json::{Value, json as object};
use std::path::Path;
use std::sync::Arc;

/// Reads it.
pub(super) fn import(files: &Files) -> Result<Model> {
    let weights = weight_file(&files.weights, &["model.safetensors", "pytorch_model.bin"])?;
    let path = beside(
        files.config.as_ref(),
        &weights,
        "config.json",
        PublishedFile::Config,
    )?;
    let config = json(&path)?;
    let dictionary = beside(
        files.vocabulary.as_ref(),
        &weights,
        "token_dictionary.pkl",
        PublishedFile::Vocabulary,
    )?;
    let (genes, ends) = genes(&dictionary)?;
    let of = |key: &str| number(&config, key, &path);
    let activation = config.get("hidden_act").and_then(Value::as_str);
    let network = object!({
        "context_length": of("max_position_embeddings")?,
        "width": of("hidden_size")?,
        "layers": of("num_hidden_layers")?,
        "heads": of("num_attention_heads")?,
        "feed_forward": of("intermediate_size")?,
        "activation": activation.unwrap_or("gelu"),
        "dropout": config.get("hidden_dropout_prob").and_then(Value::as_f64).unwrap_or(0.0),
    });
    let medians = match &files.means {
        Some(path) => medians(path, &genes)?,
        None => {
            tracing::warn!(
                weights = %weights.display(),
                "without medians genes are ranked by counts, which is not how the weights were trained"
            );
            Vec::new()
        }
    };
    if let Some(gene) = medians.iter().position(|m| !(m.is_finite() && *m > 0.0)) {
        return Err(TrainError::file(
            files.means.clone().unwrap_or_default(),
            format!(
                "the median of {} is {}; counts are divided by it, so it must be more than 0",
                genes[gene], medians[gene]
            ),
        ));
    }
    let found = Checkpoint::open(&weights)?.into_tensors("bert.")?;
    let input = object!({ "ends": ends });
    let mut model = Model::published("geneformer", (network, input), genes, weights);
    model.data.means = Arc::new(medians);
    model.weights = renamed(found);
    Ok(model)
}

/// The median of every gene, from an array in their order or a dictionary of at least these genes.
fn medians(path: &Path, genes: &[String]) -> Result<Vec<f32>> {
    let by_name = match gene_values(path)? {
        GeneValues::InOrder(medians) if medians.len() == genes.len() => return Ok(medians),
        GeneValues::InOrder(medians) => {
            let what = format!("has {} medians for {} genes", medians.len(), genes.len());
            return Err(TrainError::file(path, what));
        }
        GeneValues::ByName(by_name) => by_name,
    };
    let of = |gene: &String| by_name.get(gene).or_else(|| by_name.get(normal_form(gene)));
    let missing: Vec<&String> = genes.iter().filter(|g| of(g).is_none()).collect();
    match missing.first() {
        None => Ok(genes.iter().filter_map(of).copied().collect()),
        Some(first) => Err(TrainError::file(
            path,
            format!(
                "has no median of {} of the {} genes, such as {first}; take the dictionary that was \
                 published with the weights",
                missing.len(),
                genes.len()
            ),
        )),
    }
}

/// Genes by token behind the special ones, and what stands around the genes of a cell.
fn genes(path: &Path) -> Result<(Vec<String>, &'static str)> {
    let found = vocab::read(path)?;
    let fail = |what: String| Err(TrainError::file(path, what));
    let (first, ends) = match found.special.len() {
        2 => (2, "none"),
        4 => (4, "cls-eos"),
        n => {
            return fail(format!(
                "has {n} special tokens; Geneformer's dictionaries have <pad> and <mask>, and in the second \
                 version <cls> and <eos>"
            ));
        }
    };
    let expected = ["<pad>", "<mask>", "<cls>", "<eos>"];
    for (name, token) in expected.iter().zip(0..first) {
        if !found.special.iter().any(|(n, t)| n == name && *t == token) {
            return fail(format!("{name} has not the token {token}"));
        }
    }
    match (first..)
        .zip(&found.tokens)
        .find(|(want, token)| want != *token)
    {
        Some((want, _)) => fail(format!("no gene has the token {want}")),
        None => Ok((found.genes, ends)),
    }
}

/// Hugging Face's names as ours; queries, keys and values become one projection.
fn renamed(found: Tensors) -> Tensors {
    let mut out = Tensors::new();
    let mut joined: std::collections::BTreeMap<String, [Option<NamedTensor>; 3]> =
        Default::default();
    for (name, tensor) in found {
        let parts = ["query", "key", "value"];
        let part = parts
            .iter()
            .position(|p| name.contains(&format!(".attention.self.{p}.")));
        if let Some(part) = part {
            let whole = name.replace(&format!(".attention.self.{}.", parts[part]), ".in_proj.");
            joined.entry(ours(&whole)).or_default()[part] = Some(tensor);
            continue;
        }
        // The decoder is the word table; its copies and old buffers carry nothing.
        let copy = [
            "decoder.weight",
            "decoder.bias",
            "position_ids",
            "pooler.",
            "seq_relationship",
        ];
        if !copy.iter().any(|c| name.contains(c)) {
            out.insert(ours(&name), tensor);
        }
    }
    for (name, [q, k, v]) in joined {
        if let (Some(q), Some(k), Some(v)) = (q, k, v) {
            let mut shape = q.shape.clone();
            shape[0] *= 3;
            let data = [q.data, k.data, v.data].concat();
            out.insert(name, NamedTensor { shape, data });
        }
    }
    out
}

fn ours(name: &str) -> String {
    let mut name = name.to_owned();
    for (theirs, ours) in [
        ("bert.", ""),
        ("embeddings.LayerNorm", "embedding_norm"),
        ("embeddings.word_embeddings", "word_embeddings"),
        ("embeddings.position_embeddings", "position_embeddings"),
        ("embeddings.token_type_embeddings", "token_type_embeddings"),
        ("encoder.layer.", "encoder.layers."),
        (".in_proj.", ".self_attn.in_proj_"),
        (".attention.output.dense", ".self_attn.out_proj"),
        (".attention.output.LayerNorm", ".norm1"),
        (".intermediate.dense", ".linear1"),
        (".output.dense", ".linear2"),
        (".output.LayerNorm", ".norm2"),
        ("cls.predictions.transform.dense", "transform"),
        ("cls.predictions.transform.LayerNorm", "transform_norm"),
        ("cls.predictions.bias", "bias"),
    ] {
        name = name.replace(theirs, ours);
    }
    name
}
