//! `scfm embed`.

use super::views::Views;
use crate::args::Embed;
use crate::error::{Result, at};
use crate::outputs::{check_ending, with_json};
use crate::progress::Cells;
use crate::verbs::load_model;
use sc_data::io::export::{ENDINGS, EmbeddingOutput};
use sc_data::io::h5ad::H5ad;
use sc_train::embed::Embedder;

pub(crate) fn run(args: &Embed) -> Result<()> {
    may_write(args)?;
    let device = sc_models::device::open(&args.device)?;
    args.precision.check(&device)?;
    let how = args.matching.with_batch(args.batch.as_deref());
    let model = load_model(&args.model)?;
    let dataset = args.input.open()?;
    let mut embedder = Embedder::new(model, &dataset, &how)?.with_precision(args.precision);
    let architecture = embedder.model.spec.architecture.clone();
    let (dims, genes) = (embedder.task.dims(), embedder.corpus.genes.clone());
    let key = args.key.clone();
    let key = key.unwrap_or_else(|| format!("X_{architecture}"));
    may_replace(args, dataset.file(), &key)?;
    let mut views = Views::new(args, &key)?;
    views.may_add(args, &dataset)?;
    if args.dry_run {
        println!("model   {architecture} ({dims} dimensions)");
        println!(
            "genes   {} of the model's {} are in the file",
            genes.matched, genes.vocabulary
        );
        println!(
            "cells   {}, counts from {}",
            dataset.cells(),
            dataset.slot()
        );
        match &args.output {
            Some(path) => println!("output  {key} in {}", path.display()),
            None => println!("output  obsm['{key}']"),
        }
        return Ok(());
    }
    embedder = embedder.identified()?;
    if let Some(warning) = embedder.empty_cells() {
        eprintln!("warning: {warning}");
    }
    let provenance = embedder.provenance(&args.device, env!("SCFM_REVISION"))?;
    // Opened before any work is done, so that a read-only folder is reported at once.
    let place = args.output.as_deref();
    let mut output = EmbeddingOutput::create(&dataset, place, (&key, dims), &provenance)?;
    for what in output.left_out() {
        eprintln!("scfm: left out: {what}");
    }
    let bar = Cells::new(dataset.cells(), "embedding");
    let embedded = embedder.embed(&device, &mut |rows, values| {
        bar.add(rows.len());
        views.keep(dataset.cells(), rows, values);
        Ok(output.put(rows, values)?)
    });
    bar.finish();
    embedded?;
    output.finish()?;
    views.add(place.unwrap_or(&args.input.file))?;
    println!(
        "embedded {} cells in {dims} dimensions; {} of the model's {} genes matched; wrote {key} in {}",
        dataset.cells(),
        genes.matched,
        genes.vocabulary,
        place.unwrap_or(&args.input.file).display()
    );
    Ok(())
}

/// Refuses an unsupported format, an input, or an existing file as output.
fn may_write(args: &Embed) -> Result<()> {
    let Some(output) = &args.output else {
        return Ok(());
    };
    check_ending(output, &ENDINGS)?;
    let inputs = [args.input.file.as_path()];
    let beside = output
        .extension()
        .filter(|e| e.eq_ignore_ascii_case("npy"))
        .map(|_| with_json(output));
    for output in [Some(output), beside.as_ref()].into_iter().flatten() {
        args.replace.check_beside(output, &inputs, &args.model)?;
    }
    Ok(())
}

/// Refuses to replace an embedding of the file, or of its copy, without `--force`.
fn may_replace(args: &Embed, file: &H5ad, key: &str) -> Result<()> {
    let there = file.obsm_keys().iter().any(|k| k == key);
    let copied = args.output.as_ref().and_then(|o| o.extension());
    let copied = copied.is_some_and(|e| e.eq_ignore_ascii_case("h5ad"));
    if (args.in_place || copied) && there && !args.replace.allowed() {
        return Err(at(
            file.path(),
            format!(
                "obsm['{key}'] already exists; choose another name with --key, or pass --force to \
                 replace it"
            ),
        ));
    }
    Ok(())
}
