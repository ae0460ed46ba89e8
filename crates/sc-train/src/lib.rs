//! Training: objectives, the step loop, schedules, checkpoints.

pub mod losses;
