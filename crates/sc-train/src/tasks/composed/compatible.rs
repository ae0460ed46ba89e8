//! Which parts go together, and why others do not.

use super::tokens::TokenKind;
use crate::error::{Result, TrainError};
use sc_models::composed::EncoderConfig;

/// What is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// Values of hidden tokens, from the tokens (scGPT, scHyena).
    MaskedValue,
    /// Values of hidden tokens, from the cell (scGPT's MVC).
    MaskedValueFromCell,
    /// Which gene a hidden token is (Nicheformer).
    MaskedGene,
    /// Which genes the cell expresses, of some that were left out (UCE).
    Expressed,
    /// The counts of all genes, from a cell with fewer (scPRINT, VAEs).
    Denoise,
    /// Which two of many thinned cells are the same one.
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

/// Refuses parts that do not go together, with the reason.
pub(super) fn check(
    encoder: &EncoderConfig,
    tokens: &TokenKind,
    objective: Objective,
) -> Result<()> {
    let reason = match (encoder, tokens, objective) {
        (EncoderConfig::None, _, Objective::MaskedValue | Objective::MaskedGene) => {
            "tokens do not see each other, so there is nothing to tell a hidden one from; take an \
             encoder that mixes them, or an objective that reads the cell"
        }
        (_, t, Objective::MaskedValue | Objective::MaskedValueFromCell) if !t.have_values() => {
            "these tokens have no values to hide; objective = 'masked-gene' or 'expressed' asks for \
             what they show, and tokens of kind bins, log-values, profile and sampled have values"
        }
        (_, TokenKind::Profile { .. }, Objective::MaskedGene) => {
            "a profile has every gene at its own place, so which gene is hidden is no question; take \
             'masked-value'"
        }
        (_, TokenKind::Sampled { .. }, Objective::MaskedGene) => {
            "genes without counts are shown at random, and nothing tells which; take 'masked-value'"
        }
        (_, TokenKind::Sentence { .. }, Objective::MaskedGene) => {
            "a gene that is drawn twice is in the sentence twice, and one copy would tell the other; \
             'expressed' asks for genes that are left out altogether"
        }
        _ => return Ok(()),
    };
    Err(TrainError::Config(format!(
        "composed: encoder '{}', tokens '{}' and objective '{}' do not go together: {reason}",
        encoder.word(),
        tokens.word(),
        objective.word()
    )))
}
