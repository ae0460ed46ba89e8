//! scGraph: do labels keep their distances?

/// Reference geometry of the labels of a data set.
#[derive(Clone, Debug, Default)]
pub struct Consensus {}
