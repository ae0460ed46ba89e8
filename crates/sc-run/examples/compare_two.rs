//! Compare two embeddings of the same cells with each other and with baselines, with error bars.
//!
//! ```sh
//! cargo run -p sc-run --example compare_two
//! ```
#![allow(clippy::print_stdout)]

use sc_data::{Dataset, io::store::CountsPolicy};
use sc_eval::benchmark::{Benchmark, Design, EvalData, MethodInfo, MethodOptions, describe};
use sc_eval::controls::random_embedding;
use sc_eval::protocol::Options;
use sc_eval::report::summary;
use sc_eval::results::{Cost, Family};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args()
        .nth(1)
        .unwrap_or_else(|| DEFAULT.to_owned());
    let dataset = Dataset::open(Path::new(&file), &CountsPolicy::RequireCounts)?;
    let data = EvalData::open(&dataset, &Design::default())?;
    let benchmark = Benchmark::new(&data, Options::default(), 0, MethodOptions::default())?;
    let mut results = Vec::new();
    for (name, seed) in [("ours", 1), ("theirs", 2)] {
        let vectors = random_embedding(dataset.cells(), 16, seed);
        let info = MethodInfo::new(name, Family::Model, "sixteen random numbers", seed);
        results.push(benchmark.embedding(info, vectors.view(), Cost::default(), Vec::new())?);
    }
    let (family, about) = describe("pca").ok_or("pca is a baseline")?;
    let info = MethodInfo::new("pca", family, about, 0);
    results.push(benchmark.baseline(info, "pca")?);
    println!("{}", summary(&results));
    Ok(())
}

const DEFAULT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../configs/experiments/data/pancreas_mini.h5ad"
);
