//! sc-models
