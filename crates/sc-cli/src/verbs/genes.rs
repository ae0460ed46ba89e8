//! `scfm genes`.

use crate::args::{CountsFrom, Genes};
use crate::error::{Result, at};
use crate::outputs::{check_ending, with_json};
use crate::verbs::load_model;
use sc_data::io::atomic::hash_file;
use sc_run::gene_vectors::{GeneVectors, NEAR};
use sc_train::Model;
use std::path::{Path, PathBuf};

pub(crate) fn run(args: &Genes) -> Result<()> {
    if let Some(output) = &args.output {
        check_ending(output, &[".tsv", ".npy"])?;
        let files = args.sets.iter().chain(&args.cells);
        let inputs: Vec<&Path> = files.map(PathBuf::as_path).collect();
        for path in [output, &with_json(output)] {
            args.replace.check_beside(path, &inputs, &args.model)?;
        }
    }
    let model = load_model(&args.model)?;
    let vectors = GeneVectors::of(&model).map_err(|e| at(&args.model, e))?;
    for gene in &args.nearest {
        let near = vectors.nearest(gene).map_err(|e| at(&args.model, e))?;
        println!("{NEAR} genes nearest to {gene}, by cosine");
        for (other, cosine) in near {
            println!("  {other:<20} {cosine:.3}");
        }
    }
    if args.sets.is_some() {
        score(args, &model, &vectors)?;
    }
    if let Some(output) = &args.output {
        let about = serde_json::json!({
            "model": model.spec.architecture,
            "genes": model.data.genes.as_ref(),
            "weights_blake3": hash_file(&model.file)?,
            "version": env!("CARGO_PKG_VERSION"),
            "revision": env!("SCFM_REVISION"),
        });
        vectors.write(output, &with_json(output), &about)?;
        let (genes, dims) = vectors.shape();
        println!(
            "wrote {genes} vectors of {dims} dimensions in {}",
            output.display()
        );
    }
    Ok(())
}

/// Prints what the vectors know of sets, beside controls.
fn score(args: &Genes, model: &Model, vectors: &GeneVectors) -> Result<()> {
    let Some(path) = &args.sets else {
        return Ok(());
    };
    let text = std::fs::read_to_string(path).map_err(|e| at(path, e))?;
    let cells = args.cells.as_slice().iter();
    let cells = cells.map(|file| CountsFrom::default().open(std::slice::from_ref(file)));
    let cells = cells.collect::<Result<Vec<_>>>()?;
    let known = vectors
        .knowledge(&text, cells.first())
        .map_err(|e| at(path, e))?;
    println!(
        "{} of {} sets have enough of the model's genes",
        known.used, known.sets
    );
    println!("{:<26} {:>10}   95 % over sets", "", "mean AUROC");
    for (name, found) in &known.rows {
        let name = name.as_deref().unwrap_or(&model.spec.architecture);
        let [low, high] = found.interval;
        println!("{name:<26} {:>10.3}   {low:.3} to {high:.3}", found.mean);
    }
    for name in known.as_good() {
        println!("{name} know as much");
    }
    Ok(())
}
