//! Gene names: what kind they are, whose they are, and how a file's genes meet a model's.

use std::collections::HashMap;

use crate::counts::RawCounts;
use crate::error::{DataError, Result};
use crate::h5ad::{H5ad, MatrixSlot};
use crate::sparse::CsrMatrix;

mod guess;
mod table;

pub use guess::{IdKind, Organism, guess};
pub use table::{Gene, NameKind, lookup};

/// A gene name as given, with the form it is compared by.
///
/// Ensembl ids lose their version (`ENSG00000141510.12` → `ENSG00000141510`); everything else is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GeneId {
    given: String,
    normal: usize,
}

impl GeneId {
    /// Takes a name as given.
    pub fn new(given: impl Into<String>) -> Self {
        let given = given.into();
        let normal = normal_form(&given).len();
        Self { given, normal }
    }

    /// The name as it was given.
    pub fn given(&self) -> &str {
        &self.given
    }

    /// The form it is compared by.
    pub fn normal(&self) -> &str {
        &self.given[..self.normal]
    }
}

/// A name without the version of an Ensembl id.
pub fn normal_form(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, version))
            if is_ensembl(stem)
                && !version.is_empty()
                && version.bytes().all(|b| b.is_ascii_digit()) =>
        {
            stem
        }
        _ => name,
    }
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

/// An ordered list of distinct gene names, such as a model was trained with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vocabulary {
    names: Vec<String>,
    position: HashMap<String, u32>,
}

