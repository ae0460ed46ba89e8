//! Why an evaluation gives no number.

/// What every metric returns: the score, or why there is none.
pub type Outcome = Result<f64, Undefined>;

/// Wrong input of a whole evaluation: shapes that do not match, values that are not finite.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Two arrays that describe the same things have different lengths.
    #[error("{what}: expected {expected} entries, found {found}")]
    Shape {
        /// What was counted.
        what: &'static str,
        /// Entries needed.
        expected: usize,
        /// Entries given.
        found: usize,
    },
    /// A NaN or an infinity where finite values are needed.
    #[error("{what}: row {row} holds a value that is not finite; drop the cell or fix the method")]
    NotFinite {
        /// The array.
        what: &'static str,
        /// First row with such a value.
        row: usize,
    },
    /// Anything else about the input.
    #[error("{0}")]
    Invalid(String),
}

impl EvalError {
    /// An [`EvalError::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    /// [`EvalError::Shape`] unless `found` is `expected`.
    ///
    /// # Errors
    /// When the two differ.
    pub fn check(what: &'static str, expected: usize, found: usize) -> Result<(), Self> {
        if expected == found {
            Ok(())
        } else {
            Err(Self::Shape {
                what,
                expected,
                found,
            })
        }
    }
}

/// Why a metric has no value on these data.
///
/// The published packages answer some of these with NaN, some with an exception and some with
/// rounding noise; here each is a reason that a table can show.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Undefined {
    /// The input itself is wrong.
    #[error(transparent)]
    Input(#[from] EvalError),
    /// Fewer cells than the definition needs.
    #[error("needs at least {needed} cells, there are {found}")]
    TooFewCells {
        /// Cells needed.
        needed: usize,
        /// Cells given.
        found: usize,
    },
    /// All cells carry one label.
    #[error("all cells carry one label")]
    OneLabel,
    /// All cells come from one batch.
    #[error("all cells come from one batch")]
    OneBatch,
    /// No label can measure batch effects.
    #[error("no label occurs in several batches with more cells than batches")]
    NoLabelInSeveralBatches,
    /// No label is eligible as isolated.
    #[error("no label counts as isolated")]
    NoIsolatedLabel,
    /// All cells lie on one point.
    #[error("the embedding has no variance: all cells lie on one point")]
    NoVariance,
    /// The reference embedding has no batch variance, so none can be removed.
    #[error("the pre-integration embedding has no batch variance, so there is nothing to compare")]
    NoBatchEffectBefore,
    /// A reference that the metric needs was not given.
    #[error("{0} was not given")]
    NoReference(&'static str),
    /// scGraph: no batch is large enough to build the reference geometry from.
    #[error("no batch has {needed} cells, so there is no reference geometry")]
    NoBatchLargeEnough {
        /// Cells a batch needs.
        needed: usize,
    },
    /// scGraph: a label of the scored cells is missing from the reference geometry.
    #[error("label {label} is in no batch of the reference geometry")]
    LabelWithoutReference {
        /// Code of the label.
        label: u32,
    },
    /// scGraph: too few labels to correlate distances.
    #[error("needs at least {needed} labels with a reference, there are {found}")]
    TooFewLabels {
        /// Labels needed.
        needed: usize,
        /// Labels found.
        found: usize,
    },
    /// scGraph: all distances of the embedding are equal, so the correlation is 0/0.
    #[error("distances between labels are constant, so the correlation is undefined (0/0)")]
    ConstantDistances,
    /// An aggregate with too few defined metrics to be compared.
    #[error("{defined} of its {expected} metrics are defined, too few to be compared")]
    TooFewMetrics {
        /// Metrics with a value.
        defined: usize,
        /// Metrics of the aggregate.
        expected: usize,
    },
    /// There is no training cell.
    #[error("there is no training cell")]
    NoTrainingCell,
    /// No prediction can be right.
    #[error("no scored cell has a label of the training cells")]
    NoCommonLabel,
    /// No class has both positive and negative cells.
    #[error("no class has both positive and negative cells")]
    NoContrast,
    /// The method predicted classes without probabilities.
    #[error("the method gave no class probabilities")]
    NoProbabilities,
    /// LISI: distances are so large or so small that neighbourhoods have no weights.
    #[error("distances are too extreme for neighbourhood weights; rescale the embedding")]
    NeighbourhoodsCollapse,
    /// An eigenvalue problem or another iteration did not converge.
    #[error("{0} did not converge")]
    NotConverged(&'static str),
}
