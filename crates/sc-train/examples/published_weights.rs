//! Import published weights as a model folder, and embed cells with them.
//!
//! ```sh
//! cargo run -p sc-train --example published_weights -- ARCHITECTURE WEIGHTS FILE.h5ad
//! ```
#![allow(clippy::print_stdout)]

use sc_data::{Dataset, io::store::CountsPolicy};
use sc_train::embed::{Matching, embed};
use sc_train::import::Files;
use sc_train::registry::find;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [architecture, weights, file] = match &arguments[..] {
        [a, w, f] => [a.clone(), w.clone(), f.clone()],
        _ => [
            "geneformer".to_owned(),
            concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../tests/data/published/geneformer"
            )
            .to_owned(),
            concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../configs/experiments/data/pancreas_mini.h5ad"
            )
            .to_owned(),
        ],
    };
    let import = find(&architecture).and_then(|a| a.import);
    let import = import.ok_or("this architecture has no importer for published weights")?;
    let model = import(&Files {
        weights: PathBuf::from(weights),
        ..Files::default()
    })?;
    let device = sc_models::device::open(sc_models::device::DEFAULT)?;
    model.check(&device)?;
    println!(
        "{} genes, {} tensors",
        model.data.genes.len(),
        model.weights.len()
    );
    let dataset = Dataset::open(Path::new(&file), &CountsPolicy::RequireCounts)?;
    let how = Matching {
        min_overlap: 0.0,
        ..Matching::default()
    };
    let vectors = embed(&model, &dataset, &how, &device)?;
    println!(
        "{} cells in {} dimensions",
        vectors.nrows(),
        vectors.ncols()
    );
    Ok(())
}
