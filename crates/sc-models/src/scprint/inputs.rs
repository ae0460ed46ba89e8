//! Tables of genes: pooled protein embeddings and genomic positions.

use crate::layers::lookup::sinusoid;

/// Protein embeddings `[genes, dims]` averaged to `[genes, width]`, row-major, as
/// `torch.nn.AdaptiveAvgPool1d`: column `i` is the mean of columns `⌊i·dims/width⌋ …
/// ⌈(i+1)·dims/width⌉`.
pub fn pool_embeddings(table: &[f32], dims: usize, width: usize) -> Vec<f32> {
    if dims == 0 {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(table.len() / dims * width);
    for row in table.chunks_exact(dims) {
        for i in 0..width {
            let part = &row[i * dims / width..((i + 1) * dims).div_ceil(width)];
            let sum: f64 = part.iter().map(|&v| f64::from(v)).sum();
            out.push((sum / part.len().max(1) as f64) as f32);
        }
    }
    out
}

/// Sinusoidal encodings of every gene's position, `[genes, width]` row-major.
///
/// As published, position `p` uses row `p − 1` of the table, and position 0 its last row.
pub fn genome_positions(places: &[usize], width: usize) -> Vec<f32> {
    let rows = places.iter().copied().max().unwrap_or(0).max(1);
    let table = sinusoid(rows, width);
    let row = |&place: &usize| {
        let at = place.checked_sub(1).unwrap_or(rows - 1);
        &table[at * width..(at + 1) * width]
    };
    places.iter().flat_map(row).copied().collect()
}
