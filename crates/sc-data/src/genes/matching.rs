//! Matching a file's genes to a model's.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

#[cfg(feature = "files")]
use super::IdKind;
use super::table::{Gene, NameKind, lookup};
use super::{Organism, Vocabulary, guess};
use crate::counts::RawCounts;
use crate::error::{DataError, GenesWayOut, Result};
#[cfg(feature = "files")]
use crate::io::h5ad::{H5ad, MatrixSlot};
use crate::sparse::CsrMatrix;

/// Whether genes of one organism may be matched to those of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Across {
    /// No: the organisms must be the same.
    #[default]
    Same,
    /// Yes, by one-to-one orthologues of human and mouse.
    Orthologs,
}

/// Genes of the vocabulary that were matched, by how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchCounts {
    /// By the same name.
    pub name: usize,
    /// By the Ensembl id of a symbol, or the symbol of an id.
    pub translated: usize,
    /// By a former symbol or an alias.
    pub former: usize,
    /// By a one-to-one orthologue.
    pub ortholog: usize,
}

/// How a file's genes match a vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneMatch {
    /// For each gene of the file, its position in the vocabulary.
    pub map: Vec<Option<u32>>,
    /// Number of genes of the vocabulary that the file has.
    pub matched: usize,
    /// Size of the vocabulary.
    pub vocabulary: usize,
    /// Names of the vocabulary shared by several genes of the file; their counts are
    /// summed.
    pub duplicates: Vec<String>,
    /// Where the names came from: `index` or a column of `var`.
    pub source: String,
    /// How the genes were matched.
    pub found: MatchCounts,
}

impl GeneMatch {
    /// Counts of the genes of the vocabulary `[cells, vocabulary]`: genes outside the vocabulary
    /// are dropped, counts of genes with the same name are summed.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when the number of genes differs from the file's.
    pub fn apply(&self, counts: &RawCounts) -> Result<RawCounts> {
        RawCounts::new(self.apply_matrix(counts.matrix())?)
    }

    /// The same for any values; those of genes with the same name are summed, which suits counts
    /// only.
    ///
    /// # Errors
    /// As [`GeneMatch::apply`].
    pub fn apply_matrix(&self, matrix: &CsrMatrix) -> Result<CsrMatrix> {
        matrix.sum_cols(&self.map, self.vocabulary)
    }
}

/// Matches the names of a file's genes with a vocabulary.
///
/// Equal names match first, Ensembl ids compared without their version. What is left is looked up in
/// the built-in tables: symbols and ids of the same gene, former symbols, aliases, and with
/// [`Across::Orthologs`] the one-to-one orthologues of the other organism. For each gene of the
/// vocabulary only the most reliable of these is used; several genes of the file that match equally
/// well are all mapped to it, so their counts are summed.
///
/// # Errors
/// [`DataError::Genes`] when nothing matches; the message shows names from both sides and their
/// kinds.
pub fn match_genes(names: &[String], vocabulary: &Vocabulary, across: Across) -> Result<GeneMatch> {
    let found = matching("index", names, vocabulary, across);
    if found.matched == 0 {
        return Err(no_match(names, vocabulary));
    }
    Ok(found)
}

/// Columns of `var` with alternative gene names in files from common sources.
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
/// usually hold names; the one that matches most genes is used.
///
/// # Errors
/// [`DataError::File`] when nothing matches or names cannot be read.
#[cfg(feature = "files")]
pub fn match_file(
    file: &H5ad,
    slot: &MatrixSlot,
    vocabulary: &Vocabulary,
    across: Across,
) -> Result<GeneMatch> {
    let index = file.gene_names(slot)?;
    let mut best = matching("index", &index, vocabulary, across);
    let frame = file.gene_frame(slot)?;
    // A column is better than an index that matches well only by chance.
    if best.matched * 2 < vocabulary.len().min(index.len()) {
        for column in NAME_COLUMNS.iter().filter(|c| frame.has(c)) {
            let values = file.gene_column(slot, column)?;
            let names: Vec<String> = (0..values.len())
                .map(|i| values.text(i).unwrap_or_default())
                .collect();
            let found = matching(column, &names, vocabulary, across);
            if found.matched > best.matched {
                best = found;
            }
        }
    }
    if best.matched == 0 {
        return Err(no_match(&index, vocabulary).in_file(file.path()));
    }
    Ok(best)
}

/// Symbols of the genes of one matrix of a file: the index, or the first of the usual columns of `var`
/// where the index holds ids.
///
/// # Errors
/// [`DataError::File`] when names cannot be read.
#[cfg(feature = "files")]
pub fn symbols(file: &H5ad, slot: &MatrixSlot) -> Result<Vec<String>> {
    let index = file.gene_names(slot)?;
    if guess(&index).0 == IdKind::Symbol {
        return Ok(index);
    }
    let frame = file.gene_frame(slot)?;
    for column in NAME_COLUMNS.iter().filter(|c| frame.has(c)) {
        let values = file.gene_column(slot, column)?;
        let names: Vec<String> = (0..values.len())
            .map(|i| values.text(i).unwrap_or_default())
            .collect();
        if guess(&names).0 == IdKind::Symbol {
            return Ok(names);
        }
    }
    Ok(index)
}

