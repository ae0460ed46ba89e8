//! Any bytes as a file: refused or read.
#![no_main]

use libfuzzer_sys::fuzz_target;

mod common;

fuzz_target!(|bytes: &[u8]| common::read_file("a.h5ad", bytes));
