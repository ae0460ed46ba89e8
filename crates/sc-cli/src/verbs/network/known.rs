//! Known edges: heads that see them, and what those heads are worth on edges they were not chosen by.

use crate::error::{Result, at, message};
use sc_data::genes::{Across, Vocabulary, match_genes};
use sc_models::scprint::network::{Averages, Network, PairSplit, Scores, select_heads};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// Share of the regulators that choose heads; the others judge.
const CHOOSE: f64 = 0.5;

/// Edges of a file, from regulator to target.
pub(super) struct Known {
    path: PathBuf,
    edges: Vec<(String, String)>,
}

/// Chosen heads, and how they do on the regulators that did not choose.
#[derive(Debug, Serialize)]
pub(super) struct Choice {
    /// Heads, numbered layer by layer.
    pub(super) heads: Vec<usize>,
    /// Regulators that chose.
    chosen_by: usize,
    /// Regulators that judged.
    judged_by: usize,
    /// Known edges of these.
    edges: usize,
    /// Share of known edges among as many strongest pairs as there are known edges, for the mean of
    /// the chosen heads.
    precision: f64,
    /// The same for the mean of all heads.
    precision_of_all: f64,
    /// The same for pairs at random.
    chance: f64,
}

impl Known {
    /// Reads a table of two columns, with or without a header.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| at(path, e))?;
        let mut edges = Vec::new();
        for (n, line) in (1..).zip(text.lines()) {
            let mut fields = line.split('\t').map(str::trim);
            match (fields.next(), fields.next()) {
                (Some(""), None) => {}
                (Some(from), Some(to)) if !from.is_empty() && !to.is_empty() => {
                    edges.push((from.to_string(), to.to_string()));
                }
                _ => {
                    return Err(at(
                        path,
                        format!("line {n}: '{line}' is no edge; write regulator, tab, target"),
                    ));
                }
            }
        }
        Ok(Self {
            path: path.to_path_buf(),
            edges,
        })
    }

    /// Where the names of the edges are among `genes`, found as the genes of a file are.
    fn places(&self, genes: &[String]) -> Result<HashMap<String, usize>> {
        let mut names: Vec<String> = self
            .edges
            .iter()
            .flat_map(|(from, to)| [from.clone(), to.clone()])
            .collect();
        names.sort_unstable();
        names.dedup();
        let vocabulary = Vocabulary::new(genes.to_vec())?;
        let found = match_genes(&names, &vocabulary, Across::Same);
        let found = found.map_err(|e| at(&self.path, e))?;
        let places = names.into_iter().zip(found.map);
        Ok(places
            .filter_map(|(name, place)| Some((name, place? as usize)))
            .collect())
    }

    /// Chooses heads by the edges of half the regulators among `genes`, and judges by the others.
    pub(super) fn choose(
        &self,
        averages: &Averages,
        genes: &[String],
        seed: u64,
    ) -> Result<Choice> {
        let places = self.places(genes)?;
        let place = |name: &String| places.get(name).copied();
        let edges: HashSet<(usize, usize)> = self
            .edges
            .iter()
            .filter_map(|(from, to)| Some((place(from)?, place(to)?)))
            .filter(|(from, to)| from != to)
            .collect();
        let mut regulators: Vec<usize> = edges.iter().map(|e| e.0).collect();
        regulators.sort_unstable();
        regulators.dedup();
        if regulators.len() < 2 {
            return Err(at(
                &self.path,
                format!(
                    "{} of its {} edges are between genes of the model, of {} regulators; heads are \
                     chosen by one half of the regulators and judged by the other, so name at least 2",
                    edges.len(),
                    self.edges.len(),
                    regulators.len()
                ),
            ));
        }
        let split = PairSplit::random(&regulators, CHOOSE, seed);
        // A target attends to its regulator, and rows shall be regulators.
        let turned = |n: Network| n.without_first(averages.cell_tokens).transpose();
        let head = |h: usize| turned(averages.head(h, Scores::Softmax));
        let known = |from: usize, to: usize| edges.contains(&(from, to));
        let seen = edges.iter().filter(|e| split.choose.contains(&e.0)).count();
        let pairs = split.choose.len() * genes.len().saturating_sub(1);
        // Edges weigh as much as all pairs that are none; the original has 800 for any network.
        let weight = (pairs - seen) as f64 / seen.max(1) as f64;
        let selection = select_heads(averages.heads(), head, known, &split.choose, weight);
        if selection.heads.is_empty() {
            return Err(message(format!(
                "{}: no head sees its edges; leave --known out to take the mean of all heads",
                self.path.display()
            )));
        }
        let judge = |heads: Option<&[usize]>| {
            let network = turned(averages.mean(heads, Scores::Softmax));
            early_precision(&network, &split.judge, known)
        };
        let (precision, edges, pairs) = judge(Some(&selection.heads));
        Ok(Choice {
            precision_of_all: judge(None).0,
            heads: selection.heads,
            chosen_by: split.choose.len(),
            judged_by: split.judge.len(),
            edges,
            precision,
            chance: edges as f64 / pairs.max(1) as f64,
        })
    }
}

/// Share of known edges among as many strongest pairs of the rows as there are known edges; the number
/// of edges, and of pairs.
fn early_precision(
    network: &Network,
    rows: &[usize],
    known: impl Fn(usize, usize) -> bool,
) -> (f64, usize, usize) {
    let n = network.size;
    let pairs = rows.iter().flat_map(|&i| (0..n).map(move |j| (i, j)));
    let mut pairs: Vec<(f32, bool)> = pairs
        .filter(|(i, j)| i != j)
        .map(|(i, j)| (network.weights[i * n + j], known(i, j)))
        .collect();
    let edges = pairs.iter().filter(|p| p.1).count();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let hits = pairs.iter().take(edges).filter(|p| p.1).count();
    (hits as f64 / edges.max(1) as f64, edges, pairs.len())
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} heads chosen by {} regulators; on {} edges of {} others: early precision {:.4}, of all \
             heads {:.4}, at random {:.4}",
            self.heads.len(),
            self.chosen_by,
            self.edges,
            self.judged_by,
            self.precision,
            self.precision_of_all,
            self.chance
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_precision_counts_the_strongest_pairs() {
        let network = Network {
            size: 3,
            weights: vec![9.0, 0.1, 0.5, 0.4, 9.0, 0.3, 0.0, 0.0, 9.0],
        };
        let known = |i: usize, j: usize| matches!((i, j), (0, 2) | (1, 2));
        // Of the rows 0 and 1 the strongest two are 0→2 and 1→0.
        assert_eq!(early_precision(&network, &[0, 1], known), (0.5, 2, 4));
        assert_eq!(early_precision(&network, &[2], known), (0.0, 0, 2));
    }
}
