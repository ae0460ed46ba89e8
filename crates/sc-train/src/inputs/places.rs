//! Genomic positions of the genes of a vocabulary, for tokens along the chromosomes.

use crate::error::Result;
use crate::inputs::data_spec::DataSpec;
use sc_data::genes::vocab::chromosome_rows;
use sc_data::tokens::uce::{Located, SpeciesTable, locate};
use std::path::Path;

/// The position of every gene, its token counted from `first`: from the data, or from the rows of
/// `species` in a `species_chrom.csv`, or without a table all on one chromosome in the order of the
/// vocabulary. Codes of chromosomes begin at 0.
///
/// # Errors
/// When the table cannot be read or does not contain the species.
pub fn places(
    data: &DataSpec,
    table: Option<&Path>,
    species: &str,
    first: u32,
) -> Result<Vec<Option<Located>>> {
    let genes = data.genes.len();
    let mut located: Vec<Option<Located>> = match table {
        _ if data.positions.len() == genes => (first..)
            .zip(data.positions.iter())
            .map(|(token, place)| {
                place.map(|p| Located {
                    token,
                    chromosome: p.chromosome,
                    start: p.start,
                })
            })
            .collect(),
        Some(path) => {
            let rows = chromosome_rows(path)?;
            let keys: Vec<String> = data.genes.iter().map(|g| g.to_uppercase()).collect();
            let table = SpeciesTable::new(&rows, species, &keys, first)?;
            locate(&table, &data.genes)?
        }
        None => (0..genes as u32)
            .map(|g| {
                Some(Located {
                    token: first + g,
                    chromosome: 0,
                    start: u64::from(g),
                })
            })
            .collect(),
    };
    renumber(&mut located);
    Ok(located)
}

/// Renumbers the chromosomes in use from 0: a table's codes count those of all its species.
/// Returns their number.
pub fn renumber(located: &mut [Option<Located>]) -> usize {
    let mut codes: Vec<u32> = located.iter().flatten().map(|g| g.chromosome).collect();
    codes.sort_unstable();
    codes.dedup();
    for place in located.iter_mut().flatten() {
        place.chromosome = codes.partition_point(|c| *c < place.chromosome) as u32;
    }
    codes.len()
}
