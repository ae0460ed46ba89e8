//! Classifiers that a foundation model must beat: logistic regression, kNN, majority.

pub mod features;
pub mod logistic;

pub use features::Features;
pub use logistic::{LogisticModel, LogisticOptions, logistic_l2};
