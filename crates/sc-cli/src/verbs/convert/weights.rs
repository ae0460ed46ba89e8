//! Published weights as a model folder.

use crate::args::Convert;
use crate::error::{Result, at, message};
use sc_data::io::atomic::hash_file;
use sc_data::io::manifest::Manifest;
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
    args.replace
        .check_folder(&args.output, &[args.input.file.as_path()])?;
    let model = import(&files)?;
    let hash = hash_file(&model.file)?;
    let device = sc_models::device::open(DEFAULT)?;
    model.check(&device).map_err(|e| at(&args.input.file, e))?;
    let config = model.config_json()?;
    let manifest = Manifest::new(env!("SCFM_REVISION"), &hash, config, (0, DEFAULT)).close()?;
    let output = &args.output;
    std::fs::create_dir_all(output).map_err(|e| at(output, e))?;
    model.save(output, &manifest)?;
    let values: usize = model.weights.values().map(|t| t.data.len()).sum();
    println!(
        "{name}: {} tensors of {values} values, {} genes; embed with --model {}",
        model.weights.len(),
        model.data.genes.len(),
        output.display()
    );
    Ok(())
}
