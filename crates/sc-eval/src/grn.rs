//! Gene regulatory networks: known edges, and how many of them the strongest of a network are.

use crate::error::EvalError;

/// Known edges, from regulator to target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownEdges {
    /// Pairs of regulator and target, by name.
    pub edges: Vec<(String, String)>,
}

impl KnownEdges {
    /// Reads a table of two columns parted by tabs.
    ///
    /// # Errors
    /// [`EvalError::Invalid`] with the first line that is no edge.
    pub fn parse(text: &str) -> Result<Self, EvalError> {
        let mut edges = Vec::new();
        for (n, line) in (1..).zip(text.lines()) {
            let mut fields = line.split('\t').map(str::trim);
            match (fields.next(), fields.next()) {
                (Some(""), None) => {}
                (Some(from), Some(to)) if !from.is_empty() && !to.is_empty() => {
                    edges.push((from.to_string(), to.to_string()));
                }
                _ => {
                    return Err(EvalError::invalid(format!(
                        "line {n}: '{line}' is no edge; write regulator, tab, target"
                    )));
                }
            }
        }
        Ok(Self { edges })
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
    }
}
