//! Bringing sequencing batches together: decoders that know the batch, so that cells need not, and an
//! adversary that tries to tell the batch from the cell.
//!
//! Source: reference/scformer-scgpt-cellplm.md A2.2, A5.

use super::{Place, ScGptTask};
use crate::error::Result;
use crate::inputs::data_spec::DataSpec;
use sc_models::scgpt::InputNorm;
use serde::{Deserialize, Serialize};

/// Where the sequencing batch comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchUse {
    /// The decoders are conditioned on it.
    Decoders,
    /// An adversary guesses, and cells are to give it nothing to go by.
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
            "there is nothing to bring together, the data has {} sequencing batch; name the column of \
             obs that tells batches apart (--batch COLUMN, in an experiment data.batch), or take \
             objective = 'masked'",
            data.batches.len().max(1)
        ));
    }
    use_batches(&mut task, data);
    let normed = matches!(task.network.input_norm, InputNorm::DomainSpecific { .. });
    if task.input.batch.is_empty() && !normed {
        return place.refuse(
            "nothing in it would know of batches; set input.batch = [\"decoders\", \"adversary\"] or \
             network.input_norm = { kind = \"domain-specific\", epsilon = 6.1e-5 }, or take objective \
             = 'masked'"
                .into(),
        );
    }
    Ok(task)
}

/// Gives the network the heads on batches that the settings name.
pub(super) fn use_batches(task: &mut ScGptTask, data: &DataSpec) {
    let count = |of| match task.input.batch.contains(&of) {
        true => data.batches.len(),
        false => 0,
    };
    let (known, guessed) = (count(BatchUse::Decoders), count(BatchUse::Adversary));
    task.network.batch_labels = known;
    task.network.adversary_batches = guessed;
}
