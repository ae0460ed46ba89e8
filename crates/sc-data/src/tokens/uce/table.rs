//! Tokens from `species_chrom.csv` and the keys of the protein embeddings (reference B1).

use std::collections::{BTreeSet, HashMap};

use super::Located;
use crate::error::{DataError, Result};

/// A row of `species_chrom.csv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChromosomeRow {
    /// Species, as in `human`.
    pub species: String,
    /// Gene symbol, in upper case.
    pub symbol: String,
    /// Chromosome or scaffold.
    pub chromosome: String,
    /// Start of the gene on it.
    pub start: u64,
}

/// Genes of one species.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeciesTable {
    offset: u32,
    token: HashMap<String, u32>,
    place: HashMap<String, (u32, u64)>,
}

impl SpeciesTable {
    /// Builds the table of `species` from all rows of the file: chromosomes are numbered over all
    /// species, in the order of `species_chromosome` as text. `keys` are the genes with a protein
    /// embedding, in the order of the embeddings; the first has the token `offset`.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when no row is of that species.
    pub fn new(
        rows: &[ChromosomeRow],
        species: &str,
        keys: &[String],
        offset: u32,
    ) -> Result<Self> {
        let name = |r: &ChromosomeRow| format!("{}_{}", r.species, r.chromosome);
        let all: BTreeSet<String> = rows.iter().map(name).collect();
        let codes: HashMap<String, u32> = all.into_iter().zip(0..).collect();
        let mut place = HashMap::new();
        for row in rows.iter().filter(|r| r.species == species) {
            let code = codes.get(&name(row)).copied().unwrap_or_default();
            // For a symbol with several rows the first is used.
            place.entry(row.symbol.clone()).or_insert((code, row.start));
        }
        if place.is_empty() {
            return Err(DataError::invalid(format!(
                "the chromosome table has no gene of '{species}'; its species are {}",
                species_of(rows)
            )));
        }
        let token = keys.iter().cloned().zip(0..).collect();
        Ok(Self {
            offset,
            token,
            place,
        })
    }

    /// The position of a gene, by its symbol in any case; `None` without a protein embedding or a
    /// position.
    pub fn get(&self, symbol: &str) -> Option<Located> {
        let symbol = symbol.to_uppercase();
        let token = self.offset + self.token.get(&symbol)?;
        let &(chromosome, start) = self.place.get(&symbol)?;
        Some(Located {
            token,
            chromosome,
            start,
        })
    }
}

/// The positions of a file's genes.
///
/// # Errors
/// [`DataError::Invalid`] when none has a position.
pub fn locate(table: &SpeciesTable, symbols: &[String]) -> Result<Vec<Option<Located>>> {
    let located: Vec<_> = symbols.iter().map(|s| table.get(s)).collect();
    if located.iter().all(Option::is_none) {
        return Err(DataError::invalid(format!(
            "none of the {} genes has a protein embedding and a position on a chromosome; UCE needs gene \
             symbols of the chosen species",
            symbols.len()
        )));
    }
    Ok(located)
}

fn species_of(rows: &[ChromosomeRow]) -> String {
    let known: BTreeSet<&str> = rows.iter().map(|r| &*r.species).collect();
    match known.len() {
        0 => "no species".into(),
        _ => known.into_iter().collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chromosomes_are_numbered_as_text_over_all_species() {
        let row = |species: &str, symbol: &str, chromosome: &str, start| ChromosomeRow {
            species: species.into(),
            symbol: symbol.into(),
            chromosome: chromosome.into(),
            start,
        };
        let rows = [
            row("human", "TP53", "17", 7_661_779),
            row("human", "ALB", "4", 73_397_114),
            row("frog", "ALB", "2", 5),
        ];
        let keys = ["ALB".to_owned(), "TP53".to_owned()];
        let table = SpeciesTable::new(&rows, "human", &keys, 100).unwrap();
        // frog_2, human_17, human_4.
        let expected = Located {
            token: 101,
            chromosome: 1,
            start: 7_661_779,
        };
        assert_eq!(table.get("tp53"), Some(expected));
        assert_eq!(table.get("INS"), None);
        assert!(locate(&table, &["INS".into()]).is_err());
        let error = SpeciesTable::new(&rows, "pig", &keys, 0).unwrap_err();
        assert!(error.to_string().contains("frog, human"), "{error}");
    }
}
