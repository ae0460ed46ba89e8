//! Gene networks from a model's attention: heads that recover known edges, their performance on
//! edges that were not used to select them, and the table of edges.

use crate::error::{Result, RunError};
use sc_data::genes::{Across, Vocabulary, match_genes};
use sc_eval::grn::{EarlyPrecision, KnownEdges, early_precision};
use sc_models::scprint::network::{Averages, Network, PairSplit, Scores, select_heads};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};

/// Share of the regulators used to select heads; the others are for evaluation.
const CHOOSE: f64 = 0.5;

/// Genes that an error shows.
const SHOWN: usize = 3;

/// Chosen heads, and how they do on the regulators that did not choose.
#[derive(Debug, Serialize)]
pub struct Choice {
    /// Heads, numbered layer by layer.
    pub heads: Vec<usize>,
    /// Regulators used for selection.
    selected_on: usize,
    /// Regulators used for evaluation.
    evaluated_on: usize,
    /// Their known edges.
    edges: usize,
    /// Early precision: share of known edges among the strongest pairs, as many as there are known
    /// edges, for the mean of the selected heads.
    precision: f64,
    /// The same for the mean of all heads.
    precision_of_all: f64,
    /// The same for random pairs.
    chance: f64,
}

/// Indices of the names of `edges` among `genes`, matched as the genes of a file.
fn places(edges: &KnownEdges, genes: &[String]) -> Result<HashMap<String, usize>> {
    let names = edges.names();
    let vocabulary = Vocabulary::new(genes.to_vec())?;
    let found = match_genes(&names, &vocabulary, Across::Same).map_err(|_| {
        let some = |names: &[String]| names[..names.len().min(SHOWN)].join(", ");
        RunError::settings(
            "known edges",
            format!(
                "none of their {} genes ({}) is one of the model ({}); name genes as the model does",
                names.len(),
                some(&names),
                some(genes)
            ),
        )
    })?;
    let places = names.into_iter().zip(found.map);
    Ok(places
        .filter_map(|(name, place)| Some((name, place? as usize)))
        .collect())
}

/// Selects heads by the edges of half the regulators among `genes`, and evaluates them on the
/// others.
///
/// # Errors
/// [`RunError::Settings`] for edges of fewer than two regulators, or when no head recovers them.
pub fn choose(
    edges: &KnownEdges,
    averages: &Averages,
    genes: &[String],
    seed: u64,
) -> Result<Choice> {
    let known_edges = edges;
    let places = places(known_edges, genes)?;
    let place = |name: &String| places.get(name).copied();
    let edges: HashSet<(usize, usize)> = known_edges
        .edges
        .iter()
        .filter_map(|(from, to)| Some((place(from)?, place(to)?)))
        .filter(|(from, to)| from != to)
        .collect();
    let mut regulators: Vec<usize> = edges.iter().map(|e| e.0).collect();
    regulators.sort_unstable();
    regulators.dedup();
    if regulators.len() < 2 {
        return Err(RunError::settings(
            "known edges",
            format!(
                "{} of its {} edges are between genes of the model, of {} regulators; heads are \
                 selected on one half of the regulators and evaluated on the other, so give at least 2",
                edges.len(),
                known_edges.edges.len(),
                regulators.len()
            ),
        ));
    }
    let split = PairSplit::random(&regulators, CHOOSE, seed);
    // A target attends to its regulator, and rows are regulators.
    let turned = |n: Network| n.without_first(averages.cell_tokens).transpose();
    let head = |h: usize| turned(averages.head(h, Scores::Softmax));
    let known = |from: usize, to: usize| edges.contains(&(from, to));
    let seen = edges
        .iter()
        .filter(|e| split.selection.contains(&e.0))
        .count();
    let pairs = split.selection.len() * genes.len().saturating_sub(1);
    // Edges have the same total weight as all other pairs; the original has 800 for any network.
    let weight = (pairs - seen) as f64 / seen.max(1) as f64;
    let selection = select_heads(averages.heads(), head, known, &split.selection, weight);
    if selection.heads.is_empty() {
        return Err(RunError::settings(
            "known edges",
            "no head recovers them; remove them to use the mean of all heads",
        ));
    }
    let judge = |heads: Option<&[usize]>| {
        let network = turned(averages.mean(heads, Scores::Softmax));
        early_precision(&network.weights, network.size, &split.test, known)
    };
    let EarlyPrecision {
        precision,
        edges,
        pairs,
    } = judge(Some(&selection.heads));
    Ok(Choice {
        precision_of_all: judge(None).precision,
        heads: selection.heads,
        selected_on: split.selection.len(),
        evaluated_on: split.test.len(),
        edges,
        precision,
        chance: edges as f64 / pairs.max(1) as f64,
    })
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} heads selected on {} regulators; on {} edges of {} others: early precision {:.4}, of all \
             heads {:.4}, at random {:.4}",
            self.heads.len(),
            self.selected_on,
            self.edges,
            self.evaluated_on,
            self.precision,
            self.precision_of_all,
            self.chance
        )
    }
}

/// A network, and the prefix of its rows: its head as `layer.head`, both counted from 0, or
/// nothing.
pub type Named = (String, Network);

/// Writes edges, the strongest of every gene first, the `top` of each or all with 0; edges of a
/// gene to itself are left out.
///
/// # Errors
/// System errors, and a weight that is not finite.
pub fn write_table(
    file: &mut File,
    columns: &str,
    networks: impl Iterator<Item = Named>,
    genes: &[String],
    top: usize,
) -> std::io::Result<()> {
    let mut out = BufWriter::new(file);
    writeln!(out, "{columns}")?;
    let kept = if top == 0 { genes.len() } else { top };
    for (head, network) in networks {
        let rows = network.weights.chunks(network.size.max(1));
        for (i, row) in rows.enumerate() {
            let mut order: Vec<usize> = (0..row.len()).filter(|&j| j != i).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            if let Some(j) = row.iter().position(|w| !w.is_finite()) {
                return Err(std::io::Error::other(format!(
                    "{head}{} to {}: {} is not finite, so nothing was written; check for weights that \
                     are not finite",
                    genes[i], genes[j], row[j]
                )));
            }
            for j in order.into_iter().take(kept) {
                writeln!(out, "{head}{}\t{}\t{}", genes[i], genes[j], row[j])?;
            }
        }
    }
    out.flush()
}
