//! The vocabularies of published models, in the files they come in.
//!
//! | model | file |
//! |---|---|
//! | scGPT | `vocab.json`: gene → token, special tokens in angle brackets |
//! | Geneformer | `token_dictionary.pkl`, a pickled dictionary, or the same as JSON: Ensembl id → token |
//! | CellPLM | `….config.json` with `gene_list` |
//! | scPRINT | a list of Ensembl ids: JSON, JSON by organism, or one a line |
//! | Nicheformer | `model.h5ad`, whose genes have the tokens 30, 31, … |
//! | scFoundation, SCimilarity, scBERT, CellFM | one gene a line, with or without a header and a number |
//!
//! Gzip is unpacked. [`read`] tells them apart by what is in them.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::Value;

use super::{Vocabulary, normal_form};
use crate::error::{DataError, Result};
use crate::io::gzip;
#[cfg(feature = "files")]
use crate::io::h5ad::H5ad;
use crate::tokens::ranks::FIRST_GENE;

mod pickle;
mod tables;

use pickle::Value as Pickled;
pub use tables::{GeneValues, chromosome_rows, gene_values, npy_vector};

/// Most bytes a vocabulary may unpack to.
const LIMIT: u64 = 1 << 30;

/// Genes of a model and their tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PublishedVocabulary {
    /// Names, in the file's order; of a dictionary, by token.
    pub genes: Vec<String>,
    /// Token of each gene.
    pub tokens: Vec<u32>,
    /// Special tokens.
    pub special: Vec<(String, u32)>,
}

impl PublishedVocabulary {
    /// The genes as a vocabulary to match with. Of an Ensembl id that is there with and without its
    /// version (scGPT's census list has one) the first counts.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when a gene comes twice.
    pub fn vocabulary(&self) -> Result<Vocabulary> {
        let mut seen = HashSet::with_capacity(self.genes.len());
        let distinct = self.genes.iter().filter(|g| seen.insert(normal_form(g)));
        Vocabulary::new(distinct.cloned().collect())
    }

    /// Genes in this order with the tokens 0, 1, …
    fn listed(genes: Vec<String>) -> Self {
        Self {
            tokens: (0..genes.len() as u32).collect(),
            genes,
            special: Vec::new(),
        }
    }
}

/// Reads a vocabulary of any format above.
///
/// # Errors
/// [`DataError::Io`] when the system refuses; [`DataError::File`] when the format is none of them, two
/// genes have one token, a gene comes twice, or there is none.
pub fn read(path: &Path) -> Result<PublishedVocabulary> {
    let bytes = gzip::read(path, LIMIT)?;
    #[cfg(feature = "files")]
    if bytes.starts_with(b"\x89HDF") {
        let genes = H5ad::open(path)?.var_names()?;
        let tokens = (FIRST_GENE..).take(genes.len()).collect();
        let found = PublishedVocabulary {
            genes,
            tokens,
            special: Vec::new(),
        };
        return checked(found).map_err(|e| DataError::file(path, e.to_string()));
    }
    parse(&bytes).map_err(|e| DataError::file(path, e.to_string()))
}

/// Reads a vocabulary that is no HDF5 file from its bytes.
///
/// # Errors
/// [`DataError::Invalid`], see [`read`].
pub fn parse(bytes: &[u8]) -> Result<PublishedVocabulary> {
    if let Some(pairs) = pickled(bytes)? {
        let token = |(name, value): (String, Pickled)| {
            let no_token = |value: &dyn std::fmt::Display| {
                DataError::invalid(format!("'{name}' has {value}, which is not a token"))
            };
            match value {
                Pickled::Integer(v) => {
                    Ok((name.clone(), u32::try_from(v).map_err(|_| no_token(&v))?))
                }
                Pickled::Float(v) => Err(no_token(&v)),
            }
        };
        let pairs = pairs.into_iter().map(token);
        return checked(by_token(pairs.collect::<Result<_>>()?)?);
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        DataError::invalid(format!(
            "is not text (byte {}): a vocabulary is JSON, a list of genes, or an .h5ad",
            e.valid_up_to()
        ))
    })?;
    let start = text.trim_start().chars().next();
    let found = match start {
        Some('{' | '[') => {
            let value = serde_json::from_str(text)
                .map_err(|e| DataError::invalid(format!("is not readable JSON: {e}")))?;
            json(&value)?
        }
        _ => PublishedVocabulary::listed(lines(text)),
    };
    checked(found)
}

/// The dictionary of a pickle, if these bytes are one.
fn pickled(bytes: &[u8]) -> Result<Option<Vec<(String, Pickled)>>> {
    if pickle::is_pickle(bytes) {
        return pickle::dictionary(bytes).map(Some);
    }
    if pickle::is_old_pickle(bytes) {
        return Err(DataError::invalid(
            "is a pickle of protocol 0 or 1, and 2 to 5 are read; load it in Python and save it \
             again with \
             pickle.dump(dictionary, file, protocol=4)",
        ));
    }
    Ok(None)
}

