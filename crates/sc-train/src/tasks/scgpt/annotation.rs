//! Labels of cells, by a classifier on the cell embedding.
//!
//! Source: reference/scformer-scgpt-cellplm.md A5: nothing is masked, and the cross entropy is the
//! only loss.

use super::tokens::TokenInput;
use super::{Goal, Place, ScGptTask};
use crate::error::Result;
use crate::inputs::data_spec::{DataSpec, Role};
use crate::losses::{Losses, of_labels};
use burn::tensor::{Device, Tensor};
use sc_models::layers::norm::Phase;
use sc_models::scgpt::ScGpt;

/// The task with a classifier for the labels of the data.
pub(super) fn annotate(
    mut task: ScGptTask,
    data: &DataSpec,
    place: Place<'_>,
) -> Result<ScGptTask> {
    let classes = data.count(Role::Label, &place.name())?;
    if classes < 2 {
        return place.refuse(format!(
            "all labelled cells are '{}', but a classifier needs at least two labels; give a column with two \
             labels or more: [obs] label = \"COLUMN\", or use objective = 'masked'",
            data.levels[&Role::Label].concat()
        ));
    }
    task.network.classes = classes;
    task.input.mask = 0.0;
    task.goal = Goal::Labels;
    Ok(task)
}

/// Mean cross entropy of the labelled cells.
pub(super) fn losses(model: &ScGpt, input: TokenInput, device: &Device) -> Losses {
    let logits = logits(model, &input, device).expect("invariant: annotation has a classifier");
    of_labels(logits, input.labelled, device)
}

/// Logits of the labels, `[cells, labels]`; `None` for a network without a classifier.
pub(super) fn logits(model: &ScGpt, input: &TokenInput, device: &Device) -> Option<Tensor<2>> {
    let tokens = input.on_device(device);
    model.classify(model.encode(&tokens, Phase::on(device)).cell)
}
