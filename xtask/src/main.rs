//! scfm
fn main() {}
