//! The step loop, its optimiser, schedules, checkpoints and timing.

pub mod adamw;
pub mod agreement;
pub mod checkpoint;
pub mod config;
pub mod speed;
pub(crate) mod step;
pub mod timing;
pub mod trainer;
