//! Batch integration: decoders conditioned on the batch, so that cell embeddings need not encode
//! it, and an adversary that predicts the batch from the cell embedding.
//!
//! Source: reference/scformer-scgpt-cellplm.md A2.2, A5.

use super::{Place, ScGptTask};
use crate::error::Result;
use crate::inputs::data_spec::DataSpec;
use sc_models::scgpt::InputNorm;
use serde::{Deserialize, Serialize};

/// Use of the sequencing batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchUse {
    /// The decoders are conditioned on it.
    Decoders,
    /// An adversary predicts it, with its gradient reversed.
    Adversary,
}

/// The task with as many batches as the data, wherever the settings use them.
pub(super) fn integrate(
    mut task: ScGptTask,
    data: &DataSpec,
    place: Place<'_>,
) -> Result<ScGptTask> {
    if data.batches.len() < 2 {
        return place.refuse(format!(
            "there is nothing to integrate: the data has {} sequencing batch; give the column of \
             obs with the batches (--batch COLUMN, in an experiment data.batch), or use \
             objective = 'masked'",
            data.batches.len().max(1)
        ));
    }
    use_batches(&mut task, data);
    let normed = matches!(task.network.input_norm, InputNorm::DomainSpecific { .. });
    if task.input.batch.is_empty() && !normed {
        return place.refuse(
            "nothing in it uses batches; set input.batch = [\"decoders\", \"adversary\"] or \
             network.input_norm = { kind = \"domain-specific\", epsilon = 6.1e-5 }, or use objective \
             = 'masked'"
                .into(),
        );
    }
    Ok(task)
}

/// Adds the batch heads in the settings to the network.
pub(super) fn use_batches(task: &mut ScGptTask, data: &DataSpec) {
    let count = |of| match task.input.batch.contains(&of) {
        true => data.batches.len(),
        false => 0,
    };
    let (known, guessed) = (count(BatchUse::Decoders), count(BatchUse::Adversary));
    task.network.batch_labels = known;
    task.network.adversary_batches = guessed;
}
