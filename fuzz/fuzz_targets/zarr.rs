//! Any bytes as a zip archive of a Zarr group.
#![no_main]

use libfuzzer_sys::fuzz_target;

mod common;

fuzz_target!(|bytes: &[u8]| common::read_file("a.zarr.zip", bytes));
