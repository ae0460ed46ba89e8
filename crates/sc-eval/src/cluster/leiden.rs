//! Leiden clustering by modularity.
//!
//! Traag, Waltman and van Eck 2019: fast local moving, refinement, aggregation. Quality is
//! `Σ_c [w(c) − γ K_c²/(4m)]` with `w(c)` the weight inside cluster `c`, `K_c` its summed degree
//! and `m` the total weight.

use crate::graph::Graph;
use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use std::collections::VecDeque;

/// Randomness of the refinement, igraph's default `beta`.
const BETA: f64 = 0.01;

/// A graph of aggregated nodes; self-loops are in `degrees` only, where alone they matter.
struct Level {
    indptr: Vec<usize>,
    indices: Vec<u32>,
    weights: Vec<f64>,
    degrees: Vec<f64>,
}

impl Level {
    fn nodes(&self) -> usize {
        self.degrees.len()
    }

    fn edges(&self, v: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        (self.indptr[v]..self.indptr[v + 1]).map(|e| (self.indices[e] as usize, self.weights[e]))
    }
}

/// Weights from one node to the clusters around it, with O(1) reset.
struct Around {
    weight: Vec<f64>,
    seen: Vec<u32>,
}

impl Around {
    fn new(n: usize) -> Self {
        Self {
            weight: vec![0.0; n],
            seen: Vec::new(),
        }
    }

    fn add(&mut self, cluster: usize, w: f64) {
        if self.weight[cluster] == 0.0 {
            self.seen.push(cluster as u32);
        }
        self.weight[cluster] += w;
    }

    fn clear(&mut self) {
        for c in self.seen.drain(..) {
            self.weight[c as usize] = 0.0;
        }
    }
}

/// Clusters a symmetric graph at resolution `gamma` by `iterations` passes (igraph's default is
/// 2); clusters are numbered by their first node. The same seed gives the same clusters.
pub fn leiden(graph: &Graph, gamma: f64, iterations: usize, seed: u64) -> Vec<u32> {
    let base = Level {
        indptr: graph.indptr.clone(),
        indices: graph.indices.clone(),
        weights: graph.weights.iter().map(|&w| f64::from(w)).collect(),
        degrees: (0..graph.nodes())
            .map(|v| graph.row(v).1.iter().map(|&w| f64::from(w)).sum())
            .collect(),
    };
    let total: f64 = base.degrees.iter().sum();
    let mut membership: Vec<u32> = (0..graph.nodes() as u32).collect();
    if total > 0.0 {
        let per_degree = gamma / total;
        for pass in 0..iterations {
            let mut rng = sc_data::rng::stream(seed, "leiden", 0, pass as u64);
            membership = run(&base, membership, per_degree, &mut rng);
        }
    }
    renumber(&membership).0
}

/// One pass over all levels, from the given membership.
fn run(base: &Level, membership: Vec<u32>, per_degree: f64, rng: &mut impl rand::Rng) -> Vec<u32> {
    let (mut clusters, _) = renumber(&membership);
    // Node of the current level that every original node belongs to.
    let mut node: Vec<u32> = (0..base.nodes() as u32).collect();
    let mut level: Option<Level> = None;
    loop {
        let current = level.as_ref().unwrap_or(base);
        local_move(current, &mut clusters, per_degree, rng);
        let (numbered, count) = renumber(&clusters);
        clusters = numbered;
        if count == current.nodes() {
            break;
        }
        let refined = refine(current, &clusters, count, per_degree, rng);
        let (mut refined, mut parts) = renumber(&refined);
        if parts == current.nodes() {
            // Refinement merged nothing: aggregate the clusters themselves, or it never ends.
            refined.clone_from(&clusters);
            parts = count;
        }
        let next = aggregate(current, &refined, parts);
        let mut above = vec![0u32; parts];
        for (v, &r) in refined.iter().enumerate() {
            above[r as usize] = clusters[v];
        }
        node.iter_mut().for_each(|n| *n = refined[*n as usize]);
        clusters = above;
        level = Some(next);
    }
    node.iter().map(|&n| clusters[n as usize]).collect()
}

