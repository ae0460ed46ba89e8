//! Minibatches of counts with labels from a file of cells.
//!
//! ```sh
//! cargo run -p sc-data --example minibatches -- configs/experiments/data/pancreas_mini.h5ad cell_type
//! ```
#![allow(clippy::print_stdout)]

use sc_data::{Dataset, io::store::CountsPolicy, sampling::sampler::shuffled};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_else(|| DEFAULT.to_owned());
    let column = arguments.next().unwrap_or_else(|| "cell_type".to_owned());
    let dataset = Dataset::open(Path::new(&file), &CountsPolicy::RequireCounts)?;
    let labels = dataset.categories(&column)?;
    let rows: Vec<usize> = (0..dataset.cells()).collect();
    for minibatch in dataset.minibatches(shuffled(&rows, 256, 0, 0), &[&labels]) {
        let minibatch = minibatch?;
        let first = &labels.names()[minibatch.codes[0][0] as usize];
        println!(
            "{} cells, {} non-zero counts; the first is a {first} cell",
            minibatch.rows.len(),
            minibatch.counts.nnz()
        );
    }
    Ok(())
}

const DEFAULT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../configs/experiments/data/pancreas_mini.h5ad"
);
