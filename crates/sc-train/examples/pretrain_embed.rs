//! Pretrain a model on a file of cells, and embed them with it.
//!
//! ```sh
//! cargo run -p sc-train --example pretrain_embed -- FILE.h5ad PRESET
//! ```
#![allow(clippy::print_stdout)]

use sc_data::{Dataset, io::store::CountsPolicy};
use sc_train::{embed, presets, pretrain};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    sc_data::memory::keep_freed(); // Up to four times as fast on the CPU.
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_else(|| DEFAULT.to_owned());
    let preset = arguments.next().unwrap_or_else(|| "vae-tiny".to_owned());
    let folder = tempfile::tempdir()?;

    let dataset = Dataset::open(Path::new(&file), &CountsPolicy::RequireCounts)?;
    let spec = presets::named(&preset, &["train.steps=20".to_owned()])?;
    let model = pretrain::pretrain(&dataset, spec, folder.path(), &Default::default())?;
    let device = sc_models::device::open(sc_models::device::DEFAULT)?;
    let vectors = embed::embed(&model, &dataset, &Default::default(), &device)?;

    println!(
        "{preset}: {} cells in {} dimensions",
        vectors.nrows(),
        vectors.ncols()
    );
    Ok(())
}

const DEFAULT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../configs/experiments/data/pancreas_mini.h5ad"
);