/// Moves nodes to the best neighbouring cluster until no move improves the quality.
fn local_move(level: &Level, clusters: &mut [u32], per_degree: f64, rng: &mut impl rand::Rng) {
    let n = level.nodes();
    let mut sums = vec![0f64; n];
    let mut sizes = vec![0u32; n];
    for (v, &c) in clusters.iter().enumerate() {
        sums[c as usize] += level.degrees[v];
        sizes[c as usize] += 1;
    }
    let mut empty: Vec<u32> = (0..n as u32)
        .rev()
        .filter(|&c| sizes[c as usize] == 0)
        .collect();
    let mut order: Vec<u32> = (0..n as u32).collect();
    order.shuffle(rng);
    let mut queue: VecDeque<u32> = order.into();
    let mut queued = vec![true; n];
    let mut around = Around::new(n);
    while let Some(v) = queue.pop_front() {
        let v = v as usize;
        queued[v] = false;
        let own = clusters[v] as usize;
        for (u, w) in level.edges(v) {
            if u != v {
                around.add(clusters[u] as usize, w);
            }
        }
        let degree = level.degrees[v];
        let gain =
            |c: usize, sum: f64, around: &Around| around.weight[c] - per_degree * degree * sum;
        let (mut best, mut best_gain) = (own, gain(own, sums[own] - degree, &around));
        for &c in &around.seen {
            let c = c as usize;
            if c != own {
                let g = gain(c, sums[c], &around);
                if g > best_gain + 1e-12 {
                    (best, best_gain) = (c, g);
                }
            }
        }
        // A singleton cluster has zero gain.
        if best_gain < -1e-12
            && sizes[own] > 1
            && let Some(&free) = empty.last()
        {
            best = free as usize;
        }
        around.clear();
        if best == own {
            continue;
        }
        if sizes[best] == 0 {
            empty.pop();
        }
        sums[own] -= degree;
        sizes[own] -= 1;
        if sizes[own] == 0 {
            empty.push(own as u32);
            sums[own] = 0.0;
        }
        sums[best] += degree;
        sizes[best] += 1;
        clusters[v] = best as u32;
        for (u, _) in level.edges(v) {
            if clusters[u] as usize != best && !queued[u] {
                queued[u] = true;
                queue.push_back(u as u32);
            }
        }
    }
}

/// Splits every cluster into well-connected parts by merging its nodes from singletons.
fn refine(
    level: &Level,
    clusters: &[u32],
    count: usize,
    per_degree: f64,
    rng: &mut impl rand::Rng,
) -> Vec<u32> {
    let n = level.nodes();
    let mut whole = vec![0f64; count];
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); count];
    for (v, &c) in clusters.iter().enumerate() {
        whole[c as usize] += level.degrees[v];
        members[c as usize].push(v as u32);
    }
    let mut parts: Vec<u32> = (0..n as u32).collect();
    let mut sums = level.degrees.clone();
    let mut alone = vec![true; n];
    // Weight from every part to the rest of its cluster.
    let mut outward: Vec<f64> = (0..n)
        .map(|v| {
            level
                .edges(v)
                .filter(|&(u, _)| u != v && clusters[u] == clusters[v])
                .map(|e| e.1)
                .sum()
        })
        .collect();
    let mut around = Around::new(n);
    let mut options: Vec<(u32, f64)> = Vec::new();
    for (c, nodes) in members.iter_mut().enumerate() {
        nodes.shuffle(rng);
        for &v in nodes.iter() {
            let v = v as usize;
            let degree = level.degrees[v];
            if !alone[v] || outward[v] < per_degree * degree * (whole[c] - degree) {
                continue;
            }
            for (u, w) in level.edges(v) {
                if u != v && clusters[u] as usize == c {
                    around.add(parts[u] as usize, w);
                }
            }
            options.clear();
            options.push((v as u32, 0.0));
            for &p in &around.seen {
                let q = p as usize;
                if q == v || outward[q] < per_degree * sums[q] * (whole[c] - sums[q]) {
                    continue;
                }
                let gain = around.weight[q] - per_degree * degree * sums[q];
                if gain >= 0.0 {
                    options.push((p, gain));
                }
            }
            let target = choose(&options, rng) as usize;
            let between = around.weight[target];
            around.clear();
            if target != v {
                parts[v] = target as u32;
                sums[target] += degree;
                sums[v] = 0.0;
                // Edges between the two are no longer outward for either.
                outward[target] += outward[v] - 2.0 * between;
                outward[v] = 0.0;
                alone[v] = false;
                alone[target] = false;
            }
        }
    }
    parts
}

