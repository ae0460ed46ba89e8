//! UCE's `.torch` files: one state dictionary with the table of all species in it.
//!
//! A model here has one species: of the 145,469 rows of the table those of its genes and
//! chromosomes are kept.

use crate::error::{Result, TrainError};
use crate::import::{Files, PublishedFile, distinct, gene_list, unpublished, weight_file};
use crate::inputs::data_spec::GenePosition;
use crate::model::Model;
use sc_data::genes::vocab::chromosome_rows;
use sc_data::tokens::uce::SpeciesTable;
use sc_models::uce::PaddingMode;
use sc_models::weights::Checkpoint;
use serde_json::json as object;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::FIRST_GENE;

const TABLE: &str = "pe_embedding.weight";
/// Dimension of a head in both published models.
const HEAD: usize = 64;

/// Reads the weights, and the rows of the table that one species needs.
pub(super) fn import(files: &Files) -> Result<Model> {
    let path = weight_file(&files.weights, &[".torch"])?;
    let genes = gene_list(
        files.vocabulary.as_ref(),
        &path,
        "the gene symbols of the species in the order of its protein embeddings",
    )?;
    let missing = |what: &str, needs| unpublished(&path, format!("does not say {what}"), needs);
    let offset = files.offset.ok_or_else(|| {
        let what = "where the genes of the species begin; give the token of the first";
        missing(what, PublishedFile::Offset)
    })?;
    let chromosomes = files.chromosomes.as_ref().ok_or_else(|| {
        let what = "the positions of genes; give species_chrom.csv";
        missing(what, PublishedFile::Chromosomes)
    })?;
    let all = chromosome_rows(chromosomes)?;
    let upper: Vec<String> = genes.iter().map(|g| g.to_uppercase()).collect();
    let located = SpeciesTable::new(&all, &files.species, &upper, offset)?;
    let scaffolds: BTreeSet<(&str, &str)> = all
        .iter()
        .map(|r| (r.species.as_str(), r.chromosome.as_str()))
        .collect();

    let mut checkpoint = Checkpoint::open(&path)?;
    let total = checkpoint.rows(TABLE);
    let first = total.checked_sub(scaffolds.len());
    let first = first
        .filter(|f| *f >= offset as usize + genes.len())
        .ok_or_else(|| {
            TrainError::file(
                &path,
                format!(
                    "{TABLE} has {total} rows, too few for {} genes from token {offset} on and {} \
                 chromosomes; the tables belong to another model",
                    genes.len(),
                    scaffolds.len()
                ),
            )
        })?;
    let kept: Vec<usize> = distinct(&genes)
        .into_iter()
        .filter(|&i| located.get(&genes[i]).is_some())
        .collect();
    if kept.is_empty() {
        let what = format!("none of the {} genes has a position", genes.len());
        return Err(TrainError::file(chromosomes, what));
    }
    let found: Vec<_> = kept
        .iter()
        .filter_map(|&i| located.get(&genes[i]))
        .collect();
    let codes: BTreeSet<u32> = found.iter().map(|g| g.chromosome).collect();
    let codes: Vec<u32> = codes.into_iter().collect();
    let mut order: Vec<usize> = (0..FIRST_GENE as usize).collect();
    order.extend(found.iter().map(|g| g.token as usize));
    order.extend(codes.iter().map(|&c| first + c as usize));
    let table = checkpoint.take_rows(TABLE, &order)?;

    let rows_of = |name: &str| checkpoint.rows(name);
    let width = rows_of("encoder.0.weight");
    let binary = [0, 1, 2].map(|i| rows_of(&format!("binary_decoder.{i}.0.weight")));
    let network = object!({
        "max_length": rows_of("pos_encoder.pe"),
        "width": width,
        "layers": checkpoint.count("transformer_encoder.layers."),
        "heads": files.heads.unwrap_or((width / HEAD).max(1)),
        "feed_forward": rows_of("transformer_encoder.layers.0.linear1.weight"),
        "output": rows_of("decoder.3.weight"),
        "decoder_hidden": rows_of("decoder.0.0.weight"),
        "binary_hidden": binary,
        // As the weights were trained.
        "padding": PaddingMode::Compat,
    });
    let max_genes = rows_of("pos_encoder.pe").saturating_sub(1 + 2 * codes.len());
    let input = object!({
        "sample": max_genes.min(1024),
        "proteins": { "kind": "random", "dim": table.shape[1] },
        "species": files.species,
    });
    let names = kept.iter().map(|&i| genes[i].clone()).collect();
    let mut model = Model::published("uce", (network, input), names, path);
    let positions = found.iter().map(|g| {
        Some(GenePosition {
            chromosome: codes.partition_point(|c| *c < g.chromosome) as u32,
            start: g.start,
        })
    });
    model.data.positions = Arc::new(positions.collect());
    model.weights = checkpoint.into_tensors("module.")?;
    model.weights.insert(TABLE.into(), table);
    Ok(model)
}
