//! Several files as one: cells concatenated, genes as their union.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{DataError, Result};
use crate::genes::normal_form;
use crate::sampling::loader::Counts;
use crate::sparse::CsrMatrix;

/// Counts of several files of one experiment, `[cells of all, genes of any]`.
///
/// Genes are the same when their names are (Ensembl ids without their version); a gene missing in a
/// file is zero there, and counts of a duplicate name in a file are summed.
pub struct Collection {
    parts: Vec<Part>,
    genes: Vec<String>,
}

struct Part {
    counts: Arc<dyn Counts>,
    /// Number of cells in the parts before.
    first: usize,
    /// For each gene of the file, its position in the union.
    columns: Vec<Option<u32>>,
}

impl Collection {
    /// Concatenates files, each with its gene names.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when there is no file, or the files share too few genes: fewer than half
    /// of those of the smaller one with the genes of the files before it.
    pub fn new(files: Vec<(String, Vec<String>, Arc<dyn Counts>)>) -> Result<Self> {
        if files.is_empty() {
            return Err(DataError::invalid("no files to read"));
        }
        let mut position: HashMap<String, u32> = HashMap::new();
        let mut genes: Vec<String> = Vec::new();
        let mut parts = Vec::with_capacity(files.len());
        let mut first = 0;
        for (name, names, counts) in files {
            let before = genes.len();
            let known = names
                .iter()
                .filter(|n| position.contains_key(normal_form(n)));
            let shared = known.count();
            if before > 0 && shared * 2 < names.len().min(before) {
                return Err(DataError::invalid(format!(
                    "{name}: {shared} of its {} genes are in the files before it, which is too few for one \
                     experiment; check that all use the same names (symbols or Ensembl ids) and \
                     organism",
                    names.len()
                )));
            }
            let columns = names
                .iter()
                .map(|n| {
                    let place = position.entry(normal_form(n).to_owned());
                    Some(*place.or_insert_with(|| {
                        genes.push(n.clone());
                        genes.len() as u32 - 1
                    }))
                })
                .collect();
            let cells = counts.cells();
            parts.push(Part {
                counts,
                first,
                columns,
            });
            first += cells;
        }
        Ok(Self { parts, genes })
    }

    /// Names of the union of the genes, in order of first occurrence.
    pub fn gene_names(&self) -> &[String] {
        &self.genes
    }

    fn part_of(&self, row: usize) -> usize {
        self.parts.partition_point(|p| p.first <= row) - 1
    }
}

impl Counts for Collection {
    fn cells(&self) -> usize {
        self.parts.last().map_or(0, |p| p.first + p.counts.cells())
    }

    fn genes(&self) -> usize {
        self.genes.len()
    }

    fn read(&self, rows: &[usize]) -> Result<CsrMatrix> {
        if let Some(bad) = rows.iter().find(|r| **r >= self.cells()) {
            return Err(DataError::invalid(format!(
                "there is no cell {bad}, only {} cells in {} files",
                self.cells(),
                self.parts.len()
            )));
        }
        // Each file is read once; then the rows are put into the requested order.
        let mut wanted: Vec<Vec<usize>> = vec![Vec::new(); self.parts.len()];
        for &row in rows {
            let part = self.part_of(row);
            wanted[part].push(row - self.parts[part].first);
        }
        let mut stacked = CsrMatrix::empty(0, self.genes.len());
        let mut next = Vec::with_capacity(self.parts.len());
        for (part, rows) in self.parts.iter().zip(&wanted) {
            next.push(stacked.rows());
            if !rows.is_empty() {
                let read = part.counts.read(rows)?;
                stacked.append(&read.sum_cols(&part.columns, self.genes.len())?)?;
            }
        }
        let order: Vec<usize> = rows
            .iter()
            .map(|&row| {
                let at = &mut next[self.part_of(row)];
                *at += 1;
                *at - 1
            })
            .collect();
        Ok(stacked.select_rows(&order))
    }

    fn window(&self) -> usize {
        self.parts
            .iter()
            .map(|p| p.counts.window())
            .max()
            .unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::RawCounts;

    fn part(name: &str, genes: &[&str], dense: &[f32]) -> (String, Vec<String>, Arc<dyn Counts>) {
        let matrix = CsrMatrix::from_dense(genes.len(), dense);
        let names = genes.iter().map(|g| (*g).to_owned()).collect();
        (
            name.into(),
            names,
            Arc::new(RawCounts::new(matrix).unwrap()),
        )
    }

    #[test]
    fn genes_are_joined_by_name_and_rows_keep_their_order() {
        let files = vec![
            part("a", &["A1", "B1"], &[1.0, 2.0, 3.0, 4.0]),
            part("b", &["B1", "C1", "B1"], &[5.0, 6.0, 7.0]),
        ];
        let all = Collection::new(files).unwrap();
        assert_eq!(all.gene_names(), ["A1", "B1", "C1"]);
        assert_eq!((all.cells(), all.genes()), (3, 3));
        let read = all.read(&[2, 0, 2, 1]).unwrap().to_dense();
        let cells = [
            [0.0, 12.0, 6.0],
            [1.0, 2.0, 0.0],
            [0.0, 12.0, 6.0],
            [3.0, 4.0, 0.0],
        ];
        assert_eq!(read, cells.concat());
        assert!(all.read(&[3]).is_err());
    }

    #[test]
    fn files_with_other_names_are_refused() {
        let files = vec![
            part("a", &["TP53", "INS"], &[1.0, 2.0]),
            part("b", &["ENSG00000141510"], &[1.0]),
        ];
        let error = Collection::new(files).err().unwrap().to_string();
        assert!(error.starts_with("b: 0 of its 1 genes"), "{error}");
        assert!(Collection::new(Vec::new()).is_err());
    }
}
