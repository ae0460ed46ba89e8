//! Ontologies in the OBO format: which term is a subtype of which.
//!
//! Only what a hierarchy of labels needs is kept of a term: its id, name, alternative ids and
//! parents (`is_a`). Everything else in the file is skipped.

use crate::error::{DataError, Result};
use crate::io::gzip;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Largest file, after decompression.
const LIMIT: u64 = 1 << 30;
/// Most terms.
const TERMS: usize = 4_000_000;

/// Position of a term in its ontology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(u32);

/// Terms and their parents.
#[derive(Clone, Debug, Default)]
pub struct Ontology {
    ids: Vec<String>,
    names: Vec<String>,
    parents: Vec<Vec<Term>>,
    by_key: HashMap<String, Term>,
}

/// A term being read.
#[derive(Default)]
struct Draft {
    line: usize,
    id: Option<String>,
    name: String,
    other: Vec<String>,
    parents: Vec<(String, usize)>,
    obsolete: bool,
}

/// Reads an `.obo` file, gzipped or not.
///
/// # Errors
/// For a file that cannot be read or is not an ontology; names the line.
pub fn read(path: &Path) -> Result<Ontology> {
    let bytes = gzip::read(path, LIMIT)?;
    let text = String::from_utf8_lossy(&bytes);
    parse(&text).map_err(|e| DataError::file(path, e.to_string()))
}

/// Reads the text of an `.obo` file.
///
/// # Errors
/// [`DataError::Invalid`] with the offending line: a term without an id, one defined twice, an
/// unknown parent, or no term at all.
pub fn parse(text: &str) -> Result<Ontology> {
    let mut drafts: Vec<Draft> = Vec::new();
    let mut in_term = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.starts_with('[') {
            in_term = line == "[Term]";
            if in_term {
                if drafts.len() == TERMS {
                    return Err(wrong(number, format!("more than {TERMS} terms")));
                }
                drafts.push(Draft {
                    line: number,
                    ..Draft::default()
                });
            }
            continue;
        }
        let (true, Some(draft)) = (in_term, drafts.last_mut()) else {
            continue;
        };
        let Some((tag, value)) = line.split_once(':') else {
            if line.is_empty() || line.starts_with('!') {
                continue;
            }
            return Err(wrong(number, format!("'{line}' is not 'tag: value'")));
        };
        let value = value.trim();
        match tag.trim() {
            "id" if draft.id.is_some() => {
                return Err(wrong(number, "a second id for one term".into()));
            }
            "id" => draft.id = Some(identifier(value, number)?),
            "name" => draft.name = without_comment(value).to_string(),
            "alt_id" => draft.other.push(identifier(value, number)?),
            "is_a" => draft.parents.push((identifier(value, number)?, number)),
            "is_obsolete" => draft.obsolete = without_comment(value) == "true",
            _ => {}
        }
    }
    assemble(drafts)
}

fn wrong(line: usize, what: String) -> DataError {
    DataError::invalid(format!("line {line}: {what}"))
}

/// The text before the comment.
fn without_comment(value: &str) -> &str {
    value.split(" !").next().unwrap_or_default().trim()
}

/// The id at the start of `value`; comments and qualifiers may follow.
fn identifier(value: &str, line: usize) -> Result<String> {
    match value.split_whitespace().next() {
        Some(id) if !id.starts_with('!') => Ok(id.to_string()),
        _ => Err(wrong(line, "an id is missing".into())),
    }
}

fn assemble(drafts: Vec<Draft>) -> Result<Ontology> {
    let mut out = Ontology::default();
    let mut parents = Vec::new();
    for draft in drafts.into_iter().filter(|d| !d.obsolete) {
        let line = draft.line;
        let id = draft
            .id
            .ok_or_else(|| wrong(line, "this term has no id".into()))?;
        let term = Term(out.ids.len() as u32);
        if out.by_key.insert(id.clone(), term).is_some() {
            return Err(wrong(line, format!("term {id} is defined twice")));
        }
        out.ids.push(id);
        out.names.push(draft.name);
        parents.push((draft.parents, draft.other));
    }
    if out.ids.is_empty() {
        return Err(DataError::invalid(
            "holds no [Term]; expected an ontology in the OBO format",
        ));
    }
    for (i, (above, other)) in parents.into_iter().enumerate() {
        let mut found = Vec::with_capacity(above.len());
        for (id, line) in above {
            let parent = out.by_key.get(&id);
            found.push(*parent.ok_or_else(|| wrong(line, format!("is_a {id}: unknown term")))?);
        }
        out.parents.push(found);
        // Names and alternative ids never hide an id.
        for key in other.into_iter().chain([out.names[i].to_lowercase()]) {
            if !key.is_empty() {
                out.by_key.entry(key).or_insert(Term(i as u32));
            }
        }
    }
    Ok(out)
}

impl Ontology {
    /// Number of terms.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The term with this id, alternative id, or name in any case.
    pub fn find(&self, key: &str) -> Option<Term> {
        let found = self.by_key.get(key);
        found
            .or_else(|| self.by_key.get(&key.to_lowercase()))
            .copied()
    }

    /// The id of a term.
    pub fn id(&self, term: Term) -> &str {
        self.ids.get(term.0 as usize).map_or("", String::as_str)
    }

    /// The name of a term.
    pub fn name(&self, term: Term) -> &str {
        self.names.get(term.0 as usize).map_or("", String::as_str)
    }

