//! The program from the outside: what it does, what it refuses, what survives a kill.

mod common;
mod folders;
mod held_out;
mod network;
mod objectives;
mod order;
mod packing;
mod refusals;
mod resume;
mod verbs;
mod weights;
