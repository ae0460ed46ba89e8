//! scPRINT's Lightning checkpoints of the first generation: the vocabulary and the sizes are in the
//! hyper-parameters.

use crate::error::{Result, TrainError};
use crate::import::{Files, number, weight_file};
use crate::model::Model;
use sc_models::weights::{Checkpoint, parameters};
use serde_json::{Value, json as object};

/// Classes in the order of their tokens. The checkpoint stores it as the order of a dictionary,
/// which a pickle parser need not keep.
const CLASSES: [&str; 8] = [
    "cell_type",
    "disease",
    "assay",
    "self_reported_ethnicity",
    "sex",
    "organism",
    "tissue",
    "age_group",
];

/// Reads a checkpoint.
pub(super) fn import(files: &Files) -> Result<Model> {
    let path = weight_file(&files.weights, &[".ckpt"])?;
    let about = parameters(&path, "hyper_parameters")?;
    let int = |key: &str| number(&about, key, &path);
    let text = |key: &str| about.get(key).and_then(Value::as_str).unwrap_or_default();
    let flag = |key: &str| about.get(key).and_then(Value::as_bool);
    let genes: Vec<String> = match about.get("genes") {
        Some(Value::Array(list)) => texts(list),
        // Some checkpoints have one list per organism.
        Some(Value::Object(lists)) => {
            let order = about.get("organisms").and_then(Value::as_array);
            let order = texts(order.map_or(&[], Vec::as_slice));
            let lists = order.iter().filter_map(|o| lists.get(o)?.as_array());
            lists.flat_map(|l| texts(l)).collect()
        }
        _ => {
            return Err(TrainError::file(
                &path,
                "its hyper-parameters have no genes",
            ));
        }
    };
    let weights = Checkpoint::open(&path)?.into_tensors("")?;
    let leaves = |name: &str| {
        let out = weights.get(&format!("cls_decoders.{name}.out_layer.weight"));
        out.map_or(0, |t| t.shape[0])
    };
    let classes = about.get("classes").and_then(Value::as_object);
    let mut names: Vec<&String> = classes.into_iter().flat_map(|c| c.keys()).collect();
    let place = |name: &str| CLASSES.iter().position(|c| name.starts_with(c));
    if let Some(other) = names.iter().find(|n| place(n).is_none()) {
        let what = format!(
            "class '{other}' is not a published one: {}",
            CLASSES.join(", ")
        );
        return Err(TrainError::file(&path, what));
    }
    names.sort_by_key(|n| place(n));
    let classes: Vec<Value> = names
        .iter()
        .map(|name| object!({ "name": name, "leaves": leaves(name) }))
        .collect();
    let layers_cls = about.get("layers_cls").cloned().unwrap_or(Value::Null);
    let has = |name: &str| weights.keys().any(|n| n.starts_with(name));
    let network = object!({
        "width": int("d_model")?,
        "layers": int("nlayers")?,
        "heads": files.heads.map_or_else(|| int("nhead"), Ok)?,
        "dropout": about.get("dropout").and_then(Value::as_f64).unwrap_or(0.1),
        "normalisation": if text("normalization") == "log" { "log" } else { "sum" },
        "value_layers": int("expr_encoder_layers").unwrap_or(2),
        "positions": if has("pos_encoder.") { "genome" } else { "none" },
        "gene_embeddings": if flag("freeze_embeddings") == Some(false) { "learned" } else { "frozen" },
        "classes": classes,
        "class_layers": layers_cls,
        "likelihood": if flag("zinb") == Some(false) { "mean" } else { "zinb" },
        "cell_decoder": if has("mvc_decoder.") { "inner-product" } else { "none" },
    });
    let mut model = Model::published("scprint", (network, object!({})), genes, path);
    model.weights = weights;
    Ok(model)
}

fn texts(list: &[Value]) -> Vec<String> {
    let texts = list.iter().filter_map(Value::as_str);
    texts.map(str::to_string).collect()
}
