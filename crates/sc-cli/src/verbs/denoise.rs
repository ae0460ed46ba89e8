//! `scfm denoise`.

use crate::args::Denoise;
use crate::error::{Result, at};
use crate::outputs::{check_ending, with_json};
use crate::progress::Cells;
use crate::verbs::load_model;
use sc_data::Dataset;
use sc_data::MatrixSlot;
use sc_data::io::export::{ENDINGS, EmbeddingOutput};
use sc_train::embed::Embedder;

pub(crate) fn run(args: &Denoise) -> Result<()> {
    if let Some(output) = &args.output {
        check_ending(output, &ENDINGS)?;
        let beside = with_json(output);
        let npy = output
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("npy"));
        for path in [Some(output), npy.then_some(&beside)].into_iter().flatten() {
            args.replace
                .check_beside(path, &[&args.input.file], &args.model)?;
        }
    }
    let device = sc_models::device::open(&args.device)?;
    args.precision.check(&device)?;
    let model = load_model(&args.model)?;
    let dataset = args.input.open()?;
    let how = args.matching.with_batch(args.batch.as_deref());
    let mut embedder = Embedder::new(model, &dataset, &how)?.with_precision(args.precision);
    embedder
        .check_expression()
        .map_err(|e| at(&args.model, e))?;
    if args.score && args.dry_run {
        println!(
            "score   {} cells of {}",
            embedder.model.spec.architecture,
            dataset.cells()
        );
        return Ok(());
    }
    if args.score {
        let scores = sc_run::denoise::score(embedder, &dataset, args.seed, &device)?;
        println!(
            "{} cells, {} genes; a tenth of the molecules set aside",
            scores.cells, scores.genes
        );
        println!(
            "{:<26} {:>18} {:>12}",
            "", "deviance per cell", "correlation"
        );
        for score in &scores.scores {
            println!(
                "{:<26} {:>18.2} {:>12.4}",
                score.name, score.deviance, score.correlation
            );
        }
        if let Some(better) = scores.better() {
            println!(
                "{} predicts what was set aside better than the model",
                better.name
            );
        }
        return Ok(());
    }
    let architecture = embedder.model.spec.architecture.clone();
    let name = args
        .key
        .clone()
        .unwrap_or_else(|| format!("denoised_{architecture}"));
    let genes = embedder.corpus.genes.clone();
    fits_layer(&dataset)?;
    if *dataset.slot() == MatrixSlot::Layer(name.clone()) {
        return Err(at(
            dataset.path(),
            format!("layers['{name}'] holds the counts themselves; choose another name with --key"),
        ));
    }
    let there = dataset.file().layers().contains(&name);
    if there && !args.replace.allowed() {
        return Err(at(
            dataset.path(),
            format!(
                "layers['{name}'] already exists; choose another name with --key, or pass --force to replace it"
            ),
        ));
    }
    let width = dataset.genes().len();
    let bytes = dataset.cells() as f64 * width as f64 * 4.0;
    if args.dry_run {
        println!("model   {architecture}");
        println!(
            "genes   {} of the model's {} are in the file; the others keep their counts",
            genes.matched, genes.vocabulary
        );
        println!(
            "cells   {}, counts from {}",
            dataset.cells(),
            dataset.slot()
        );
        println!("output  layers['{name}'], {:.1} GB", bytes / 1e9);
        return Ok(());
    }
    embedder = embedder.identified()?;
    if let Some(warning) = embedder.empty_cells() {
        eprintln!("warning: {warning}");
    }
    let provenance = embedder.provenance(&args.device, env!("SCFM_REVISION"))?;
    let output = args.output.as_deref();
    let mut written = EmbeddingOutput::layer(&dataset, output, &name, &provenance)?;
    for what in written.left_out() {
        eprintln!("scfm: left out: {what}");
    }
    let bar = Cells::new(dataset.cells(), "denoising");
    let done = embedder.denoised(&device, &mut |rows, values| {
        bar.add(rows.len());
        Ok(written.put(rows, values)?)
    });
    bar.finish();
    done?;
    written.finish()?;
    println!(
        "denoised {} of {width} genes in {} cells; the others keep their counts; wrote {name} in {}",
        genes.map.iter().flatten().count(),
        dataset.cells(),
        output.unwrap_or(&args.input.file).display()
    );
    Ok(())
}

/// Refuses counts whose genes are not those of the layers.
fn fits_layer(dataset: &Dataset) -> Result<()> {
    let file = dataset.file();
    let other = matches!(dataset.slot(), MatrixSlot::Raw);
    if !other && file.var().len() == dataset.genes().len() {
        return Ok(());
    }
    Err(at(
        dataset.path(),
        format!(
            "the counts come from {} with {} genes, but a layer has the {} of var; write a file with these counts \
             in X first",
            dataset.slot(),
            dataset.genes().len(),
            file.var().len()
        ),
    ))
}
