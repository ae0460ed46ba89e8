//! One module a verb.

pub(crate) mod annotate;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod denoise;
pub(crate) mod doctor;
pub(crate) mod embed;
pub(crate) mod eval;
pub(crate) mod finetune;
pub(crate) mod genes;
mod labels;
pub(crate) mod map;
pub(crate) mod models;
pub(crate) mod network;
pub(crate) mod perturb;
pub(crate) mod pretrain;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod simulate;
mod views;

use crate::error::Result;
use sc_train::Model;
use sc_train::model::folder::is_tied;
use std::path::Path;

/// The model in `folder`, with a warning for one of before whose genes cannot be checked.
fn load_model(folder: &Path) -> Result<Model> {
    let model = Model::load(folder)?;
    if !is_tied(folder) {
        eprintln!(
            "warning: {}: written by a version that did not tie genes to weights, so their order cannot \
             be checked; train or convert again to have it checked",
            folder.display()
        );
    }
    Ok(model)
}
