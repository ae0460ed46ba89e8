//! Gene names: their kind, their organism, and how a file's genes match a model's.

use std::collections::HashMap;

use crate::error::{DataError, Result};

pub mod features;
mod guess;
mod matching;
pub mod ontology;
mod table;
pub mod vocab;

pub use guess::{IdKind, Organism, guess};
pub use matching::{Across, GeneMatch, MatchCounts, match_genes};
#[cfg(feature = "files")]
pub use matching::{match_file, symbols};
pub use table::{Gene, NameKind, lookup};

/// A gene name as given, with its normal form for comparison.
///
/// Ensembl ids lose their version and the symbol before them (`TP53_ENSG00000141510.12` →
/// `ENSG00000141510`); everything else is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GeneId {
    given: String,
}

impl GeneId {
    /// Parses a name.
    pub fn new(given: impl Into<String>) -> Self {
        Self {
            given: given.into(),
        }
    }

    /// The name as it was given.
    pub fn given(&self) -> &str {
        &self.given
    }

    /// The normal form.
    pub fn normal(&self) -> &str {
        normal_form(&self.given)
    }
}

/// A name without the version of an Ensembl id, and without a symbol joined before the id.
pub fn normal_form(name: &str) -> &str {
    // Symbol and id are joined where symbols alone would not be unique.
    let id = name.rsplit_once('_').map_or(name, |(_, id)| id);
    let plain = match id.rsplit_once('.') {
        Some((stem, version))
            if !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()) =>
        {
            stem
        }
        _ => id,
    };
    if is_ensembl(plain) { plain } else { name }
}

/// Whether a name has the form of an Ensembl gene id: `ENS`, a species infix, `G`, 11 digits.
fn is_ensembl(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("ENS") else {
        return false;
    };
    let digits = rest.trim_start_matches(|c: char| c.is_ascii_uppercase());
    let infix = &rest[..rest.len() - digits.len()];
    infix.ends_with('G') && digits.len() == 11 && digits.bytes().all(|b| b.is_ascii_digit())
}

/// An ordered list of distinct gene names, such as the vocabulary of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vocabulary {
    names: Vec<String>,
    position: HashMap<String, u32>,
}

impl Vocabulary {
    /// A vocabulary of these names.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when a name is duplicated (after the version of an Ensembl id is
    /// dropped).
    pub fn new(names: Vec<String>) -> Result<Self> {
        let mut position = HashMap::with_capacity(names.len());
        for (k, name) in names.iter().enumerate() {
            if position
                .insert(normal_form(name).to_owned(), k as u32)
                .is_some()
            {
                return Err(DataError::invalid(format!(
                    "gene '{name}' is in the vocabulary twice"
                )));
            }
        }
        Ok(Self { names, position })
    }

    /// Number of genes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Position of a gene, by its normal form.
    pub fn get(&self, name: &str) -> Option<u32> {
        self.position.get(normal_form(name)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|&n| n.to_owned()).collect()
    }

    #[test]
    fn versions_of_ensembl_ids_are_dropped_and_others_kept() {
        assert_eq!(
            GeneId::new("ENSG00000141510.12").normal(),
            "ENSG00000141510"
        );
        assert_eq!(
            GeneId::new("ENSMUSG00000059552.3").normal(),
            "ENSMUSG00000059552"
        );
        assert_eq!(GeneId::new("RP11-34P13.7").normal(), "RP11-34P13.7");
        assert_eq!(GeneId::new("NKX2.1").given(), "NKX2.1");
    }

    #[test]
    fn kinds_and_organisms_are_told_apart() {
        let guess = |names: &[&str]| super::guess(&strings(names));
        assert_eq!(
            guess(&["TP53", "INS", "MT-CO1"]),
            (IdKind::Symbol, Organism::Human)
        );
        assert_eq!(
            guess(&["Trp53", "Ins1", "mt-Co1"]),
            (IdKind::Symbol, Organism::Mouse)
        );
        assert_eq!(
            guess(&["ENSMUSG00000059552"]),
            (IdKind::Ensembl, Organism::Mouse)
        );
        assert_eq!(
            guess(&["chr1:100-200", "chr2:5-9"]),
            (IdKind::Peak, Organism::Unknown)
        );
        assert_eq!(
            guess(&["hg19_ENSG00000141510", "mm10_ENSMUSG00000059552"]),
            (IdKind::Ensembl, Organism::HumanAndMouse)
        );
    }
}
