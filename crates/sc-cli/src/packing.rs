//! Keeping a fast copy of the counts: in memory when they are few, else row-packed on disk.

use crate::error::{Result, at};
use crate::progress::Cells;
use crate::source::{Part, Source};
use sc_data::rowstore::{PackedFrom, RowStore, pack};
use sc_data::store::CountsReader;
use sc_train::corpus::Counts;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// Bytes of counts that are simply kept in memory.
const IN_MEMORY: u64 = 64 << 20;

/// Where a row-packed copy of the counts is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Keep {
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

    fn from_str(text: &str) -> Result<Self, Self::Err> {
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

/// Makes `source` fast for `reads` random reads of cells. `hashes` are those of its files.
pub(crate) fn prepare(
    source: &mut Source,
    hashes: &[String],
    keep: &Keep,
    reads: u64,
) -> Result<()> {
    let once = reads <= source.cells() as u64;
    if *keep == Keep::Never || !source.holds_counts() || (once && *keep == Keep::Auto) {
        return Ok(());
    }
    let mut readers = Vec::with_capacity(source.parts.len());
    for (part, hash) in source.parts.iter().zip(hashes) {
        readers.push(fast(part, hash, keep)?);
    }
    source.read_from(readers)
}

fn fast(part: &Part, hash: &str, keep: &Keep) -> Result<Arc<dyn Counts>> {
    let reader = part.reader()?;
    let folder = match keep {
        Keep::In(folder) => folder.clone(),
        _ if reader.store().info().stored * 8 <= IN_MEMORY => {
            let cells = reader.cells();
            return Ok(Arc::new(reader.read_range(0..cells)?));
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
                .map_err(|e| at(&folder, e))
                .and_then(|()| make(&reader, &path, hash));
            match made {
                Ok(packed) => packed,
                // Training goes on from the file itself: slower, but the result is the same.
                Err(e) if *keep == Keep::Auto => {
                    eprintln!(
                        "scfm: no packed copy of the counts is made ({e}); training reads the file"
                    );
                    return Ok(Arc::new(reader));
                }
                Err(e) => return Err(e),
            }
        }
    };
    Ok(Arc::new(reader.with_packed(packed)?))
}

/// An earlier copy, if it is one of this file.
fn open(path: &Path, hash: &str, slot: &str) -> Option<RowStore> {
    let packed = RowStore::open(path).ok()?;
    (packed.from().hash == hash && packed.from().slot == slot).then_some(packed)
}

fn make(reader: &CountsReader, path: &Path, hash: &str) -> Result<RowStore> {
    write(reader, path, hash)?;
    Ok(RowStore::open(path)?)
}

/// Packs the counts of `reader` into `path`, with a progress bar. Returns the bytes written.
pub(crate) fn write(reader: &CountsReader, path: &Path, hash: &str) -> Result<u64> {
    let from = PackedFrom {
        hash: hash.to_owned(),
        slot: reader.store().slot().to_string(),
        written_by: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let bar = Cells::new(reader.cells(), "packing");
    let mut shown = 0;
    let written = pack(reader, path, &from, |done| {
        bar.add(done - shown);
        shown = done;
    });
    bar.finish();
    Ok(written?)
}

fn file_name(hash: &str, slot: &str) -> String {
    let slot: String = slot
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    format!("{}-{slot}.rows", hash.get(..32).unwrap_or(hash))
}

/// `SCFM_CACHE`, else the user's cache folder, else the one for temporary files.
fn cache_folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    if let Some(folder) = variable("SCFM_CACHE") {
        return folder.into();
    }
    variable("XDG_CACHE_HOME")
        .or_else(|| variable("LOCALAPPDATA"))
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|h| h.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("scfm")
}
