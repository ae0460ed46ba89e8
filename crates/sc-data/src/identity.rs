//! Identity of cells, independent of file, row, gene order or reader.
//!
//! A cell has two keys. Its **content key** is a hash of its counts by gene name: the same cell in
//! another file, row or gene order has the same key, and so has an exact copy under another
//! name. Its **barcode key** is a hash of the barcode in its name in `obs`, which survives filtering
//! of genes but is unreliable where names are `0`, `1`, `2` or the barcodes of another 10x run.
//!
//! The training cells of a model are recorded by these keys ([`TrainingRecord`]), stored with every
//! embedding ([`Provenance`]), and compared with the cells that are evaluated
//! ([`TrainedOn::seen`]).

mod keys;
mod record;

pub use keys::KeySet;
pub use record::{
    GivenBatches, Known, Provenance, Seen, TrainedOn, TrainingRecord, read_keys, vector_key,
    write_keys,
};

use crate::error::{DataError, Result};
use crate::genes::{guess, lookup, normal_form};
use crate::sampling::loader::Counts;
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::HashSet;

/// Cells read at a time.
const CELLS: usize = 4096;

/// Length of the shortest cell barcode in nucleotides, that of Drop-seq.
const SHORTEST_BARCODE: usize = 12;

/// Barcodes in the smallest whitelist in use, that of 10x 3' v2: two runs share some by chance.
pub const BARCODES: f64 = 737_280.0;

/// The content key of every cell without counts: such cells are indistinguishable, so none of them
/// counts as a training cell by its content.
pub const EMPTY: u64 = 0;

/// The keys of the cells of a data set, row by row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellKeys {
    /// blake3 over the non-zero pairs of gene and value, ordered by the genes' ids where they are
    /// known, else by their names; [`EMPTY`] for a cell without counts.
    pub content: Vec<u64>,
    /// blake3 of the barcode in the name in `obs`, see [`barcode_key`].
    pub barcode: Vec<u64>,
}

impl CellKeys {
    /// How many cells have no counts.
    pub fn empty(&self) -> usize {
        self.content.iter().filter(|k| **k == EMPTY).count()
    }

    /// How many cells have the counts and the barcode of a cell before them; those without counts are not
    /// told apart by them.
    pub fn repeated(&self) -> usize {
        let mut seen = HashSet::with_capacity(self.content.len());
        let cells = self.content.iter().zip(&self.barcode);
        let counted = cells.filter(|(content, _)| **content != EMPTY);
        counted.filter(|cell| !seen.insert(*cell)).count()
    }

    /// The keys of all cells of `counts`, whose columns are `genes` and whose rows are named `names`;
    /// counts are read once, a few thousand cells at a time.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when names and counts differ in number, and any error of the file or
    /// its values.
    pub fn new(counts: &dyn Counts, genes: &[String], names: &[String]) -> Result<Self> {
        let cells = counts.cells();
        if names.len() != cells || genes.len() != counts.genes() {
            return Err(DataError::invalid(format!(
                "{} cell names and {} gene names for counts of {cells} cells and {} genes",
                names.len(),
                genes.len(),
                counts.genes()
            )));
        }
        let order = Order::new(genes);
        let mut content = Vec::with_capacity(cells);
        for first in (0..cells).step_by(CELLS) {
            let rows: Vec<usize> = (first..cells.min(first + CELLS)).collect();
            let read = counts.read(&rows)?;
            let keys = (0..read.rows()).into_par_iter().map_init(
                || order.scratch(),
                |scratch, row| order.key(read.row(row), scratch),
            );
            content.par_extend(keys);
        }
        Ok(Self {
            content,
            barcode: names.par_iter().map(|n| barcode_key(n)).collect(),
        })
    }

    /// These cells and those of `others` that are not among them.
    pub fn and(mut self, others: &Self) -> Self {
        let own = self.content.iter().zip(&self.barcode);
        let own: HashSet<(u64, u64)> = own.map(|(c, b)| (*c, *b)).collect();
        let pairs = others.content.iter().zip(&others.barcode);
        for (content, barcode) in pairs.filter(|(c, b)| !own.contains(&(**c, **b))) {
            self.content.push(*content);
            self.barcode.push(*barcode);
        }
        self
    }

    /// Number of cells.
    pub fn cells(&self) -> usize {
        self.content.len()
    }

    /// The keys of the cells at `rows`.
    pub fn select(&self, rows: &[usize]) -> Self {
        Self {
            content: rows.iter().map(|&r| self.content[r]).collect(),
            barcode: rows.iter().map(|&r| self.barcode[r]).collect(),
        }
    }