impl GeneMatch {
    /// Genes matched, as a share of the smaller side.
    pub fn overlap(&self) -> f64 {
        let possible = self.vocabulary.min(self.map.len()).max(1);
        self.matched as f64 / possible as f64
    }

    /// Refuses an overlap below `least`.
    ///
    /// # Errors
    /// [`DataError::Genes`] with both numbers.
    pub fn require(&self, least: f64) -> Result<()> {
        if self.overlap() >= least {
            return Ok(());
        }
        let message = format!(
            "only {} of the model's {} genes are among the {} of the file ({:.0} % of those possible, \
             {:.0} % are required): check names and organism, or require fewer",
            self.matched,
            self.vocabulary,
            self.map.len(),
            100.0 * self.overlap(),
            100.0 * least
        );
        Err(DataError::Genes {
            path: None,
            message,
            way_out: GenesWayOut::LowerOverlap,
        })
    }
}

/// How a gene of the vocabulary was matched, the most reliable first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    Name,
    Translated,
    Former,
    Ortholog,
}

fn matching(source: &str, names: &[String], vocabulary: &Vocabulary, across: Across) -> GeneMatch {
    let mut map: Vec<Option<u32>> = names.iter().map(|n| vocabulary.get(n)).collect();
    let mut how: Vec<Option<How>> = vec![None; vocabulary.len()];
    for &to in map.iter().flatten() {
        how[to as usize] = Some(How::Name);
    }
    if how.iter().any(Option::is_none) {
        let found = by_table(names, vocabulary, across, &map);
        // The most reliable match of each gene of the vocabulary, then every gene of the file with
        // it.
        for &(_, to, way) in &found {
            let slot = &mut how[to as usize];
            *slot = Some(slot.map_or(way, |before| before.min(way)));
        }
        for (gene, to, way) in found {
            if how[to as usize] == Some(way) {
                map[gene] = Some(to);
            }
        }
    }
    let mut times = vec![0u32; vocabulary.len()];
    for &to in map.iter().flatten() {
        times[to as usize] += 1;
    }
    let duplicates = times
        .iter()
        .zip(vocabulary.names())
        .filter(|(t, _)| **t > 1)
        .map(|(_, n)| n.clone())
        .collect();
    let count = |way| how.iter().filter(|h| **h == Some(way)).count();
    GeneMatch {
        map,
        matched: times.iter().filter(|t| **t > 0).count(),
        vocabulary: vocabulary.len(),
        duplicates,
        source: source.to_owned(),
        found: MatchCounts {
            name: count(How::Name),
            translated: count(How::Translated),
            former: count(How::Former),
            ortholog: count(How::Ortholog),
        },
    }
}

/// Genes of the file without a match (`map`), their positions in the vocabulary by the built-in
/// tables.
fn by_table(
    names: &[String],
    vocabulary: &Vocabulary,
    across: Across,
    map: &[Option<u32>],
) -> Vec<(usize, u32, How)> {
    let (ours, theirs) = (guess(names).1, guess(vocabulary.names()).1);
    if ours != theirs && across == Across::Same {
        return Vec::new();
    }
    let mut places: HashMap<Gene, (NameKind, u32)> = HashMap::new();
    for (at, name) in (0u32..).zip(vocabulary.names()) {
        if let Some((gene, kind)) = lookup(name, theirs) {
            let place = places.entry(gene).or_insert((kind, at));
            if kind < place.0 {
                *place = (kind, at);
            }
        }
    }
    let mut found = Vec::new();
    for (k, name) in names.iter().enumerate().filter(|(k, _)| map[*k].is_none()) {
        let Some((mut gene, kind)) = lookup(name, ours) else {
            continue;
        };
        if ours != theirs {
            match gene.ortholog() {
                Some(other) if other.organism() == theirs => gene = other,
                _ => continue,
            }
        }
        if let Some(&(place_kind, to)) = places.get(&gene) {
            let way = match kind.max(place_kind) {
                _ if ours != theirs => How::Ortholog,
                NameKind::Id | NameKind::Symbol => How::Translated,
                NameKind::Previous | NameKind::Alias => How::Former,
            };
            found.push((k, to, way));
        }
    }
    found
}

