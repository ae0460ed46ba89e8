//! scGPT's released folders: `args.json`, `vocab.json`, `best_model.pt`.

use crate::error::{Result, TrainError};
use crate::import::{Files, PublishedFile, beside, distinct, json, number, rows, weight_file};
use crate::inputs::data_spec::numbered_batches;
use crate::model::Model;
use sc_data::genes::vocab;
use sc_models::scgpt::NAMES;
use sc_models::weights::{Checkpoint, Tensors};
use serde_json::{Value, json as object};

/// Special tokens in the order in which they follow the genes here.
const SPECIAL: [&str; 3] = ["<pad>", "<cls>", "<eoc>"];
const TABLE: &str = "encoder.embedding.weight";

/// Reads the folder, or the weight file in it.
pub(super) fn import(files: &Files) -> Result<Model> {
    let weights = weight_file(&files.weights, &["best_model.pt"])?;
    let args_path = beside(
        files.config.as_ref(),
        &weights,
        "args.json",
        PublishedFile::Config,
    )?;
    let args = json(&args_path)?;
    let vocabulary_path = beside(
        files.vocabulary.as_ref(),
        &weights,
        "vocab.json",
        PublishedFile::Vocabulary,
    )?;
    let vocabulary = vocab::read(&vocabulary_path)?;
    let found = Checkpoint::open(&weights)?.into_tensors("")?;
    let mut tensors: Tensors = found
        .into_iter()
        .map(|(name, t)| ((NAMES.alias)(&name), t))
        .collect();
    let count = |name: &str| tensors.get(name).map_or(0, |t| t.shape[0]);
    let has = |name: &str| tensors.contains_key(name);
    let int = |key: &str| number(&args, key, &args_path);
    let text = |key: &str| args.get(key).and_then(Value::as_str);
    let float =
        |key: &str, otherwise: f64| args.get(key).and_then(Value::as_f64).unwrap_or(otherwise);
    let domains = (0..)
        .take_while(|i| has(&format!("dsbn.bns.{i}.running_mean")))
        .count();
    let batches = count("batch_encoder.embedding.weight");
    let classes = count("cls_decoder.out_layer.weight");
    let guessed = count("grad_reverse_discriminator.out_layer.weight");
    let network = object!({
        "width": int("embsize")?,
        "layers": int("nlayers")?,
        "heads": int("nheads")?,
        "feed_forward": int("d_hid")?,
        "dropout": float("dropout", 0.2),
        "value_encoder": match text("input_emb_style").unwrap_or("continuous") {
            "category" => object!({ "kind": "category", "bins": count("value_encoder.embedding.weight") }),
            other => object!({ "kind": other }),
        },
        "input_norm": match (domains, has("bn.running_mean")) {
            (0, false) => object!({ "kind": "none" }),
            (0, true) => object!({ "kind": "batch-norm", "epsilon": 6.1e-5 }),
            (n, _) => object!({ "kind": "domain-specific", "domains": n, "epsilon": 6.1e-5 }),
        },
        "explicit_zero_probability": has("decoder.zero_logit.0.weight"),
        "mvc": has("mvc_decoder.gene2query.weight").then_some("inner-product"),
        "generative": has("flag_encoder.weight"),
        "classes": classes,
        "class_layers": int("n_layers_cls").or_else(|_| int("nlayers_cls")).unwrap_or(3),
        "batch_labels": batches,
        "adversary_batches": guessed,
    });
    let input = object!({
        "length": int("max_seq_len").unwrap_or(1200),
        "bins": int("n_bins").unwrap_or(51),
        // Pretraining and zero-shot embedding give <cls> the value of padding.
        "cls_value": float("pad_value", -2.0),
    });

    // Here genes come first and special tokens after them; in the published files their order is
    // arbitrary.
    let kept = distinct(&vocabulary.genes);
    let mut order: Vec<usize> = kept
        .iter()
        .map(|&i| vocabulary.tokens[i] as usize)
        .collect();
    for special in SPECIAL {
        let token = vocabulary.special.iter().find(|(name, _)| name == special);
        let token = token
            .ok_or_else(|| TrainError::file(&vocabulary_path, format!("has no token {special}")))?;
        order.push(token.1 as usize);
    }
    let all = vocabulary.genes.len() + vocabulary.special.len();
    if let Some(table) = tensors.get(TABLE) {
        let fits = table.shape[0] == all;
        let table = fits.then(|| rows(table, &order)).flatten().ok_or_else(|| {
            TrainError::file(
                &vocabulary_path,
                format!(
                    "has {all} tokens, but {TABLE} has shape {:?}; the files belong to different models",
                    table.shape
                ),
            )
        })?;
        tensors.insert(TABLE.into(), table);
    }
    let genes = kept.iter().map(|&i| vocabulary.genes[i].clone()).collect();
    let mut model = Model::published("scgpt", (network, input), genes, weights);
    model.data.batches = numbered_batches(domains.max(batches).max(guessed));
    model.weights = tensors;
    Ok(model)
}
