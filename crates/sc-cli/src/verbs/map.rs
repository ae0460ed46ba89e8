//! `scfm map`.

use super::labels::{UNKNOWN, categorical, company, may_add, may_write, write};
use crate::args::{CountsFrom, Map};
use crate::error::Result;
use crate::progress::Cells;
use crate::verbs::load_model;
use sc_data::dataset::NO_COLUMN;
use sc_data::io::h5ad::Column;
use sc_eval::transfer::Transferred;
use sc_run::finetune::usual_donor;
use sc_run::map::{Labelled, map, map_by_components, score, vectors};
use sc_train::embed::Embedder;
use std::path::Path;

pub(crate) fn run(args: &Map) -> Result<()> {
    let output = args.output.as_deref();
    let inputs: [&Path; 2] = [&args.input.file, &args.reference];
    may_write(output, args.replace, &inputs, &args.model)?;
    let device = sc_models::device::open(&args.device)?;
    args.precision.check(&device)?;
    let model = load_model(&args.model)?;
    let query = args.input.open()?;
    let reference = CountsFrom::default().open(std::slice::from_ref(&args.reference))?;
    let donor = args
        .donor
        .clone()
        .unwrap_or_else(|| usual_donor(&reference));
    let donor = Some(donor).filter(|d| d != NO_COLUMN);
    let labelled = Labelled::of(&reference, &args.label, donor.as_deref())?;
    let how = args.matching.with_batch(None);
    let embed = |dataset| -> Result<Embedder<'_>> {
        Ok(Embedder::new(model.clone(), dataset, &how)?.with_precision(args.precision))
    };
    let (own, others) = (embed(&reference)?, embed(&query)?);
    let architecture = &model.spec.architecture;
    let key = args.key.clone().unwrap_or_else(|| architecture.clone());
    let columns = ["label", "share", "distance"].map(|what| format!("{key}_map_{what}"));
    let genes = [own.corpus.genes.clone(), others.corpus.genes.clone()];
    if args.dry_run {
        println!(
            "reference  {} labelled cells, {} labels",
            labelled.rows.len(),
            labelled.names.len()
        );
        println!(
            "query      {} cells, counts from {}",
            query.cells(),
            query.slot()
        );
        println!(
            "genes      {} of the model's {} are in the reference, {} in the query",
            genes[0].matched, genes[0].vocabulary, genes[1].matched
        );
        println!("output     obs['{}']", columns.join("'], obs['"));
        return Ok(());
    }
    may_add(&query, output, args.replace, &columns)?;
    company(&model)?;
    let (mut own, mut others) = (own.identified()?, others.identified()?);
    let mut provenance = others.provenance(&args.device, env!("SCFM_REVISION"))?;
    provenance["reference"] = serde_json::json!({
        "file_blake3": reference.hash()?,
        "label": args.label,
        "donor": donor,
        "k": args.k,
    });
    let all: Vec<usize> = (0..query.cells()).collect();
    let bar = Cells::new(labelled.rows.len() + all.len(), "embedding");
    let rows = &labelled.rows;
    let embedded = vectors(&mut own, rows, &device, &mut |n| bar.add(n)).and_then(|reference| {
        let query = vectors(&mut others, &all, &device, &mut |n| bar.add(n))?;
        Ok((reference, query))
    });
    bar.finish();
    let (near, far) = embedded?;
    let k = args.k as usize;
    let mut found = map(&near, &labelled, &far, k)?;
    provenance["reference"]["threshold"] = serde_json::json!(found.threshold);
    if args.all {
        found.threshold = f64::INFINITY;
    }
    let counted = others.counted();
    let label = |row: usize| match found.get(row).filter(|_| counted[row]) {
        Some(code) => labelled.names[code as usize].as_str(),
        None => UNKNOWN,
    };
    let labels: Vec<&str> = (0..query.cells()).map(label).collect();
    let unknown = labels.iter().filter(|l| **l == UNKNOWN).count();
    let [label, share, distance] = columns;
    let values = [
        (label.clone(), categorical(&labels, &labelled.names)),
        (share, Column::Floats(found.share.clone())),
        (distance, Column::Floats(found.distance.clone())),
    ];
    write(&query, output, &values, (&label, &provenance))?;
    let scored = |found: &Transferred| score(found, &labelled, &query, &args.label);
    if let Some(f1) = scored(&found)? {
        let files = (&reference, &query);
        // What it cannot be compared with is no reason to lose what was found.
        let simple = match map_by_components(files, (&genes[0], &genes[1]), &labelled, k) {
            Ok(simple) => format!(
                "{:.3} by principal components of the same genes",
                scored(&simple)?.unwrap_or_default()
            ),
            Err(e) => format!("none by principal components ({e})"),
        };
        println!(
            "obs['{}'] of the query is known: macro-F1 {f1:.3} by {architecture}, {simple}",
            args.label
        );
    }
    println!(
        "labelled {} cells by {} of the reference, {unknown} of them unknown; wrote {label} in {}",
        query.cells(),
        rows.len(),
        output.unwrap_or(&args.input.file).display()
    );
    Ok(())
}
