//! `scfm pretrain`.

use crate::args::Pretrain;
use crate::error::{Result, at};
use crate::folder;
use crate::manifest::Manifest;
use crate::packing;
use crate::presets;
use crate::settings;
use crate::source::Source;
use crate::training::Plan;
use sc_train::ModelSpec;
use std::collections::BTreeMap;

pub(crate) fn run(args: &Pretrain) -> Result<()> {
    let table = presets::read(&args.config, &args.sets)?;
    let spec: ModelSpec = settings::parse(table, &args.config.display().to_string())?;
    spec.train.check()?;
    let device = sc_models::device::open(&args.device)?;
    let mut source = Source::open_all(&args.files, &args.from)?;
    let reads = spec.train.steps * spec.train.minibatch as u64;
    let mut hashes = Vec::new();
    if !args.dry_run {
        for file in &args.files {
            hashes.push(sc_data::atomic::hash_file(file)?);
        }
        packing::prepare(&mut source, &hashes, &args.store, reads)?;
    }
    let rows: Vec<usize> = (0..source.cells()).collect();
    let batches = source.batches(args.batch.as_deref())?;
    let plan = Plan::new(&source, spec, rows, batches, &BTreeMap::new(), args.seed)?;
    let parameters = plan.task.parameters(&device)?;
    if args.dry_run {
        let spec = &plan.config.spec;
        println!(
            "model       {} ({parameters} parameters)",
            spec.architecture
        );
        if let Some(same) = &plan.config.same_size {
            println!("size        {same}");
        }
        println!(
            "vocabulary  {} of the file's {} genes",
            plan.genes.names.len(),
            source.genes.len()
        );
        println!(
            "cells       {} in {} batches, counts from {}",
            source.cells(),
            plan.config.batches.len(),
            source.slot()
        );
        println!(
            "steps       {} of {} cells",
            spec.train.steps, spec.train.minibatch
        );
        // Weights, gradients and both moments.
        println!(
            "memory      {:.0} MB for weights and optimiser",
            parameters as f64 * 16.0 / 1e6
        );
        return Ok(());
    }
    if let Some(same) = &plan.config.same_size {
        eprintln!("{}: {same}", plan.config.spec.architecture);
    }
    std::fs::create_dir_all(&args.output).map_err(|e| at(&args.output, e))?;
    let _lock = sc_data::atomic::lock_folder(&args.output)?;
    let hash = one_hash(&hashes);
    let config = serde_json::to_value(&plan.config)?;
    let manifest = Manifest::new(&hash, config, args.seed, &args.device);
    let (weights, _) = plan.train(&args.output, &hash, &device)?;
    folder::write(
        &args.output,
        &plan.config,
        &plan.genes,
        &weights,
        &plan.task.tokenizer(),
        &manifest.close()?,
    )
}

/// The hash of one file is its own; of several, that of their hashes.
fn one_hash(hashes: &[String]) -> String {
    match hashes {
        [hash] => hash.clone(),
        _ => blake3::hash(hashes.concat().as_bytes())
            .to_hex()
            .to_string(),
    }
}
