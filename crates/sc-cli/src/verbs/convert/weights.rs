//! Published weights as a model folder.

use crate::args::Convert;
use crate::error::{Result, at, message};
use crate::hints::names;
use sc_data::io::atomic::hash_file;
use sc_data::io::manifest::Manifest;
use sc_models::device::DEFAULT;
use sc_train::import::{Files, PublishedFile, read_by};
use sc_train::registry::{ARCHITECTURES, find};

/// The species of UCE's weights, unless another is named.
const HUMAN: &str = "human";

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
            "--from {name}: no published weights are supported; available: {}",
            known()
        ))
    })?;
    only_what_is_read(args, name)?;
    let files = Files {
        weights: args.file.clone(),
        config: wanted.config.clone(),
        vocabulary: wanted.vocab.clone(),
        chromosomes: wanted.chromosomes.clone(),
        species: wanted.species.clone().unwrap_or_else(|| HUMAN.to_owned()),
        offset: wanted.offset,
        means: wanted.means.clone(),
        heads: wanted.heads,
    };
    args.replace
        .check_folder(&args.output, &[args.file.as_path()])?;
    let model = import(&files)?;
    let hash = hash_file(&model.file)?;
    let device = sc_models::device::open(DEFAULT)?;
    model.check(&device).map_err(|e| at(&args.file, e))?;
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

/// Refuses flags that the architecture called `name` does not read: they were meant for another.
fn only_what_is_read(args: &Convert, name: &str) -> Result<()> {
    if args.matrix.counts.is_some() || args.matrix.assume_normalized {
        return Err(message(
            "--counts and --assume-normalized choose a matrix of cells, and --from reads weights; \
             leave them \
             out",
        ));
    }
    let wanted = &args.weights;
    let given = [
        (PublishedFile::Config, wanted.config.is_some()),
        (PublishedFile::Vocabulary, wanted.vocab.is_some()),
        (PublishedFile::Chromosomes, wanted.chromosomes.is_some()),
        (PublishedFile::Species, wanted.species.is_some()),
        (PublishedFile::Offset, wanted.offset.is_some()),
        (PublishedFile::Means, wanted.means.is_some()),
        (PublishedFile::Heads, wanted.heads.is_some()),
    ];
    let read = read_by(name);
    match given
        .iter()
        .find(|(what, given)| *given && !read.contains(what))
    {
        None => Ok(()),
        Some((what, _)) => {
            let read: Vec<&str> = read.iter().map(|what| names(*what)).collect();
            Err(message(format!(
                "--from {name} does not read {}; it reads {}",
                names(*what),
                read.join(", ")
            )))
        }
    }
}
