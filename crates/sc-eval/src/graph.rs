//! Neighbour graphs: UMAP's fuzzy graph and connected components.

use crate::neighbors::Neighbors;

/// A weighted graph in compressed rows (CSR); symmetric unless noted.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Row boundaries, `nodes + 1` entries.
    pub indptr: Vec<usize>,
    /// Neighbour of every edge, ascending within a row.
    pub indices: Vec<u32>,
    /// Weight of every edge.
    pub weights: Vec<f32>,
}

impl Graph {
    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.indptr.len().saturating_sub(1)
    }

    /// Neighbours and weights of one node.
    pub fn row(&self, node: usize) -> (&[u32], &[f32]) {
        let range = self.indptr[node]..self.indptr[node + 1];
        (&self.indices[range.clone()], &self.weights[range])
    }

    /// The subgraph of `members` (ascending), renumbered from 0.
    pub(crate) fn induced(&self, members: &[u32]) -> Self {
        let mut out = Self {
            indptr: vec![0],
            ..Self::default()
        };
        for &m in members {
            let (indices, weights) = self.row(m as usize);
            for (&j, &w) in indices.iter().zip(weights) {
                if let Ok(position) = members.binary_search(&j) {
                    out.indices.push(position as u32);
                    out.weights.push(w);
                }
            }
            out.indptr.push(out.indices.len());
        }
        out
    }

    /// Component of every node of a symmetric graph, numbered by their lowest node.
    pub(crate) fn components(&self) -> Vec<u32> {
        let mut sets = DisjointSets::new(self.nodes());
        for i in 0..self.nodes() {
            for &j in self.row(i).0 {
                sets.join(i as u32, j);
            }
        }
        sets.labels()
    }
}

/// Union-find with path halving; the smaller root wins, so labels do not depend on edge order.
pub(crate) struct DisjointSets(Vec<u32>);

impl DisjointSets {
    pub(crate) fn new(n: usize) -> Self {
        Self((0..n as u32).collect())
    }

    fn find(&mut self, mut i: u32) -> u32 {
        while self.0[i as usize] != i {
            let parent = self.0[i as usize];
            self.0[i as usize] = self.0[parent as usize];
            i = self.0[i as usize];
        }
        i
    }

    pub(crate) fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.find(a), self.find(b));
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        self.0[high as usize] = low;
    }

    /// The lowest member of every node's set.
    pub(crate) fn labels(mut self) -> Vec<u32> {
        (0..self.0.len() as u32).map(|i| self.find(i)).collect()
    }
}

/// UMAP's fuzzy graph of the first `k` neighbours (the cell itself counted).
///
/// As umap-learn 0.5: for every cell ρ is the smallest non-zero distance and σ solves
/// `Σ exp(−max(0, d − ρ)/σ) = log₂ k` by at most 64 bisections to 1e-5, never below 1e-3 of the
/// mean distance; memberships `exp(−(d − ρ)/σ)` are united by `a + b − ab`.
pub fn fuzzy(neighbors: &Neighbors, k: usize) -> Graph {
    let k = k.min(neighbors.k());
    let n = neighbors.cells();
    let directed = memberships(neighbors, k);
    let reversed = transpose(&directed, n);
    let mut out = Graph {
        indptr: vec![0],
        ..Graph::default()
    };
    for i in 0..n {
        let (a, av) = directed.row(i);
        let (b, bv) = reversed.row(i);
        let (mut p, mut q) = (0, 0);
        while p < a.len() || q < b.len() {
            let left = a.get(p).copied().unwrap_or(u32::MAX);
            let right = b.get(q).copied().unwrap_or(u32::MAX);
            let j = left.min(right);
            let (mut x, mut y) = (0.0, 0.0);
            if left == j {
                x = av[p];
                p += 1;
            }
            if right == j {
                y = bv[q];
                q += 1;
            }
            let w = x + y - x * y;
            if w != 0.0 {
                out.indices.push(j);
                out.weights.push(w);
            }
        }
        out.indptr.push(out.indices.len());
    }
    out
}