    /// Every ancestor of `term`, itself excluded. Cycles in the file are harmless.
    pub fn ancestors(&self, term: Term) -> BTreeSet<Term> {
        let mut found = BTreeSet::new();
        let mut open = vec![term];
        while let Some(next) = open.pop() {
            for &parent in self.parents.get(next.0 as usize).into_iter().flatten() {
                if parent != term && found.insert(parent) {
                    open.push(parent);
                }
            }
        }
        found
    }

    /// The hierarchy of `labels`.
    ///
    /// A label without subtypes among the labels is a leaf, and so is one missing from the
    /// ontology.
    pub fn hierarchy(&self, labels: &[String]) -> LabelHierarchy {
        let terms: Vec<Option<Term>> = labels.iter().map(|l| self.find(l)).collect();
        let above: Vec<BTreeSet<Term>> = terms
            .iter()
            .map(|t| t.map(|t| self.ancestors(t)).unwrap_or_default())
            .collect();
        let below = |label: usize| -> Vec<usize> {
            let term = terms[label];
            let is = |other: &usize| term.is_some_and(|t| above[*other].contains(&t));
            (0..labels.len()).filter(is).collect()
        };
        let below: Vec<Vec<usize>> = (0..labels.len()).map(below).collect();
        let mut code = vec![0; labels.len()];
        let leaves: Vec<usize> = (0..labels.len()).filter(|&l| below[l].is_empty()).collect();
        for (i, &leaf) in leaves.iter().enumerate() {
            code[leaf] = i;
        }
        let mut inner = Vec::new();
        for label in (0..labels.len()).filter(|&l| !below[l].is_empty()) {
            code[label] = leaves.len() + inner.len();
            let own = below[label].iter().filter(|b| below[**b].is_empty());
            inner.push(own.map(|&b| code[b]).collect());
        }
        LabelHierarchy {
            leaves: leaves.len(),
            inner,
            code,
            unknown: unknown(labels, &terms),
        }
    }
}

fn unknown(labels: &[String], terms: &[Option<Term>]) -> Vec<String> {
    let pairs = labels.iter().zip(terms);
    let missing = pairs.filter(|(_, t)| t.is_none());
    missing.map(|(l, _)| l.clone()).collect()
}

/// Labels in an order in which leaves come first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelHierarchy {
    /// Labels without subtypes among the labels.
    pub leaves: usize,
    /// Codes of the leaves below every inner label.
    pub inner: Vec<Vec<usize>>,
    /// Code of every label: below `leaves` for a leaf, `leaves + i` for `inner[i]`.
    pub code: Vec<usize>,
    /// Labels missing from the ontology; they count as leaves.
    pub unknown: Vec<String>,
}

impl LabelHierarchy {
    /// `n` labels without a hierarchy.
    pub fn flat(n: usize) -> Self {
        Self {
            leaves: n,
            code: (0..n).collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CELLS: &str = "format-version: 1.2\n\n[Term]\nid: CL:0 \nname: cell\n\n[Term]\nid: CL:1\n\
        name: lymphocyte\nis_a: CL:0 ! cell\n\n[Term]\nid: CL:2\nname: T cell\nalt_id: CL:9\n\
        is_a: CL:1 {source=\"x\"} ! lymphocyte\n\n[Term]\nid: CL:3\nname: B cell\nis_a: CL:1\n\
        relationship: part_of CL:0\n\n[Term]\nid: CL:8\nname: gone\nis_obsolete: true\n\n\
        [Typedef]\nid: part_of\nname: part of\n";

    #[test]
    fn labels_are_found_by_id_or_name_and_ordered_leaves_first() {
        let ontology = parse(CELLS).unwrap();
        assert_eq!(ontology.len(), 4);
        assert_eq!(ontology.find("t cell"), ontology.find("CL:9"));
        assert_eq!(ontology.find("gone"), None);
        let labels = ["lymphocyte", "CL:2", "B cell", "my cell"].map(String::from);
        let found = ontology.hierarchy(&labels);
        assert_eq!(found.code, [3, 0, 1, 2]);
        assert_eq!(found.inner, [vec![0, 1]]);
        assert_eq!(found.unknown, ["my cell"]);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, says) in [
            ("", "holds no [Term]"),
            ("[Term]\nname: x\n", "line 1: this term has no id"),
            ("[Term]\nid: a\nid: b\n", "line 3: a second id"),
            ("[Term]\nid: a\nis_a: b ! c\n", "line 3: is_a b"),
            ("[Term]\nid: a\nis_a: ! c\n", "line 3: an id is missing"),
            (
                "[Term]\nid: a\n\n[Term]\nid: a\n",
                "line 4: term a is defined twice",
            ),
            ("[Term]\nid: a\nrubbish\n", "line 3: 'rubbish'"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn circles_end() {
        let ontology = parse("[Term]\nid: a\nis_a: b\n\n[Term]\nid: b\nis_a: a\n").unwrap();
        let a = ontology.find("a").unwrap();
        assert_eq!(ontology.ancestors(a).len(), 1);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\[Term\\]\n|id: [ab]\n|is_a: [ab]\n|name: x\n|.*\n){0,12}") {
            if let Ok(ontology) = parse(&text) {
                let labels = ["a", "b", "x"].map(String::from);
                let found = ontology.hierarchy(&labels);
                prop_assert!(found.code.iter().all(|c| *c < found.leaves + found.inner.len()));
                prop_assert!(found.inner.iter().flatten().all(|c| *c < found.leaves));
            }
        }
    }
}
