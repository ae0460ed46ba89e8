//! Keys of the cells of open files.

use crate::error::Result;
use crate::source::Source;
use sc_data::identity::CellKeys;

/// The keys of all cells, file after file; reads the counts once.
pub(crate) fn cell_keys(source: &Source) -> Result<CellKeys> {
    let mut names = Vec::with_capacity(source.cells());
    for part in &source.parts {
        names.extend(part.file.obs_names()?);
    }
    Ok(CellKeys::new(&*source.counts, &source.genes, &names)?)
}
