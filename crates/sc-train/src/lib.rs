//! sc-train
