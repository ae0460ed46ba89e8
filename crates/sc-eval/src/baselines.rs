//! Classifiers that a foundation model must beat: logistic regression, kNN, majority.

pub mod features;
pub mod lasso;
mod lbfgs;
pub mod logistic;
mod reduced;
pub mod tuned;
pub mod votes;

pub use features::Features;
pub use lasso::logistic_l1;
pub use logistic::{LogisticModel, LogisticOptions, logistic_l2};
pub use tuned::{Scaling, Setting, Tuned, tuned_linear};
pub use votes::{knn_classify, majority};
