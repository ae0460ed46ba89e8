//! Graph connectivity: does the neighbour graph keep each label connected?
//!
//! scib-metrics 0.5.10 `metrics/_graph_connectivity.py`; theislab scib `graph_connectivity.py`.

use crate::categories::Groups;
use crate::error::{EvalError, Outcome, Undefined};
use crate::graph::{DisjointSets, strong_components};
use crate::neighbors::{self, Neighbors};
use crate::results::Mode;

/// `graph_connectivity`: mean over labels of the share of cells in the label's largest component.
///
/// On the first `k` neighbours (the cell itself counted; 15 by convention). Compat takes strong
/// components of the directed lists (scib-metrics), strict takes the lists as an undirected graph
/// (theislab), which does not penalise hubs and hardly depends on the tie rule.
pub fn graph_connectivity(neighbors: &Neighbors, k: usize, labels: &[u32], mode: Mode) -> Outcome {
    let shares = per_label(neighbors, k, labels, mode)?;
    if shares.is_empty() {
        return Err(Undefined::TooFewCells {
            needed: 1,
            found: 0,
        });
    }
    Ok(shares.iter().map(|s| s.1).sum::<f64>() / shares.len() as f64)
}

/// Share of every label's cells in its largest component, in ascending order of the codes.
///
/// # Errors
/// [`EvalError`] when lengths differ.
pub fn per_label(
    neighbors: &Neighbors,
    k: usize,
    labels: &[u32],
    mode: Mode,
) -> Result<Vec<(u32, f64)>, Undefined> {
    let (inside, members) = largest_component(neighbors, k, labels, mode)?;
    Ok(Groups::new(labels)
        .codes
        .into_iter()
        .zip(&members)
        .map(|(code, m)| {
            let count: u32 = m.iter().map(|&i| inside[i as usize]).sum();
            (code, f64::from(count) / m.len() as f64)
        })
        .collect())
}

/// 1 for every cell in the largest component of its label (the one with the lowest cell among
/// equals), and the cells of every label.
fn largest_component(
    neighbors: &Neighbors,
    k: usize,
    labels: &[u32],
    mode: Mode,
) -> Result<(Vec<u32>, Vec<Vec<u32>>), Undefined> {
    neighbors::check(neighbors, labels.len())?;
    EvalError::check("labels", neighbors.cells(), labels.len())?;
    let component = match mode {
        Mode::Compat => strong_components(neighbors, k, labels),
        Mode::Strict => {
            let mut sets = DisjointSets::new(labels.len());
            for (i, row) in neighbors.indices.outer_iter().enumerate() {
                for &j in row.iter().take(k) {
                    if labels[i] == labels[j as usize] {
                        sets.join(i as u32, j);
                    }
                }
            }
            sets.labels()
        }
    };
    let mut inside = vec![0u32; labels.len()];
    let members = Groups::new(labels).members;
    for m in &members {
        let own: Vec<u32> = m.iter().map(|&i| component[i as usize]).collect();
        let parts = Groups::new(&own);
        let largest = parts
            .members
            .iter()
            .max_by(|a, b| a.len().cmp(&b.len()).then(b[0].cmp(&a[0])));
        for &position in largest.into_iter().flatten() {
            inside[m[position as usize] as usize] = 1;
        }
    }
    Ok((inside, members))
}
