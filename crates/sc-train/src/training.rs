//! The step loop, its optimiser, schedules, checkpoints and timing.

pub mod adamw;
pub mod agreement;
pub mod checkpoint;
pub mod config;
mod events;
pub mod speed;
pub(crate) mod step;
pub mod timing;
pub mod trainer;
pub mod validation;
