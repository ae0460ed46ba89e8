//! Assignment of genes to species, and their initial weights in the space of macrogenes.

use super::SaturnInput;
use crate::error::{Result, TrainError};
use crate::inputs::data_spec::{DataSpec, MISSING, Role};
use crate::inputs::proteins::ProteinTable;
use sc_data::tokens::macrogenes::{self, Score};
use sc_models::saturn::SaturnConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Assignment of genes to species.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum GenesOf {
    /// Every species has its own copy of every gene: for files of one-to-one orthologues, or of a
    /// single species.
    #[default]
    Shared,
    /// The gene's name begins with the species' and a separator: `frog_tp53`.
    Prefix {
        /// The separator between species and symbol.
        separator: String,
        /// Prefix of a species, where it is not its name: `{ human = "hg19" }`.
        #[serde(default)]
        names: BTreeMap<String, String>,
    },
}

/// The name of the species without a species column.
const ONLY: &str = "cells";

/// Species, their genes among those of the vocabulary, and the proteins of these genes.
#[derive(Clone, Debug)]
pub struct SpeciesGenes {
    /// Names of species, ascending.
    pub names: Vec<String>,
    /// For every species and gene of the vocabulary the gene's index within the species.
    pub columns: Vec<Vec<Option<u32>>>,
    /// Dimension of a gene's vector.
    pub dim: usize,
    /// Vectors of the genes of every species, including those without one.
    tables: Vec<ProteinTable>,
    /// Cached result of [`Self::proteins`].
    proteins: OnceLock<Vec<f32>>,
    /// For every code of the species column its index in `names`.
    codes: Vec<usize>,
}

impl SpeciesGenes {
    /// Assigns the genes of the vocabulary; those without a vector are left out.
    ///
    /// # Errors
    /// A gene without a species prefix, an invalid file of vectors, or vectors of
    /// different lengths.
    pub fn new(data: &DataSpec, input: &SaturnInput) -> Result<Self> {
        let levels = data.levels.get(&Role::Species);
        let levels = levels.cloned().unwrap_or_else(|| vec![ONLY.to_string()]);
        let mut names = levels.clone();
        names.sort();
        let place = |level: &String| names.partition_point(|n| n < level);
        let codes = levels.iter().map(place).collect();
        if let Some(name) = input.species_proteins.keys().find(|k| !names.contains(k)) {
            return Err(TrainError::Config(format!(
                "saturn: input.species_proteins has '{name}', but the species are {}",
                names.join(", ")
            )));
        }
        let mut columns = Vec::new();
        let (mut dim, mut tables) = (0, Vec::new());
        let owners = owners(&names, &data.genes, &input.genes)?;
        for (species, name) in names.iter().enumerate() {
            let own: Vec<(usize, String)> = owners
                .iter()
                .enumerate()
                .filter(|(_, (owner, _))| owner.is_none_or(|o| o == species))
                .map(|(g, (_, symbol))| (g, symbol.clone()))
                .collect();
            let symbols: Vec<String> = own.iter().map(|(_, s)| s.clone()).collect();
            if symbols.is_empty() {
                return Err(TrainError::Config(format!(
                    "saturn: no gene of the vocabulary is of species '{name}'; remove its cells, or set \
                     its prefix in input.genes.names"
                )));
            }
            let source = input.species_proteins.get(name).unwrap_or(&input.proteins);
            let table = source.of(&symbols)?;
            if dim != 0 && dim != table.dim {
                return Err(TrainError::Config(format!(
                    "saturn: protein embeddings of {name} have {} dimensions, those of the species before {}; all \
                     must come from one protein model",
                    table.dim, dim
                )));
            }
            dim = table.dim;
            let mut column = vec![None; data.genes.len()];
            let known = own.iter().zip(&table.known).filter(|(_, k)| **k);
            for (next, ((gene, _), _)) in (0..).zip(known) {
                column[*gene] = Some(next);
            }
            columns.push(column);
            tables.push(table);
        }
        Ok(Self {
            names,
            columns,
            dim,
            tables,
            proteins: OnceLock::new(),
            codes,
        })
    }

    /// Vectors of the genes that have one, species by species, `[genes, dim]` row-major.
    pub fn proteins(&self) -> &[f32] {
        let known = |t: &ProteinTable| t.vectors((0..t.known.len()).filter(|&g| t.known[g]));
        self.proteins
            .get_or_init(|| self.tables.iter().flat_map(known).collect())
    }

    /// The species of a cell of the file.
    ///
    /// # Errors
    /// [`TrainError::Config`] when there are several species and the cell has none.
    pub fn species(&self, code: u32, row: usize) -> Result<usize> {
        if self.names.len() == 1 {
            return Ok(0);
        }
        let known = self.codes.get(code as usize).filter(|_| code != MISSING);
        known.copied().ok_or_else(|| {
            TrainError::Config(format!(
                "saturn: the species of the cell in row {row} is unknown; there are {}, and \
                 the species column of obs must be in the file",
                self.names.join(", ")
            ))
        })
    }

    /// Initial macrogene weights, `[macrogenes, genes]` row-major.
    ///
    /// # Errors
    /// Vectors that are not finite.
    pub fn weights(&self, network: &SaturnConfig, score: Score, seed: u64) -> Result<Vec<f32>> {
        let proteins = self.proteins();
        let start = macrogenes::start(proteins, self.dim, network.macrogenes, score, seed);
        Ok(start?)
    }
}

/// Species and symbol of every gene; without a species a gene belongs to every species.
fn owners(
    names: &[String],
    genes: &[String],
    of: &GenesOf,
) -> Result<Vec<(Option<usize>, String)>> {
    let GenesOf::Prefix {
        separator,
        names: called,
    } = of
    else {
        return Ok(genes.iter().map(|g| (None, g.clone())).collect());
    };
    if let Some(name) = called.keys().find(|k| !names.contains(k)) {
        return Err(TrainError::Config(format!(
            "saturn: input.genes.names has '{name}', but the species are {}",
            names.join(", ")
        )));
    }
    let words: Vec<&String> = names.iter().map(|n| called.get(n).unwrap_or(n)).collect();
    genes
        .iter()
        .map(|gene| {
            let symbol = |word: &str| gene.strip_prefix(word)?.strip_prefix(separator.as_str());
            // The longest prefix wins, should one begin with another.
            let fits = words.iter().enumerate();
            let fits = fits.filter_map(|(i, w)| Some((w.len(), i, symbol(w)?)));
            let (_, owner, symbol) = fits.max().ok_or_else(|| {
                TrainError::Config(format!(
                    "saturn: gene '{gene}' does not begin with a species and '{separator}'; expected one of {}",
                    words
                        .iter()
                        .map(|w| w.as_str())
                        .collect::<Vec<_>>()
                        .join(", ")
                ))
            })?;
            Ok((Some(owner), symbol.to_string()))
        })
        .collect()
}