impl Vocabulary {
    /// A vocabulary of these names.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when a name comes twice (after the version of an Ensembl id is dropped).
    pub fn new(names: Vec<String>) -> Result<Self> {
        let mut position = HashMap::with_capacity(names.len());
        for (k, name) in names.iter().enumerate() {
            if position
                .insert(normal_form(name).to_owned(), k as u32)
                .is_some()
            {
                return Err(DataError::invalid(format!(
                    "gene '{name}' comes twice in the vocabulary"
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

/// How a file's genes meet a vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneMatch {
    /// For each gene of the file, its position in the vocabulary.
    pub map: Vec<Option<u32>>,
    /// Number of genes of the vocabulary that the file has.
    pub matched: usize,
    /// Size of the vocabulary.
    pub vocabulary: usize,
    /// Names that several genes of the file share, and that the vocabulary has; their counts are
    /// summed.
    pub duplicates: Vec<String>,
    /// Where the names came from: `index` or a column of `var`.
    pub source: String,
}

impl GeneMatch {
    /// Counts with the genes of the vocabulary `[cells, vocabulary]`: genes the model does not know
    /// are dropped, counts of genes of the same name are summed.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when the number of genes differs from the file's.
    pub fn apply(&self, counts: &RawCounts) -> Result<RawCounts> {
        RawCounts::new(self.apply_matrix(counts.matrix())?)
    }

    /// The same for any values; those of genes of the same name are summed, which suits counts only.
    ///
    /// # Errors
    /// As [`GeneMatch::apply`].
    pub fn apply_matrix(&self, matrix: &CsrMatrix) -> Result<CsrMatrix> {
        matrix.sum_cols(&self.map, self.vocabulary)
    }
}

/// Matches the names of a file's genes with a vocabulary.
///
/// Ensembl ids are compared without their version, symbols exactly. Several genes of the file that
/// meet the same name are all mapped to it, so their counts are summed.
///
/// # Errors
/// [`DataError::Invalid`] when nothing matches; the message shows names of both sides and what they
/// look like.
pub fn match_genes(names: &[String], vocabulary: &Vocabulary) -> Result<GeneMatch> {
    let found = matching("index", names, vocabulary);
    if found.matched == 0 {
        return Err(DataError::invalid(no_match(names, vocabulary)));
    }
    Ok(found)
}

/// Columns of `var` that hold the other kind of name in files from common sources.
const NAME_COLUMNS: [&str; 8] = [
    "feature_name",
    "gene_symbols",
    "gene_symbol",
    "gene_name",
    "gene_ids",
    "gene_id",
    "ensembl_id",
    "ensemblid",
];

/// Matches the genes of one matrix of a file, trying the index first, then the columns of `var` that
/// usually hold names; the one that matches most genes is taken.
///
/// # Errors
/// [`DataError::File`] when nothing matches or names cannot be read.
pub fn match_file(file: &H5ad, slot: &MatrixSlot, vocabulary: &Vocabulary) -> Result<GeneMatch> {
    let index = file.gene_names(slot)?;
    let mut best = matching("index", &index, vocabulary);
    let frame = file.gene_frame(slot)?;
    // A column beats an index that matches well only by chance.
    if best.matched * 2 < vocabulary.len().min(index.len()) {
        for column in NAME_COLUMNS.iter().filter(|c| frame.has(c)) {
            let values = file.gene_column(slot, column)?;
            let names: Vec<String> = (0..values.len())
                .map(|i| values.text(i).unwrap_or_default())
                .collect();
            let found = matching(column, &names, vocabulary);
            if found.matched > best.matched {
                best = found;
            }
        }
    }
    if best.matched == 0 {
        return Err(DataError::file(file.path(), no_match(&index, vocabulary)));
    }
    Ok(best)
}

fn matching(source: &str, names: &[String], vocabulary: &Vocabulary) -> GeneMatch {
    let map: Vec<Option<u32>> = names.iter().map(|n| vocabulary.get(n)).collect();
    let mut times = vec![0u32; vocabulary.len()];
    for &to in map.iter().flatten() {
        times[to as usize] += 1;
    }
    let duplicates = times
        .iter()
        .zip(&vocabulary.names)
        .filter(|(t, _)| **t > 1)
        .map(|(_, n)| n.clone())
        .collect();
    GeneMatch {
        map,
        matched: times.iter().filter(|t| **t > 0).count(),
        vocabulary: vocabulary.len(),
        duplicates,
        source: source.to_owned(),
    }
}

fn no_match(names: &[String], vocabulary: &Vocabulary) -> String {
    let first = |names: &[String]| -> String {
        let shown: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
        if shown.is_empty() {
            "none".into()
        } else {
            shown.join(", ")
        }
    };
    let (kind, organism) = guess(names);
    let (wanted_kind, wanted) = guess(vocabulary.names());
    let reason = if kind != wanted_kind {
        "rename the genes, or put the other names into var['feature_name']"
    } else if organism != wanted {
        "map the genes to their orthologues first"
    } else {
        "check that the file belongs to this model"
    };
    format!(
        "no gene of the file is known to the model: the file has {organism} {kind} ({}), the model \
         {wanted} {wanted_kind} ({}); {reason}",
        first(names),
        first(vocabulary.names())
    )
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

    #[test]
    fn counts_of_duplicates_are_summed() {
        let vocabulary = Vocabulary::new(strings(&["A1", "B1"])).unwrap();
        let found = match_genes(&strings(&["B1", "C1", "A1", "B1"]), &vocabulary).unwrap();
        assert_eq!(
            (found.matched, &found.duplicates[..]),
            (2, &strings(&["B1"])[..])
        );
        let counts = RawCounts::new(CsrMatrix::from_dense(4, &[1.0, 5.0, 2.0, 3.0])).unwrap();
        assert_eq!(
            found.apply(&counts).unwrap().matrix().to_dense(),
            [2.0, 4.0]
        );
    }

    #[test]
    fn no_match_says_what_both_sides_look_like() {
        let vocabulary = Vocabulary::new(strings(&["ENSG00000141510", "ENSG00000254647"])).unwrap();
        let error = match_genes(&strings(&["ENSMUSG00000059552"]), &vocabulary).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("mouse Ensembl ids (ENSMUSG00000059552)"),
            "{error}"
        );
        assert!(error.contains("model human Ensembl ids"), "{error}");
    }
}
