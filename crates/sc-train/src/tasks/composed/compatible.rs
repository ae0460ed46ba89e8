//! Which parts can be combined, and why others cannot.

use super::tokens::TokenKind;
use crate::error::{Result, TrainError};
use sc_models::composed::EncoderConfig;

/// The objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// Values of masked tokens, from the tokens (scGPT, scHyena).
    MaskedValue,
    /// Values of masked tokens, from the cell embedding (scGPT's MVC).
    MaskedValueFromCell,
    /// The gene of a masked token (Nicheformer).
    MaskedGene,
    /// Which of some left-out genes the cell expresses (UCE).
    Expressed,
    /// The counts of all genes, from downsampled counts (scPRINT, VAEs).
    Denoise,
    /// Matching two downsampled copies of each cell in the minibatch.
    Contrast,
    /// The label.
    Classify,
}

impl Objective {
    /// All objectives, in the order of [`Objective::WORDS`].
    const ALL: [Self; 7] = [
        Self::MaskedValue,
        Self::MaskedValueFromCell,
        Self::MaskedGene,
        Self::Expressed,
        Self::Denoise,
        Self::Contrast,
        Self::Classify,
    ];

    /// Their names in configurations.
    pub const WORDS: &[&str] = &[
        "masked-value",
        "masked-value-from-cell",
        "masked-gene",
        "expressed",
        "denoise",
        "contrast",
        "classify",
    ];

    /// The objective of this name, which [`ModelSpec::objective`] has checked.
    pub(super) fn named(word: &str) -> Self {
        let at = Self::WORDS.iter().position(|w| *w == word);
        Self::ALL[at.expect("invariant: the objective is one of the architecture's")]
    }

    fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// Refuses parts that cannot be combined, with the reason.
pub(super) fn check(
    encoder: &EncoderConfig,
    tokens: &TokenKind,
    objective: Objective,
) -> Result<()> {
    let reason = match (encoder, tokens, objective) {
        (EncoderConfig::None, _, Objective::MaskedValue | Objective::MaskedGene) => {
            "tokens do not attend to each other, so masked ones cannot be predicted; use an \
             encoder that mixes them, or an objective on the cell embedding"
        }
        (_, t, Objective::MaskedValue | Objective::MaskedValueFromCell) if !t.have_values() => {
            "these tokens have no values to mask; use objective = 'masked-gene' or 'expressed', or \
             tokens with values: bins, log-values, profile or sampled"
        }
        (_, TokenKind::Profile { .. }, Objective::MaskedGene) => {
            "a profile has every gene at a fixed position, so the masked gene is known; use \
             'masked-value'"
        }
        (_, TokenKind::Sampled { .. }, Objective::MaskedGene) => {
            "genes without counts are sampled at random, so they cannot be predicted; use 'masked-value'"
        }
        (_, TokenKind::Sentence { .. }, Objective::MaskedGene) => {
            "a gene that is sampled twice is in the sentence twice, and one copy would reveal the other; \
             'expressed' asks for genes that are left out altogether"
        }
        _ => return Ok(()),
    };
    Err(TrainError::Config(format!(
        "composed: encoder '{}', tokens '{}' and objective '{}' cannot be combined: {reason}",
        encoder.word(),
        tokens.word(),
        objective.word()
    )))
}
