//! Quality of cells: the share of mitochondrial counts, as scanpy's `calculate_qc_metrics` defines it.

/// Marks mitochondrial genes by their symbols: `MT-` (human), `mt-` (mouse), `Mt-` (rat).
pub fn mitochondrial(symbols: &[String]) -> Vec<bool> {
    let is = |s: &String| s.get(..3).is_some_and(|p| p.eq_ignore_ascii_case("mt-"));
    symbols.iter().map(is).collect()
}

/// Percent of a cell's counts in marked genes (`pct_counts_mt`); `None` for a cell without counts.
///
/// `genes` and `counts` are those of one row of a sparse matrix; `marked` is `[genes of the matrix]`.
pub fn percent_marked(genes: &[u32], counts: &[f32], marked: &[bool]) -> Option<f64> {
    let total: f64 = counts.iter().map(|&v| f64::from(v)).sum();
    let own = genes
        .iter()
        .zip(counts)
        .filter(|(g, _)| marked[**g as usize]);
    // A sum of nothing is −0.
    let own = own.fold(0.0, |sum, (_, &v)| sum + f64::from(v));
    (total > 0.0).then(|| 100.0 * own / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_mitochondrial_counts_is_scanpys() {
        // pct_counts_mt of scanpy 1.11.5's calculate_qc_metrics(qc_vars=["mt"]).
        let names = ["A", "MT-CO1", "B", "mt-Nd1"].map(str::to_owned);
        let marked = mitochondrial(&names);
        let percent = |genes: &[u32], counts: &[f32]| percent_marked(genes, counts, &marked);
        assert_eq!(percent(&[0, 2, 3], &[5.0, 1.0, 4.0]), Some(40.0));
        assert_eq!(percent(&[0, 1, 2, 3], &[2.0; 4]), Some(50.0));
        assert_eq!(percent(&[], &[]), None);
        let none = percent(&[0], &[2.0]).unwrap();
        assert!(none == 0.0 && none.is_sign_positive());
    }
}
