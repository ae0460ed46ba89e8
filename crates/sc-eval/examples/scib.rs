//! The scIB metrics of an embedding, its labels and its batches.
//!
//! ```sh
//! cargo run -p sc-eval --example scib
//! ```
#![allow(clippy::print_stdout)]

use ndarray::Array2;
use sc_eval::controls::random_embedding;
use sc_eval::{Categories, scib::scib_metrics};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Three types of 60 cells, each in two batches, and a little noise.
    let names = |of: &[&str]| of.iter().map(|n| (*n).to_owned()).collect();
    let labels = Categories::new((0..180).map(|i| i / 60).collect(), names(&["B", "NK", "T"]))?;
    let batches = Categories::new((0..180).map(|i| i % 2).collect(), names(&["1", "2"]))?;
    let noise = random_embedding(180, 3, 1);
    let embedding = Array2::from_shape_fn((180, 3), |(i, j)| {
        f32::from(u8::from(i / 60 == j)) * 6.0 + noise[[i, j]]
    });
    for score in scib_metrics(embedding.view(), &labels, &batches, None)? {
        match score.outcome {
            Ok(value) => println!("{:36} {value:.3}", score.name),
            Err(why) => println!("{:36} – ({why})", score.name),
        }
    }
    Ok(())
}
