//! Gene regulatory networks: known edges, and how many of them the strongest of a network are.

use crate::error::EvalError;

/// What tables of edges call the column of regulators, in lower case.
const REGULATORS: &[&str] = &[
    "regulator",
    "regulators",
    "source",
    "tf",
    "transcription_factor",
    "from",
    "gene1",
];

/// And that of their targets.
const TARGETS: &[&str] = &["target", "targets", "target_gene", "gene", "to", "gene2"];

/// Known edges, from regulator to target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownEdges {
    /// Pairs of regulator and target, by name.
    pub edges: Vec<(String, String)>,
    /// What the header calls the columns of both, where there is one.
    pub header: Option<[String; 2]>,
}

impl KnownEdges {
    /// Reads a table parted by tabs. Where its first line names the columns of regulators and targets
    /// (as `source` and `target`, `TF` and `target`, `regulator` and `gene`), these are taken; without
    /// such a line, the first two. Empty lines and those that begin with `#` are skipped.
    ///
    /// # Errors
    /// [`EvalError::Invalid`] with the first line that is not an edge, and for a table without any.
    pub fn parse(text: &str) -> Result<Self, EvalError> {
        let mut known = Self::default();
        let mut columns = [0, 1];
        let lines = (1..).zip(text.lines());
        let lines = lines.filter(|(_, l)| !l.trim().is_empty() && !l.starts_with('#'));
        for (at, (n, line)) in lines.enumerate() {
            let fields: Vec<&str> = line.split('\t').map(str::trim).collect();
            if let Some(named) = header(&fields).filter(|_| at == 0) {
                known.header = Some(named.map(|c| fields[c].to_owned()));
                columns = named;
                continue;
            }
            match columns.map(|c| fields.get(c).copied().unwrap_or_default()) {
                [from, to] if !from.is_empty() && !to.is_empty() => {
                    known.edges.push((from.to_owned(), to.to_owned()));
                }
                _ => return Err(EvalError::invalid(known.no_edge(n, line))),
            }
        }
        match known.edges.is_empty() {
            true => Err(EvalError::invalid(
                "holds no edges; write one a line: regulator, tab, target",
            )),
            false => Ok(known),
        }
    }

    fn no_edge(&self, n: usize, line: &str) -> String {
        let wanted = match &self.header {
            Some([from, to]) => {
                format!("the columns '{from}' and '{to}' must both have a value, parted by tabs")
            }
            None => "write regulator, tab, target".to_owned(),
        };
        format!("line {n}: '{line}' is not an edge; {wanted}")
    }

    /// Every name of a regulator or target, once, sorted.
    pub fn names(&self) -> Vec<String> {
        let both = self.edges.iter().flat_map(|(from, to)| [from, to]);
        let mut names: Vec<String> = both.cloned().collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The columns of regulators and targets, if these are names of columns.
fn header(fields: &[&str]) -> Option<[usize; 2]> {
    let place = |names: &[&str]| {
        let is_name =
            |field: &&str| names.contains(&field.to_lowercase().replace(' ', "_").as_str());
        fields.iter().position(is_name)
    };
    Some([place(REGULATORS)?, place(TARGETS)?])
}

/// How many of the strongest edges are known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarlyPrecision {
    /// Share of known edges among as many strongest pairs as there are known edges.
    pub precision: f64,
    /// Known edges.
    pub edges: usize,
    /// Pairs that could be edges.
    pub pairs: usize,
}

/// Early precision of the edges of `rows`, in a network `[genes, genes]`, row-major; an edge of a gene
/// to itself is none.
pub fn early_precision(
    weights: &[f32],
    genes: usize,
    rows: &[usize],
    known: impl Fn(usize, usize) -> bool,
) -> EarlyPrecision {
    let pairs = rows.iter().flat_map(|&i| (0..genes).map(move |j| (i, j)));
    let mut pairs: Vec<(f32, bool)> = pairs
        .filter(|(i, j)| i != j)
        .map(|(i, j)| (weights[i * genes + j], known(i, j)))
        .collect();
    let edges = pairs.iter().filter(|p| p.1).count();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let hits = pairs.iter().take(edges).filter(|p| p.1).count();
    EarlyPrecision {
        precision: hits as f64 / edges.max(1) as f64,
        edges,
        pairs: pairs.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_precision_counts_the_strongest_pairs() {
        let weights = [9.0, 0.1, 0.5, 0.4, 9.0, 0.3, 0.0, 0.0, 9.0];
        let known = |i: usize, j: usize| matches!((i, j), (0, 2) | (1, 2));
        // Of the rows 0 and 1 the strongest two are 0→2 and 1→0.
        let both = early_precision(&weights, 3, &[0, 1], known);
        assert_eq!((both.precision, both.edges, both.pairs), (0.5, 2, 4));
        let none = early_precision(&weights, 3, &[2], known);
        assert_eq!((none.precision, none.edges, none.pairs), (0.0, 0, 2));
    }

    #[test]
    fn edges_are_read_or_refused_by_line() {
        let read = KnownEdges::parse("TP53\tMDM2\n\nSOX2 \t NANOG\tx\n").unwrap();
        assert_eq!(read.edges.len(), 2);
        assert_eq!(read.names(), ["MDM2", "NANOG", "SOX2", "TP53"]);
        let error = KnownEdges::parse("TP53\tMDM2\nTP53\n")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("line 2: 'TP53'"), "{error}");
        let error = KnownEdges::parse("TF\ttarget\n\n").unwrap_err().to_string();
        assert!(error.starts_with("holds no edges"), "{error}");
    }

    #[test]
    fn a_header_names_the_columns_and_is_no_edge() {
        for (header, row) in [
            ("source\ttarget", "SOX2\tNANOG"),
            ("TF\tTarget\tmode", "SOX2\tNANOG\tup"),
            ("weight\tgene\tregulator", "0.5\tNANOG\tSOX2"),
            ("# of somebody\n\nFrom\tTo", "SOX2\tNANOG"),
        ] {
            let read = KnownEdges::parse(&format!("{header}\n{row}\n")).unwrap();
            assert_eq!(
                read.edges,
                [("SOX2".to_owned(), "NANOG".to_owned())],
                "{header}"
            );
            assert!(read.header.is_some(), "{header}");
        }
        // TF is a gene as well.
        let read = KnownEdges::parse("TF\tALB\n").unwrap();
        assert_eq!((read.edges.len(), read.header), (1, None));
        let error = KnownEdges::parse("TF\tmode\ttarget\nSOX2\tup\n").unwrap_err();
        let wanted = "line 2: 'SOX2\tup' is not an edge; the columns 'TF' and 'target'";
        assert!(error.to_string().starts_with(wanted), "{error}");
    }
}
