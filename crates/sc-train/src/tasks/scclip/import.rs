//! scCLIP's Lightning checkpoints: sizes are inferred from the tensors, since the hyper-parameters
//! are objects that are not executed; the user must give the features.

use crate::error::{Result, TrainError};
use crate::import::{Files, gene_list, weight_file};
use crate::model::Model;
use sc_models::weights::Checkpoint;
use serde_json::{Value, json as object};

/// Heads of both towers in the published configuration.
const HEADS: usize = 8;

/// Reads a checkpoint.
pub(super) fn import(files: &Files) -> Result<Model> {
    let path = weight_file(&files.weights, &[".ckpt"])?;
    let features = gene_list(
        files.vocabulary.as_ref(),
        &path,
        "genes and peaks in the order of the training data, one per line,",
    )?;
    let checkpoint = Checkpoint::open(&path)?;
    let shape = |name: &str, axis: usize| checkpoint.shape(name).map_or(0, |s| s[axis]);
    let tower = |which: &str| -> Result<Value> {
        let at = |rest: &str| format!("{which}_model.{rest}");
        let positions = checkpoint.shape(&at("embeddings.position_embeddings"));
        let Some([_, positions, width]) = positions else {
            let what = format!("has no {which} tower");
            return Err(TrainError::file(&path, what));
        };
        let query = at("encoder.layer.0.attention.attention.query.bias");
        Ok(object!({
            "patches": positions - 1,
            "width": width,
            "layers": checkpoint.count(&at("encoder.layer.")),
            "heads": files.heads.unwrap_or(HEADS),
            "feed_forward": shape(&at("encoder.layer.0.intermediate.dense.weight"), 0),
            "qkv_bias": checkpoint.shape(&query).is_some(),
        }))
    };
    let network = object!({
        "atac": tower("atac")?,
        "rna": tower("rna")?,
        "projection": shape("atac_projection.weight", 0),
        "temperature": { "kind": "fixed", "log_scale": 1.0 },
        "normalize": true,
    });
    let input = object!({ "scale": "none", "leave_out": [] });
    let mut model = Model::published("scclip", (network, input), features, path);
    model.weights = checkpoint.into_tensors("")?;
    Ok(model)
}