    /// One key per cell that defines the order of cells and names per-cell random streams: the
    /// barcode where no two cells share one, the content otherwise.
    pub fn draw_keys(&self) -> &[u64] {
        let mut seen = HashSet::with_capacity(self.barcode.len());
        match self.barcode.iter().all(|b| seen.insert(b)) {
            true => &self.barcode,
            false => &self.content,
        }
    }
}

/// The barcode key of a cell name: of the nucleotides in it, since names get a sample, library or
/// file number as prefix or suffix; of the whole name where there are none.
pub fn barcode_key(name: &str) -> u64 {
    let name = &name.to_uppercase();
    let runs = name.split(|c| !"ACGT".contains(c));
    let longest = runs.reduce(|best, run| if run.len() > best.len() { run } else { best });
    let barcode = longest.filter(|run| run.len() >= SHORTEST_BARCODE);
    key(barcode.unwrap_or(name).as_bytes())
}

/// A key of a cell's input to a model: positions in its vocabulary, ascending, and values.
///
/// Tokens are drawn with it, so that they are a function of the cell alone: not of its row, its
/// name, the other cells of the file, or genes outside the model's vocabulary.
pub fn seen_key(genes: &[u32], values: &[f32]) -> u64 {
    let pairs = genes.iter().zip(values).filter(|(_, v)| **v != 0.0);
    let bytes: Vec<u8> = pairs
        .flat_map(|(g, v)| (u64::from(*g) << 32 | u64::from(v.to_bits())).to_le_bytes())
        .collect();
    key(&bytes)
}

fn key(bytes: &[u8]) -> u64 {
    let hash = blake3::hash(bytes);
    let first = hash.as_bytes().first_chunk::<8>();
    u64::from_le_bytes(*first.expect("invariant: a blake3 hash has 32 bytes"))
}

/// One name per gene, whatever names a file uses. Where most genes are in the built-in tables,
/// they are named by Ensembl id, and the others are left out: another file may name them
/// differently.
fn canonical(genes: &[String]) -> Vec<Option<Cow<'_, str>>> {
    let (_, organism) = guess(genes);
    let found: Vec<Option<Cow<'_, str>>> = genes
        .par_iter()
        .map(|name| {
            let (gene, _) = lookup(name, organism)?;
            gene.symbol().map(|_| Cow::from(gene.ensembl_id()))
        })
        .collect();
    if found.iter().flatten().count() * 2 > genes.len() {
        return found;
    }
    let names = genes.iter().map(|g| normal_form(g));
    names.map(|name| Some(name.into())).collect()
}

/// Genes in the order of their names.
struct Order {
    /// Position of every column; none for one that does not identify a cell.
    rank: Vec<Option<u32>>,
    /// Hash of every name, in order; columns with the same name share a position.
    names: Vec<u64>,
}

/// Values of one cell by position, and which positions hold one.
struct Scratch {
    values: Vec<f32>,
    filled: Vec<u64>,
    bytes: Vec<u8>,
}

