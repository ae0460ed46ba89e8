//! What to know of several files that are read as one.

use super::{Dataset, Part};
use crate::error::{DataError, Result};
use crate::genes::normal_form;
use std::collections::HashSet;

impl Dataset {
    /// Refuses a file that is a copy of another.
    pub(super) fn refuse_copies(&self) -> Result<()> {
        for (k, part) in self.parts.iter().enumerate() {
            // Hashing reads whole files, and few have the same cells and genes.
            let alike =
                |other: &Part| other.file.n_obs() == part.file.n_obs() && other.genes == part.genes;
            for other in (0..k).filter(|&o| alike(&self.parts[o])) {
                let hashes = self.hashes()?;
                if hashes[k] == hashes[other] {
                    return Err(DataError::file(
                        part.file.path(),
                        format!(
                            "is a copy of {}, byte for byte; its cells would count twice, leave one of \
                             them out",
                            self.parts[other].file.path().display()
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    /// A sentence on every file that shares less than half of the genes with the files before it, of
    /// either side: a gene that a file lacks is zero there.
    pub fn few_shared_genes(&self) -> Vec<String> {
        let mut before: HashSet<&str> = HashSet::new();
        let mut sentences = Vec::new();
        for part in &self.parts {
            let names: HashSet<&str> = part.genes.iter().map(|g| normal_form(g)).collect();
            let shared = names.intersection(&before).count();
            if !before.is_empty() && shared * 2 < names.len().max(before.len()) {
                let share = |of: usize| 100.0 * shared as f64 / of.max(1) as f64;
                sentences.push(format!(
                    "{}: {shared} of its {} genes ({:.0} %) are in the files before it, which have {} \
                     ({:.0} %); a gene that a file lacks counts as zero there",
                    part.file.path().display(),
                    names.len(),
                    share(names.len()),
                    before.len(),
                    share(before.len())
                ));
            }
            before.extend(names);
        }
        sentences
    }
}
