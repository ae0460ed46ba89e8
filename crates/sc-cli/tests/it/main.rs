//! The program from the outside: what it does, what it refuses, what survives a kill.

mod common;
mod devices;
mod finetune;
mod folders;
mod held_out;
mod logging;
mod network;
mod objectives;
mod order;
mod outputs;
mod packing;
mod refusals;
mod resume;
mod run;
mod values;
mod verbs;
mod verdicts;
mod vocabulary;
mod weights;