impl Order {
    fn new(genes: &[String]) -> Self {
        let names = canonical(genes);
        let mut distinct: Vec<&str> = names.iter().flatten().map(|n| &**n).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let rank = |n: &Option<Cow<'_, str>>| {
            let place = |n: &Cow<'_, str>| distinct.partition_point(|d| *d < &**n) as u32;
            n.as_ref().map(place)
        };
        Self {
            rank: names.iter().map(rank).collect(),
            names: distinct.iter().map(|n| key(n.as_bytes())).collect(),
        }
    }

    fn scratch(&self) -> Scratch {
        Scratch {
            values: vec![0.0; self.names.len()],
            filled: vec![0; self.names.len().div_ceil(64)],
            bytes: Vec::new(),
        }
    }

    /// The content key of a row. A bit per position orders the pairs without sorting.
    fn key(&self, (columns, values): (&[u32], &[f32]), scratch: &mut Scratch) -> u64 {
        for (&column, &value) in columns.iter().zip(values).filter(|(_, v)| **v != 0.0) {
            let Some(place) = self.rank[column as usize] else {
                continue;
            };
            let place = place as usize;
            scratch.values[place] += value;
            scratch.filled[place / 64] |= 1 << (place % 64);
        }
        scratch.bytes.clear();
        for (word, bits) in scratch.filled.iter_mut().enumerate() {
            while *bits != 0 {
                let place = word * 64 + bits.trailing_zeros() as usize;
                *bits &= *bits - 1;
                let value = std::mem::take(&mut scratch.values[place]);
                let name = self.names[place].to_le_bytes();
                scratch.bytes.extend_from_slice(&name);
                scratch.bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
        match scratch.bytes.is_empty() {
            true => EMPTY,
            false => key(&scratch.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::RawCounts;
    use crate::sampling::collection::Collection;
    use crate::sparse::CsrMatrix;
    use std::sync::Arc;

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(|n| n.to_string()).collect()
    }

    fn keys(genes: &[&str], cells: &[&str], dense: &[f32]) -> CellKeys {
        let counts = RawCounts::new(CsrMatrix::from_dense(genes.len(), dense)).unwrap();
        CellKeys::new(&counts, &names(genes), &names(cells)).unwrap()
    }

    #[test]
    fn a_cell_is_known_by_its_counts_in_any_row_gene_order_and_file() {
        let first = keys(&["A", "B", "C"], &["x", "y"], &[1., 0., 2., 0., 3., 0.]);
        let other = keys(&["C", "B", "A"], &["y2", "x2"], &[0., 3., 0., 2., 0., 1.]);
        assert_eq!(first.content[0], other.content[1]);
        assert_eq!(first.content[1], other.content[0]);
        assert_ne!(first.content[0], first.content[1]);
        // Genes without counts, versions of Ensembl ids and duplicate names change nothing.
        let ensembl = keys(&["ENSG00000000001.4", "D"], &["x"], &[5., 0.]);
        let split = keys(&["ENSG00000000001", "ENSG00000000001"], &["x"], &[2., 3.]);
        assert_eq!(ensembl, split);
        // Two files together hold the cells of both.
        let part = |dense: &[f32], genes: &[&str]| -> (String, Vec<String>, Arc<dyn Counts>) {
            let counts = RawCounts::new(CsrMatrix::from_dense(genes.len(), dense)).unwrap();
            ("file".into(), names(genes), Arc::new(counts))
        };
        let both = Collection::new(vec![
            part(&[1., 0., 2.], &["A", "B", "C"]),
            part(&[0., 3.], &["C", "B"]),
        ])
        .unwrap();
        let genes = both.gene_names().to_vec();
        let together = CellKeys::new(&both, &genes, &names(&["x", "y"])).unwrap();
        assert_eq!(together, first);
    }

    #[test]
    fn symbols_former_symbols_and_ids_name_the_same_genes() {
        let ids = [
            "ENSG00000184640.13",
            "ENSG00000111640",
            "ENSG00000099999999",
        ];
        let ids = keys(&ids, &["x"], &[3., 5., 1.]);
        let symbols = keys(&["SEPTIN9", "GAPDH", "AC0.1"], &["x"], &[3., 5., 2.]);
        let former = keys(&["GAPDH", "SEPT9", "XY"], &["x"], &[5., 3., 0.]);
        assert_eq!(ids, symbols);
        assert_eq!(ids, former);
    }

    #[test]
    fn cells_without_counts_share_a_key_that_says_nothing() {
        let found = keys(&["A"], &["x", "y"], &[0., 0.]);
        assert_eq!(found.content, [EMPTY, EMPTY]);
        assert_ne!(found.barcode[0], found.barcode[1]);
    }

    #[test]
    fn repeated_barcodes_give_way_to_content() {
        let unique = keys(&["A"], &["x", "y"], &[1., 2.]);
        assert_eq!(unique.draw_keys(), unique.barcode);
        let repeated = keys(&["A"], &["x", "x"], &[1., 2.]);
        assert_eq!(repeated.draw_keys(), unique.content);
        assert_eq!(unique.select(&[1]).content, unique.content[1..]);
    }

    #[test]
    fn a_barcode_is_known_by_its_nucleotides() {
        let plain = barcode_key("AAACCTGAGAAGGCCT-1");
        for same in [
            "AAACCTGAGAAGGCCT",
            "AAACCTGAGAAGGCCT-1-3",
            "GTAC_AAACCTGAGAAGGCCT-1",
            "aaacctgagaaggcct",
        ] {
            assert_eq!(barcode_key(same), plain, "{same}");
        }
        for other in ["AAACCTGAGAAGGCCA-1", "cell_1", "", "ACGT"] {
            assert_ne!(barcode_key(other), plain, "{other}");
        }
        assert_ne!(barcode_key("ACGT-1"), barcode_key("ACGT-2"));
    }

    #[test]
    fn lengths_that_differ_are_told() {
        let counts = RawCounts::new(CsrMatrix::from_dense(1, &[1.0])).unwrap();
        let error = CellKeys::new(&counts, &names(&["A"]), &[]).unwrap_err();
        assert!(error.to_string().contains("0 cell names"), "{error}");
    }
}