/// Directed memberships without the cell itself, columns ascending.
fn memberships(neighbors: &Neighbors, k: usize) -> Graph {
    let n = neighbors.cells();
    let total: f64 = neighbors
        .distances
        .outer_iter()
        .map(|row| row.iter().take(k).map(|&d| f64::from(d)).sum::<f64>())
        .sum();
    let mean_all = total / (n * k).max(1) as f64;
    let mut out = Graph {
        indptr: vec![0],
        ..Graph::default()
    };
    let mut row: Vec<(u32, f32)> = Vec::with_capacity(k);
    for i in 0..n {
        let d: Vec<f64> = neighbors
            .distances
            .row(i)
            .iter()
            .take(k)
            .map(|&v| f64::from(v))
            .collect();
        let (rho, sigma) = smooth(&d, mean_all);
        row.clear();
        for (&j, &dist) in neighbors.indices.row(i).iter().zip(&d) {
            if j as usize == i {
                continue;
            }
            let w = if dist - rho <= 0.0 || sigma == 0.0 {
                1.0
            } else {
                (-(dist - rho) / sigma).exp()
            };
            if w as f32 != 0.0 {
                row.push((j, w as f32));
            }
        }
        row.sort_unstable_by_key(|e| e.0);
        out.indices.extend(row.iter().map(|e| e.0));
        out.weights.extend(row.iter().map(|e| e.1));
        out.indptr.push(out.indices.len());
    }
    out
}

/// ρ and σ of one row of distances whose first entry is the cell itself.
fn smooth(d: &[f64], mean_all: f64) -> (f64, f64) {
    let rho = d
        .iter()
        .copied()
        .filter(|&v| v > 0.0)
        .fold(f64::INFINITY, f64::min);
    let rho = if rho.is_finite() { rho } else { 0.0 };
    let target = (d.len() as f64).log2();
    let (mut low, mut high, mut sigma) = (0.0, f64::INFINITY, 1.0);
    for _ in 0..64 {
        let sum: f64 = d
            .iter()
            .skip(1)
            .map(|&v| {
                if v - rho > 0.0 {
                    (-(v - rho) / sigma).exp()
                } else {
                    1.0
                }
            })
            .sum();
        if (sum - target).abs() < 1e-5 {
            break;
        }
        if sum > target {
            high = sigma;
            sigma = f64::midpoint(low, high);
        } else {
            low = sigma;
            sigma = if high.is_infinite() {
                sigma * 2.0
            } else {
                f64::midpoint(low, high)
            };
        }
    }
    let mean = d.iter().sum::<f64>() / d.len().max(1) as f64;
    let floor = 1e-3 * if rho > 0.0 { mean } else { mean_all };
    (rho, sigma.max(floor))
}

/// The transpose of a directed graph on `n` nodes.
fn transpose(graph: &Graph, n: usize) -> Graph {
    let mut indptr = vec![0usize; n + 1];
    for &j in &graph.indices {
        indptr[j as usize + 1] += 1;
    }
    for j in 0..n {
        indptr[j + 1] += indptr[j];
    }
    let mut next = indptr.clone();
    let mut indices = vec![0u32; graph.indices.len()];
    let mut weights = vec![0f32; graph.indices.len()];
    for i in 0..n {
        let (cols, vals) = graph.row(i);
        for (&j, &w) in cols.iter().zip(vals) {
            let at = next[j as usize];
            indices[at] = i as u32;
            weights[at] = w;
            next[j as usize] += 1;
        }
    }
    Graph {
        indptr,
        indices,
        weights,
    }
}

/// Strong components of the directed neighbour lists, where only edges between cells of equal
/// `group` count. Returns the component of every cell.
///
/// Tarjan's algorithm with an explicit stack, so that depth is not limited by the call stack.
pub(crate) fn strong_components(neighbors: &Neighbors, k: usize, group: &[u32]) -> Vec<u32> {
    const NEW: u32 = u32::MAX;
    let n = neighbors.cells();
    let k = k.min(neighbors.k());
    let (mut index, mut low) = (vec![NEW; n], vec![0u32; n]);
    let mut component = vec![NEW; n];
    let (mut stack, mut calls): (Vec<u32>, Vec<(u32, usize)>) = (Vec::new(), Vec::new());
    let (mut next, mut count) = (0u32, 0u32);
    for root in 0..n as u32 {
        if index[root as usize] != NEW {
            continue;
        }
        calls.push((root, 0));
        while let Some((v, edge)) = calls.pop() {
            let vi = v as usize;
            if index[vi] == NEW {
                index[vi] = next;
                low[vi] = next;
                next += 1;
                stack.push(v);
            }
            let mut descended = false;
            for e in edge..k {
                let w = neighbors.indices[[vi, e]];
                let wi = w as usize;
                if group[wi] != group[vi] {
                    continue;
                }
                if index[wi] == NEW {
                    // Return to the same edge: it then reads the finished child's low link.
                    calls.push((v, e));
                    calls.push((w, 0));
                    descended = true;
                    break;
                }
                if component[wi] == NEW {
                    low[vi] = low[vi].min(low[wi]);
                }
            }
            if descended {
                continue;
            }
            if low[vi] == index[vi] {
                while let Some(w) = stack.pop() {
                    component[w as usize] = count;
                    if w == v {
                        break;
                    }
                }
                count += 1;
            }
        }
    }
    component
}
