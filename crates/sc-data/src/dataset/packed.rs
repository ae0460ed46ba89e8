//! A fast copy of the counts: in memory when they are small, else row-packed on disk.

use super::{Dataset, Part};
use crate::error::{DataError, Result};
use crate::io::cache_folder;
use crate::io::rowstore::{PackedFrom, RowStore, pack};
use crate::io::store::CountsReader;
use crate::sampling::loader::Counts;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// Bytes of counts that are kept in memory.
const IN_MEMORY: u64 = 64 << 20;

/// Where a row-packed copy of the counts is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// In the cache folder, when the data are too large for memory and read more than once.
    #[default]
    Auto,
    /// Nowhere: the file itself is read.
    Never,
    /// In this folder, whatever the size.
    In(PathBuf),
}

impl FromStr for Keep {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "never" => Self::Never,
            folder => Self::In(folder.into()),
        })
    }
}

impl std::fmt::Display for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Never => f.write_str("never"),
            Self::In(folder) => write!(f, "{}", folder.display()),
        }
    }
}

impl Dataset {
    /// Makes `reads` random reads of cells fast: counts are kept in memory or row-packed, see [`Keep`].
    /// The values read are the same. `progress` is called with the cells packed so far and their
    /// total.
    ///
    /// Returns why an automatic copy was not made; the files are then read directly.
    ///
    /// # Errors
    /// [`DataError`] when the counts cannot be read, or a copy in a given folder not be written.
    pub fn prepare(
        &mut self,
        keep: &Keep,
        reads: u64,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Option<DataError>> {
        let once = reads <= self.cells() as u64;
        if *keep == Keep::Never || !self.holds_counts() || (once && *keep == Keep::Auto) {
            return Ok(None);
        }
        let mut readers = Vec::with_capacity(self.parts.len());
        let mut refused = None;
        for (part, hash) in self.parts.iter().zip(self.hashes()?) {
            let (reader, why) = fast(part, hash, keep, &mut progress)?;
            readers.push(reader);
            refused = refused.or(why);
        }
        self.read_from(readers)?;
        Ok(refused)
    }
}

type Fast = (Arc<dyn Counts>, Option<DataError>);

fn fast(
    part: &Part,
    hash: &str,
    keep: &Keep,
    progress: &mut impl FnMut(usize, usize),
) -> Result<Fast> {
    let reader = part.reader()?;
    let folder = match keep {
        Keep::In(folder) => folder.clone(),
        _ if reader.store().info().stored * 8 <= IN_MEMORY => {
            let cells = reader.cells();
            return Ok((Arc::new(reader.read_range(0..cells)?), None));
        }
        _ => cache_folder().join("rows"),
    };
    let path = folder.join(file_name(hash, &part.slot.to_string()));
    let shape = [reader.cells(), reader.genes()];
    let earlier = open(&path, hash, &part.slot.to_string());
    let packed = match earlier.filter(|p| [p.rows(), p.cols()] == shape) {
        Some(packed) => packed,
        None => {
            let made = std::fs::create_dir_all(&folder)
                .map_err(|e| DataError::io(&folder, e))
                .and_then(|()| pack_into(&reader, &path, hash, progress))
                .and_then(|_| RowStore::open(&path));
            match made {
                Ok(packed) => packed,
                // Slower, but the result is the same.
                Err(e) if *keep == Keep::Auto => return Ok((Arc::new(reader), Some(e))),
                Err(e) => return Err(e),
            }
        }
    };
    Ok((Arc::new(reader.with_packed(packed)?), None))
}

/// An existing copy, if it is one of this file.
fn open(path: &Path, hash: &str, slot: &str) -> Option<RowStore> {
    let packed = RowStore::open(path).ok()?;
    (packed.from().hash == hash && packed.from().slot == slot).then_some(packed)
}

/// Packs the counts of `reader`, of a file with this blake3 `hash`, into `path`. `progress` is
/// called with the cells packed so far and their total. Returns the bytes written.
///
/// # Errors
/// [`DataError`] when the counts cannot be read or the copy not be written.
pub fn pack_into(
    reader: &CountsReader,
    path: &Path,
    hash: &str,
    progress: &mut impl FnMut(usize, usize),
) -> Result<u64> {
    let from = PackedFrom {
        hash: hash.to_owned(),
        slot: reader.store().slot().to_string(),
        written_by: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let cells = reader.cells();
    tracing::info!(path = %path.display(), cells, "packing counts");
    pack(reader, path, &from, |done| progress(done, cells))
}

fn file_name(hash: &str, slot: &str) -> String {
    let slot: String = slot
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    format!("{}-{slot}.rows", hash.get(..32).unwrap_or(hash))
}
