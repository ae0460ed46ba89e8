//! The step loop, its optimiser, schedules, checkpoints and timing.

pub mod adamw;
pub mod checkpoint;
pub mod config;
pub mod timing;
pub mod trainer;
