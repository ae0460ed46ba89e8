//! `scfm pretrain`.

use crate::args::Pretrain;
use crate::cells::cell_keys;
use crate::error::{Result, at};
use crate::folder;
use crate::held_out::held_out;
use crate::manifest::Manifest;
use crate::memory;
use crate::packing;
use crate::presets;
use crate::settings;
use crate::source::Source;
use crate::training::{Cells, Plan};
use sc_data::identity::CellKeys;
use sc_train::ModelSpec;
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) fn run(args: &Pretrain) -> Result<()> {
    let table = presets::read(&args.config, &args.sets)?;
    let spec: ModelSpec = settings::parse(table, &args.config.display().to_string())?;
    spec.train.check()?;
    let device = sc_models::device::open(&args.device)?;
    let mut source = Source::open_all(&args.files, &args.from)?;
    let reads = spec.train.steps.saturating_mul(spec.train.minibatch as u64);
    let mut hashes = Vec::new();
    if !args.dry_run {
        for file in &args.files {
            hashes.push(sc_data::atomic::hash_file(file)?);
        }
        packing::prepare(&mut source, &hashes, &args.store, reads)?;
    }
    let batch = args.batch.as_deref();
    let held_out = held_out(&source, &args.hold_out, batch, args.seed)?;
    let rows = match &held_out {
        Some((_, split)) => split.train.clone(),
        None => (0..source.cells()).collect(),
    };
    let cells = Cells {
        rows,
        batches: source.batches(batch)?,
        // They are found by a pass over the counts, which a plan does without.
        keys: match args.dry_run {
            true => CellKeys::default(),
            false => cell_keys(&source)?,
        },
    };
    let plan = Plan::new(&source, spec, cells, &BTreeMap::new(), args.seed)?;
    let parameters = plan.task.parameters(&device)?;
    if let Some(warning) = small_batches(&plan) {
        eprintln!("{warning}");
    }
    memory::fits(parameters, memory::TRAINING, &args.device)?;
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
            plan.corpus.rows.len(),
            plan.config.batches.len(),
            source.slot()
        );
        if let Some((saved, split)) = &held_out {
            let of = match saved.is_by_cell() {
                true => "at random within labels".into(),
                false => format!("of {} {}", saved.donor, saved.test_donors.join(", ")),
            };
            println!("held out    {} cells {of}", split.test.len());
        }
        println!(
            "steps       {} of {} cells",
            spec.train.steps, spec.train.minibatch
        );
        println!(
            "memory      {:.0} MB for weights and optimiser",
            parameters as f64 * memory::TRAINING as f64 / 1e6
        );
        return Ok(());
    }
    if let Some(same) = &plan.config.same_size {
        eprintln!("{}: {same}", plan.config.spec.architecture);
    }
    free_for_training(&args.output)?;
    std::fs::create_dir_all(&args.output).map_err(|e| at(&args.output, e))?;
    let _lock = sc_data::atomic::lock_folder(&args.output)?;
    let hash = one_hash(&hashes);
    let config = serde_json::to_value(&plan.config)?;
    let mut manifest = Manifest::new(&hash, config, args.seed, &args.device);
    manifest.assumed = source.assumption().map(str::to_owned);
    let (weights, steps) = plan.train(&args.output, &hash, &device)?;
    let split = held_out.map(|(saved, _)| saved);
    if let Some(split) = &split {
        split.save(&args.output.join(folder::SPLIT))?;
    }
    manifest.training = Some(plan.record(&args.output, split, parameters, steps)?);
    println!(
        "trained {} for {steps} steps on {} cells; {parameters} parameters, {} genes, in {}",
        plan.config.spec.architecture,
        plan.corpus.rows.len(),
        plan.genes.names.len(),
        args.output.display()
    );
    folder::write(
        &args.output,
        &plan.config,
        &plan.genes,
        &weights,
        &plan.task.tokenizer(),
        &manifest.close()?,
    )
}

/// Refuses a folder that holds a model of which no checkpoint says that it is this one: it would be
/// replaced. Checkpoints say themselves whose they are.
fn free_for_training(folder: &Path) -> Result<()> {
    if folder.exists() && !folder.is_dir() {
        return Err(at(folder, "is a file; -o wants a folder for the model"));
    }
    let there = ["config.json", "model.safetensors"];
    let other = there.iter().find(|name| folder.join(name).exists());
    match other.filter(|_| !folder.join("checkpoints").is_dir()) {
        None => Ok(()),
        Some(name) => Err(at(
            folder,
            format!(
                "holds a {name}, which training would replace; name another folder (-o), or remove it first"
            ),
        )),
    }
}

/// What to know where batches are too small for a model whose minibatches are of one batch each.
fn small_batches(plan: &Plan) -> Option<String> {
    let spec = &plan.config.spec;
    if spec.architecture != "cellplm" {
        return None;
    }
    let (groups, small) = plan.corpus.groups(spec.train.minibatch);
    (small > 0 && groups.len() > 1).then(|| {
        format!(
            "cellplm: {small} of {} batches have fewer than {} cells, too few for a sentence of their \
             own; their cells share sentences",
            groups.len(),
            spec.train.minibatch.min(sc_train::corpus::FEW) / 2
        )
    })
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
