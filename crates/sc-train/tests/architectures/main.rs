//! Every architecture, built as a configuration file builds it: it learns 64 cells by heart, embeds a
//! cell without regard to its company, and refuses what it cannot do with a way out.

#![cfg(feature = "flex")]

mod common;
mod devices;
mod learning;
mod numbers;
mod order;
mod pages;
mod predictors;
mod refusals;
mod settings;
mod starting;
