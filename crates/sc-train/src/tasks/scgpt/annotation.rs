//! Labels of cells, by a classifier on the cell embedding.
//!
//! Source: reference/scformer-scgpt-cellplm.md A5: nothing is masked, and the cross entropy is the
//! only loss.

use super::tokens::TokenInput;
use super::{Goal, Place, ScGptTask};
use crate::error::Result;
use crate::inputs::data_spec::{DataSpec, Role};
use crate::losses::{Losses, cross_entropy, total};
use crate::task::whole;
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

/// Mean cross entropy of the labelled cells; a minibatch without labels has no loss, which is not
/// an error.
pub(super) fn losses(model: &ScGpt, input: TokenInput, device: &Device) -> Losses {
    let tokens = input.on_device(device);
    let cell = model.encode(&tokens, Phase::Train).cell;
    let zero = total(cell.clone()) * 0.0;
    let mut terms: Vec<(&'static str, Tensor<1>, f64)> = Vec::new();
    if let (false, Some(logits)) = (input.labels.is_empty(), model.classify(cell)) {
        let known = logits.select(0, whole(input.labelled, device));
        terms.push((
            "cls",
            cross_entropy(known, whole(input.labels, device)),
            1.0,
        ));
    }
    Losses::weighted(zero, terms)
}
