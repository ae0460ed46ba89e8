//! Counts divided at random into two parts that are independent given the expression of the cell.
//!
//! Every molecule goes to one part or the other, so a method that was given one part can be judged on the
//! other: molecular cross-validation (Batson, Royer & Webber 2019).

use crate::error::{DataError, Result};
use crate::rng::stream;
use crate::sampling::loader::Counts;
use crate::sparse::CsrMatrix;
use rand_distr::{Binomial, Distribution as _};
use std::sync::Arc;

/// Which part of the counts is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The kept molecules.
    Kept,
    /// The others.
    Rest,
}

/// One part of the counts of cells; both parts of a cell add up to its counts.
pub struct Thinned {
    counts: Arc<dyn Counts>,
    keep: f64,
    seed: u64,
    part: Part,
}

impl Thinned {
    /// The `part` of `counts` when each molecule is kept with probability `keep`.
    ///
    /// # Errors
    /// [`DataError::Invalid`] for a probability that is not between 0 and 1.
    pub fn new(counts: Arc<dyn Counts>, keep: f64, seed: u64, part: Part) -> Result<Self> {
        if !(keep > 0.0 && keep < 1.0) {
            return Err(DataError::invalid(format!(
                "keep = {keep}; must be above 0 and below 1"
            )));
        }
        Ok(Self {
            counts,
            keep,
            seed,
            part,
        })
    }
}

impl Counts for Thinned {
    fn cells(&self) -> usize {
        self.counts.cells()
    }

    fn genes(&self) -> usize {
        self.counts.genes()
    }

    fn read(&self, rows: &[usize]) -> Result<CsrMatrix> {
        let counts = self.counts.read(rows)?;
        let mut out = CsrMatrix::empty(0, counts.cols());
        let (mut genes, mut values) = (Vec::new(), Vec::new());
        for (&row, (at, found)) in rows.iter().zip(counts.iter_rows()) {
            genes.clear();
            values.clear();
            let mut rng = stream(self.seed, "thin", row as u64, 0);
            for (&gene, &count) in at.iter().zip(found) {
                if count < 0.0 || count.fract() != 0.0 {
                    return Err(DataError::invalid(format!(
                        "cell {row}: {count} is not a count, and only counts can be divided; name the matrix \
                         with the counts"
                    )));
                }
                let draw = Binomial::new(count as u64, self.keep);
                let draw = draw.map_err(|e| DataError::invalid(e.to_string()))?;
                let kept = draw.sample(&mut rng) as f32;
                let value = match self.part {
                    Part::Kept => kept,
                    Part::Rest => count - kept,
                };
                if value > 0.0 {
                    genes.push(gene);
                    values.push(value);
                }
            }
            out.push_row(&genes, &values);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::RawCounts;

    fn thinned(keep: f64, part: Part) -> CsrMatrix {
        let dense: Vec<f32> = (0..400).map(|k| (k % 7) as f32).collect();
        let counts = RawCounts::new(CsrMatrix::from_dense(20, &dense)).unwrap();
        let thinned = Thinned::new(Arc::new(counts), keep, 3, part).unwrap();
        thinned.read(&(0..20).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn both_parts_add_up() {
        let [kept, rest] = [Part::Kept, Part::Rest].map(|p| thinned(0.7, p));
        let total = |m: &CsrMatrix| m.row_sums().iter().sum::<f64>();
        let all: f64 = (0..400).map(|k| f64::from(k % 7)).sum();
        assert_eq!(total(&kept) + total(&rest), all);
        let share = total(&kept) / all;
        assert!((0.66..0.74).contains(&share), "{share}");
    }

    #[test]
    fn the_part_of_a_cell_does_not_depend_on_the_others() {
        let dense: Vec<f32> = (0..60).map(|k| (k % 5) as f32).collect();
        let counts = Arc::new(RawCounts::new(CsrMatrix::from_dense(20, &dense)).unwrap());
        let thinned = Thinned::new(counts, 0.5, 1, Part::Kept).unwrap();
        let all = thinned.read(&[0, 1, 2]).unwrap();
        assert_eq!(thinned.read(&[2]).unwrap().row(0), all.row(2));
        let fraction = Arc::new(RawCounts::new(CsrMatrix::from_dense(1, &[1.0])).unwrap());
        assert!(Thinned::new(fraction, 1.0, 1, Part::Kept).is_err());
    }
}