/// Draws an option with probability proportional to `exp(gain/β)`.
fn choose(options: &[(u32, f64)], rng: &mut impl rand::Rng) -> u32 {
    let top = options.iter().fold(f64::NEG_INFINITY, |m, o| m.max(o.1));
    let odds = |gain: f64| ((gain - top) / BETA).exp();
    let total: f64 = options.iter().map(|o| odds(o.1)).sum();
    let mut u = rng.random::<f64>() * total;
    for &(c, gain) in options {
        u -= odds(gain);
        if u <= 0.0 {
            return c;
        }
    }
    options[0].0
}

fn aggregate(level: &Level, parts: &[u32], count: usize) -> Level {
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); count];
    for (v, &p) in parts.iter().enumerate() {
        members[p as usize].push(v as u32);
    }
    let mut around = Around::new(count);
    let mut out = Level {
        indptr: vec![0],
        indices: Vec::new(),
        weights: Vec::new(),
        degrees: Vec::with_capacity(count),
    };
    for (p, nodes) in members.iter().enumerate() {
        let mut degree = 0.0;
        for &v in nodes {
            degree += level.degrees[v as usize];
            for (u, w) in level.edges(v as usize) {
                if parts[u] as usize != p {
                    around.add(parts[u] as usize, w);
                }
            }
        }
        around.seen.sort_unstable();
        for &c in &around.seen {
            out.indices.push(c);
            out.weights.push(around.weight[c as usize]);
        }
        around.clear();
        out.indptr.push(out.indices.len());
        out.degrees.push(degree);
    }
    out
}

/// Numbers clusters by their first node; returns how many there are.
fn renumber(clusters: &[u32]) -> (Vec<u32>, usize) {
    let size = clusters.iter().max().map_or(0, |&m| m as usize + 1);
    let mut new = vec![u32::MAX; size];
    let mut count = 0u32;
    let out = clusters
        .iter()
        .map(|&c| {
            let slot = &mut new[c as usize];
            if *slot == u32::MAX {
                *slot = count;
                count += 1;
            }
            *slot
        })
        .collect();
    (out, count as usize)
}

/// Modularity `Σ_c [w_in(c)/2m − γ (K_c/2m)²]` of a clustering.
pub fn modularity(graph: &Graph, clusters: &[u32], gamma: f64) -> f64 {
    let size = clusters.iter().max().map_or(0, |&m| m as usize + 1);
    let (mut inside, mut sums, mut total) = (0f64, vec![0f64; size], 0f64);
    for v in 0..graph.nodes() {
        let (indices, weights) = graph.row(v);
        for (&u, &w) in indices.iter().zip(weights) {
            total += f64::from(w);
            sums[clusters[v] as usize] += f64::from(w);
            if clusters[u as usize] == clusters[v] {
                inside += f64::from(w);
            }
        }
    }
    if total == 0.0 {
        return 0.0;
    }
    inside / total - gamma * sums.iter().map(|s| (s / total).powi(2)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cliques(count: usize, size: usize) -> Graph {
        let n = count * size;
        let mut g = Graph {
            indptr: vec![0],
            ..Graph::default()
        };
        for v in 0..n {
            for u in 0..n {
                let bridge = v.abs_diff(u) == 1;
                if u != v && (u / size == v / size || bridge) {
                    g.indices.push(u as u32);
                    g.weights.push(1.0);
                }
            }
            g.indptr.push(g.indices.len());
        }
        g
    }

    #[test]
    fn finds_cliques_and_is_reproducible() {
        let g = cliques(8, 6);
        let got = leiden(&g, 1.0, 2, 42);
        assert_eq!(got, (0..48).map(|v| v / 6).collect::<Vec<u32>>());
        assert_eq!(got, leiden(&g, 1.0, 2, 42));
        assert!(modularity(&g, &got, 1.0) > 0.8);
    }

    #[test]
    fn a_graph_without_edges_stays_apart() {
        let g = Graph {
            indptr: vec![0; 5],
            ..Graph::default()
        };
        assert_eq!(leiden(&g, 1.0, 2, 0), vec![0, 1, 2, 3]);
    }
}
