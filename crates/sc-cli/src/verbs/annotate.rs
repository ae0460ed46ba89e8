//! `scfm annotate`.

use super::labels::{UNKNOWN, categorical, company, listed, may_add, may_write, write};
use crate::args::Annotate;
use crate::error::{Result, at};
use crate::progress::Cells;
use crate::verbs::load_model;
use sc_data::io::h5ad::Column;
use sc_train::embed::Embedder;
use sc_train::predict::no_labels;

pub(crate) fn run(args: &Annotate) -> Result<()> {
    let output = args.output.as_deref();
    may_write(output, args.replace, &[&args.input.file], &args.model)?;
    let device = sc_models::device::open(&args.device)?;
    args.precision.check(&device)?;
    let model = load_model(&args.model)?;
    let names = model.labels()?;
    if names.is_empty() {
        return Err(at(&args.model, no_labels(&model)));
    }
    let mut calibration = model.calibration.clone().unwrap_or_default();
    if let Some(threshold) = args.threshold {
        calibration.threshold = threshold;
    }
    let dataset = args.input.open()?;
    let how = args.matching.with_batch(args.batch.as_deref());
    let mut embedder = Embedder::new(model, &dataset, &how)?.with_precision(args.precision);
    let key = args.key.clone();
    let key = key.unwrap_or_else(|| embedder.model.spec.architecture.clone());
    let columns = [format!("{key}_label"), format!("{key}_probability")];
    let genes = embedder.corpus.genes.clone();
    if args.dry_run {
        println!("labels     {}: {}", names.len(), listed(&names));
        println!(
            "genes      {} of the model's {} are in the file",
            genes.matched, genes.vocabulary
        );
        println!(
            "cells      {}, counts from {}",
            dataset.cells(),
            dataset.slot()
        );
        println!("threshold  {:.3}", calibration.threshold);
        println!("output     obs['{}']", columns.join("'], obs['"));
        return Ok(());
    }
    may_add(&dataset, output, args.replace, &columns)?;
    if calibration.threshold == 0.0 && args.threshold.is_none() {
        note!(
            "{}: no threshold could be calibrated (too few validation cells were labelled rightly), so every \
             cell with counts gets a label",
            args.model.display()
        );
    }
    company(&embedder.model)?;
    embedder = embedder.identified()?;
    if let Some(warning) = embedder.empty_cells() {
        eprintln!("warning: {warning}");
    }
    let mut provenance = embedder.provenance(&args.device, env!("SCFM_REVISION"))?;
    provenance["calibration"] = serde_json::to_value(&calibration)?;
    let bar = Cells::new(dataset.cells(), "labelling");
    let done = embedder.labels(&calibration, &device, &mut |cells| bar.add(cells));
    bar.finish();
    let labels = done?;
    let cells = 0..dataset.cells();
    let found: Vec<&str> = cells
        .map(|row| labels.get(row).unwrap_or(UNKNOWN))
        .collect();
    let unknown = found.iter().filter(|l| **l == UNKNOWN).count();
    let [label, probability] = columns;
    let probabilities = labels.probability.iter().map(|p| f64::from(*p));
    let values = [
        (label.clone(), categorical(&found, &labels.names)),
        (probability, Column::Floats(probabilities.collect())),
    ];
    write(&dataset, output, &values, (&label, &provenance))?;
    println!(
        "labelled {} cells, {unknown} of them unknown; {} of the model's {} genes matched; wrote {label} in {}",
        dataset.cells(),
        genes.matched,
        genes.vocabulary,
        output.unwrap_or(&args.input.file).display()
    );
    Ok(())
}