fn no_match(names: &[String], vocabulary: &Vocabulary) -> DataError {
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
    let known = |o: Organism| matches!(o, Organism::Human | Organism::Mouse);
    let mut way_out = GenesWayOut::OtherNames;
    let reason = if let Some(untidy) = untidy(names) {
        untidy
    } else if known(organism) && known(wanted) && organism != wanted {
        way_out = GenesWayOut::Orthologs;
        "use one-to-one orthologues".into()
    } else if kind != wanted_kind {
        "rename the genes, or put the other names into var['feature_name']".into()
    } else if organism != wanted {
        "map the genes to their orthologues first".into()
    } else {
        "check that the file belongs to this model".into()
    };
    let message = format!(
        "no gene of the file is in the model's vocabulary: the file has {organism} {kind} ({}), the model \
         {wanted} {wanted_kind} ({}); {reason}",
        first(names),
        first(vocabulary.names())
    );
    DataError::Genes {
        path: None,
        message,
        way_out,
    }
}

/// What to do with names with a prefix or other text around them, if so.
fn untidy(names: &[String]) -> Option<String> {
    let most =
        |is: &dyn Fn(&String) -> bool| names.iter().filter(|n| is(n)).count() * 2 > names.len();
    if most(&|n| n.contains('\t')) {
        return Some(
            "names contain tabs, like whole lines of a table: keep one field \
             (adata.var_names.str.split('\\t').str[0])"
                .into(),
        );
    }
    if most(&|n| n.trim() != n) {
        return Some(
            "names have spaces around them: strip them (adata.var_names.str.strip())".into(),
        );
    }
    let first = names.first()?;
    let (genome, _) = first.split_once('_')?;
    let prefix = format!("{genome}_");
    most(&|n| n.starts_with(&prefix)).then(|| {
        format!(
            "names begin with '{prefix}': remove it \
             (adata.var_names.str.removeprefix('{prefix}'))"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|&n| n.to_owned()).collect()
    }

    #[test]
    fn symbols_meet_ids_and_former_names_their_genes() {
        let vocabulary = Vocabulary::new(strings(&[
            "ENSG00000141510",
            "ENSG00000184640",
            "ENSG00000254647",
        ]))
        .unwrap();
        // p53 is an alias, TP53 the symbol: the symbol is preferred.
        let names = strings(&["TP53", "p53", "SEPT9", "NO-SUCH-GENE", "GAPDH"]);
        let found = match_genes(&names, &vocabulary, Across::Same).unwrap();
        assert_eq!(found.map, [Some(0), None, Some(1), None, None]);
        let counts = MatchCounts {
            translated: 1,
            former: 1,
            ..Default::default()
        };
        assert_eq!((found.matched, found.found), (2, counts));
        assert!(found.require(0.5).is_ok());
        let error = found.require(0.9).unwrap_err().to_string();
        assert!(
            error.contains("2 of the model's 3 genes") && error.contains("require fewer"),
            "{error}"
        );
    }

    #[test]
    fn orthologues_match_on_request_only() {
        let vocabulary = Vocabulary::new(strings(&["TP53", "INS", "GAPDH"])).unwrap();
        let names = strings(&["Trp53", "Gapdh", "Ins1"]);
        assert!(match_genes(&names, &vocabulary, Across::Same).is_err());
        let found = match_genes(&names, &vocabulary, Across::Orthologs).unwrap();
        assert_eq!(found.map[..2], [Some(0), Some(2)]);
        assert_eq!(found.found.ortholog, found.matched);
    }

    #[test]
    fn counts_of_duplicates_are_summed() {
        let vocabulary = Vocabulary::new(strings(&["A1", "B1"])).unwrap();
        let found = match_genes(
            &strings(&["B1", "C1", "A1", "B1"]),
            &vocabulary,
            Across::Same,
        )
        .unwrap();
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
    fn no_match_names_the_cure() {
        let ids = Vocabulary::new(strings(&["ENSG00000141510", "ENSG00000254647"])).unwrap();
        let cure = |names: &[&str]| {
            let error = match_genes(&strings(names), &ids, Across::Same).unwrap_err();
            error.to_string()
        };
        assert!(cure(&["Xkr4", "Rp1", "Sox17"]).contains("one-to-one orthologues"));
        assert!(cure(&["ENSG1\tTP53\tGene", "ENSG2\tINS\tGene"]).contains("contain tabs"));
        assert!(cure(&[" AAAS2", "ABCB99 "]).contains("spaces around"));
        assert!(cure(&["GRCh38_AAAS2", "GRCh38_AB9"]).contains("begin with 'GRCh38_'"));
        // A symbol and an id in one name: the id is used.
        let joined = strings(&["TP53_ENSG00000141510", "INS_ENSG00000254647.11"]);
        assert_eq!(match_genes(&joined, &ids, Across::Same).unwrap().matched, 2);
    }

    #[test]
    fn no_match_says_what_both_sides_look_like() {
        let vocabulary = Vocabulary::new(strings(&["ENSG00000141510", "ENSG00000254647"])).unwrap();
        let error =
            match_genes(&strings(&["ENSMUSG00000059552"]), &vocabulary, Across::Same).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("mouse Ensembl ids (ENSMUSG00000059552)"),
            "{error}"
        );
        assert!(error.contains("model human Ensembl ids"), "{error}");
    }
}