fn json(value: &Value) -> Result<PublishedVocabulary> {
    let texts = |list: &Value| -> Option<Vec<String>> {
        let list = list.as_array()?.iter();
        list.map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let listed = |list: &Value, what: &str| {
        texts(list).map(PublishedVocabulary::listed).ok_or_else(|| {
            DataError::invalid(format!("{what} contains something that is not a name"))
        })
    };
    let object = match value {
        Value::Object(object) => object,
        list => return listed(list, "the list"),
    };
    for key in ["gene_list", "genes"] {
        if let Some(list) = object.get(key).filter(|l| l.is_array()) {
            return listed(list, key);
        }
    }
    if !object.is_empty() && object.values().all(Value::is_array) {
        let mut genes = Vec::new();
        for (organism, list) in object {
            genes.extend(listed(list, organism)?.genes);
        }
        return Ok(PublishedVocabulary::listed(genes));
    }
    let mut pairs: Vec<(String, u32)> = Vec::with_capacity(object.len());
    for (name, token) in object {
        let token = token.as_u64().and_then(|t| u32::try_from(t).ok());
        let token = token.ok_or_else(|| {
            DataError::invalid(format!(
                "'{name}' has {}, which is not a token; expected a dictionary of genes and tokens, or \
                 gene_list",
                object[name]
            ))
        })?;
        pairs.push((name.clone(), token));
    }
    by_token(pairs)
}

/// Genes of a dictionary in the order of their tokens; names in angle brackets are special.
fn by_token(mut pairs: Vec<(String, u32)>) -> Result<PublishedVocabulary> {
    pairs.sort_by_key(|p| p.1);
    if let Some(same) = pairs.windows(2).find(|w| w[0].1 == w[1].1) {
        return Err(DataError::invalid(format!(
            "'{}' and '{}' have the same token {}",
            same[0].0, same[1].0, same[0].1
        )));
    }
    let is_special = |name: &str| name.starts_with('<') && name.ends_with('>');
    let (special, pairs): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|p| is_special(&p.0));
    let (genes, tokens) = pairs.into_iter().unzip();
    Ok(PublishedVocabulary {
        genes,
        tokens,
        special,
    })
}

/// The first field of every line; a first line of usual headings is left out.
fn lines(text: &str) -> Vec<String> {
    const HEADINGS: [&str; 8] = [
        "gene",
        "genes",
        "gene_name",
        "gene_symbol",
        "gene_id",
        "symbol",
        "ensembl_id",
        "index",
    ];
    let first = |line: &str| -> String {
        let field = line.split(['\t', ',', ' ']).next().unwrap_or_default();
        field.trim().trim_matches('"').to_owned()
    };
    let mut genes: Vec<String> = text.lines().map(first).filter(|g| !g.is_empty()).collect();
    if genes
        .first()
        .is_some_and(|g| HEADINGS.contains(&g.to_lowercase().as_str()))
    {
        genes.remove(0);
    }
    genes
}

fn checked(found: PublishedVocabulary) -> Result<PublishedVocabulary> {
    if found.genes.is_empty() {
        return Err(DataError::invalid("contains no genes"));
    }
    let mut seen = HashMap::with_capacity(found.genes.len());
    for (k, gene) in found.genes.iter().enumerate() {
        if let Some(before) = seen.insert(gene.as_str(), k) {
            return Err(DataError::invalid(format!(
                "gene '{gene}' comes twice, as number {before} and {k}"
            )));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_told_by_its_content() {
        let genes = |text: &str| parse(text.as_bytes()).unwrap();
        let scgpt = genes(r#"{"<pad>": 2, "TP53": 1, "INS": 0}"#);
        assert_eq!(
            (&scgpt.genes[..], &scgpt.tokens[..]),
            (&["INS".into(), "TP53".into()][..], &[0, 1][..])
        );
        assert_eq!(scgpt.special, [("<pad>".to_owned(), 2)]);
        assert_eq!(
            genes(r#"{"name": "x", "gene_list": ["B", "A"]}"#).genes,
            ["B", "A"]
        );
        assert_eq!(genes(r#"["B", "A"]"#).tokens, [0, 1]);
        assert_eq!(
            genes(r#"{"human": ["B"], "mouse": ["C"]}"#).genes,
            ["B", "C"]
        );
        assert_eq!(
            genes("gene_name\tindex\nA1BG\t0\nA1CF\t1\n").genes,
            ["A1BG", "A1CF"]
        );
        assert_eq!(genes("A1BG\r\nA1CF\r\n").genes, ["A1BG", "A1CF"]);
        let twice = genes("ENSG00000283886\nENSG00000283886.2\n");
        assert_eq!(
            (twice.genes.len(), twice.vocabulary().unwrap().len()),
            (2, 1)
        );
    }

    #[test]
    fn faults_are_named() {
        for (text, part) in [
            (&b"\xff\xfe"[..], "is not text"),
            (b"", "contains no genes"),
            (b"{}", "contains no genes"),
            (b"{\"A\": 1", "not readable JSON"),
            (b"{\"A\": -1}", "'A' has -1"),
            (b"{\"A\": 1, \"B\": 1}", "the same token 1"),
            (b"[\"A\", 3]", "not a name"),
            (b"A\nB\nA\n", "'A' comes twice, as number 0 and 2"),
            (b"(dp0\nVA\np1\nI1\ns.", "pickle of protocol 0 or 1"),
            (
                b"\x80\x04}\x8c\x01AJ\xff\xff\xff\xffs.",
                "'A' has -1, which is not a token",
            ),
            (
                b"\x80\x04}\x8c\x01AG?\xf8\0\0\0\0\0\0s.",
                "'A' has 1.5, which is not a token",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
