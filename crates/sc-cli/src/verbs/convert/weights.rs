//! Published weights as a model folder.

use crate::args::Convert;
use crate::error::{Result, at, message};
use crate::folder::{self, Genes, ModelConfig, SCHEMA};
use crate::manifest::Manifest;
use sc_data::atomic::hash_file;
use sc_models::device::DEFAULT;
use sc_train::import::Files;
use sc_train::registry::{ARCHITECTURES, find};

/// Reads the publisher's files, checks every tensor, and writes the folder.
pub(super) fn convert(args: &Convert) -> Result<()> {
    let wanted = &args.weights;
    let known = || {
        let names = ARCHITECTURES.iter().filter(|a| a.import.is_some());
        names.map(|a| a.name).collect::<Vec<_>>().join(", ")
    };
    let name = wanted
        .from
        .as_deref()
        .ok_or_else(|| message(format!("--to model needs --from with one of: {}", known())))?;
    let import = find(name).and_then(|a| a.import).ok_or_else(|| {
        message(format!(
            "--from {name}: no published weights are read for it; there are: {}",
            known()
        ))
    })?;
    let files = Files {
        weights: args.input.file.clone(),
        config: wanted.config.clone(),
        vocabulary: wanted.vocab.clone(),
        chromosomes: wanted.chromosomes.clone(),
        species: wanted.species.clone(),
        offset: wanted.offset,
        means: wanted.means.clone(),
        heads: wanted.heads,
    };
    let imported = import(&files)?;
    let hash = hash_file(&imported.file)?;
    let device = sc_models::device::open(DEFAULT)?;
    imported
        .check(&device)
        .map_err(|e| at(&args.input.file, e))?;
    let config = ModelConfig {
        schema: SCHEMA,
        spec: imported.spec,
        batches: imported.batches,
        levels: imported.levels,
        same_size: None,
        seed: 0,
        genes_blake3: None,
    };
    let genes = Genes {
        names: imported.genes,
        means: imported.means,
        largest: Vec::new(),
        places: imported.places,
    };
    let task = config.task(&genes)?;
    let manifest = Manifest::new(&hash, serde_json::to_value(&config)?, 0, DEFAULT).close()?;
    std::fs::create_dir_all(&args.output).map_err(|e| at(&args.output, e))?;
    let output = &args.output;
    let tokenizer = task.tokenizer();
    folder::write(
        output,
        &config,
        &genes,
        &imported.weights,
        &tokenizer,
        &manifest,
    )?;
    let values: usize = imported.weights.values().map(|t| t.data.len()).sum();
    println!(
        "{name}: {} tensors of {values} values, {} genes; embed with --model {}",
        imported.weights.len(),
        genes.names.len(),
        output.display()
    );
    Ok(())
}
