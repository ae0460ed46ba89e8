//! Data for the benches: sparse counts at the density of real cells.

use rand::RngExt;
use sc_data::CsrMatrix;
use sc_data::rng::stream;
use std::path::Path;

/// Counts `[cells, genes]` with the given share of non-zeros, small integers, seeded by cell.
pub fn counts(cells: usize, genes: usize, density: f64) -> CsrMatrix {
    let mut out = CsrMatrix::empty(0, genes);
    for cell in 0..cells {
        let mut rng = stream(0, "bench", cell as u64, 0);
        let mut columns = Vec::new();
        let mut values = Vec::new();
        for gene in 0..genes as u32 {
            if rng.random::<f64>() < density {
                columns.push(gene);
                // Geometric with mean 2: half of the non-zeros are ones, as in real data.
                values.push(1.0 + (rng.random::<f32>().ln() / 0.5f32.ln()).floor());
            }
        }
        out.push_row(&columns, &values);
    }
    out
}

/// Reads a little-endian C-ordered array of four-byte values, with its shape.
///
/// # Errors
/// A file that cannot be read or is not such an array.
pub fn npy<T>(
    path: &Path,
    value: impl Fn([u8; 4]) -> T,
) -> Result<(Vec<usize>, Vec<T>), Box<dyn std::error::Error>> {
    let bytes = std::fs::read(path)?;
    let header = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    let text = std::str::from_utf8(&bytes[10..10 + header])?;
    let shape = text
        .split('(')
        .nth(1)
        .and_then(|s| s.split(')').next())
        .ok_or("no shape")?;
    let shape = shape
        .split(',')
        .filter_map(|s| s.trim().parse().ok())
        .collect();
    Ok((
        shape,
        bytes[10 + header..]
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| value(*b))
            .collect(),
    ))
}
