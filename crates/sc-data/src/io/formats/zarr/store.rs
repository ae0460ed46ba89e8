//! The files of a Zarr hierarchy: in a folder or a zip archive.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::zipped::Zipped;

/// A folder or an archive.
pub(super) enum Store {
    Folder(PathBuf),
    Zip(Box<Zipped>),
}

impl Store {
    /// Opens a folder, or an archive whose members decompress to at most `limit` bytes each.
    pub(super) fn open(path: &Path, limit: u64) -> Result<Self, String> {
        Ok(if path.is_dir() {
            Self::Folder(path.to_path_buf())
        } else {
            Self::Zip(Box::new(Zipped::open(path, limit)?))
        })
    }

    /// A whole file; `None` when there is none.
    pub(super) fn get(&self, key: &str) -> Result<Option<Arc<Vec<u8>>>, String> {
        match self {
            Self::Zip(archive) => archive.get(key),
            Self::Folder(folder) => {
                let Some(path) = below(folder, key) else {
                    return Ok(None);
                };
                match std::fs::read(&path) {
                    Ok(bytes) => Ok(Some(Arc::new(bytes))),
                    Err(e) if is_absent(&e) => Ok(None),
                    Err(e) => Err(format!("'{key}': {e}")),
                }
            }
        }
    }

    /// Bytes of a file; `None` when there is none.
    pub(super) fn size(&self, key: &str) -> Result<Option<u64>, String> {
        match self {
            Self::Zip(archive) => Ok(archive.size(key)),
            Self::Folder(folder) => {
                let Some(path) = below(folder, key) else {
                    return Ok(None);
                };
                match std::fs::metadata(&path) {
                    Ok(meta) => Ok(meta.is_file().then_some(meta.len())),
                    Err(e) if is_absent(&e) => Ok(None),
                    Err(e) => Err(format!("'{key}': {e}")),
                }
            }
        }
    }

    /// A range of a file, which must be inside it.
    pub(super) fn part(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>, String> {
        let size = self.size(key)?.unwrap_or(0);
        if range.start > range.end || range.end > size {
            return Err(format!(
                "'{key}' has {size} bytes, but its index refers to {range:?}"
            ));
        }
        let length = (range.end - range.start) as usize;
        match self {
            Self::Zip(archive) => {
                let bytes = archive.get(key)?.unwrap_or_default();
                let start = range.start as usize;
                bytes
                    .get(start..start + length)
                    .map(<[u8]>::to_vec)
                    .ok_or_else(|| format!("'{key}' is truncated"))
            }
            Self::Folder(folder) => {
                let path = below(folder, key).unwrap_or_default();
                let read = || {
                    let mut file = File::open(path)?;
                    file.seek(SeekFrom::Start(range.start))?;
                    let mut bytes = vec![0; length];
                    file.read_exact(&mut bytes)?;
                    Ok(bytes)
                };
                read().map_err(|e: std::io::Error| format!("'{key}': {e}"))
            }
        }
    }

    /// Whether an archive has a member with this name.
    pub(super) fn has(&self, wanted: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Folder(_) => false,
            Self::Zip(archive) => archive.names().any(wanted),
        }
    }

    /// Names directly below a group, sorted.
    pub(super) fn names(&self, group: &str) -> Vec<String> {
        let mut names: Vec<String> = match self {
            Self::Folder(folder) => below(folder, group)
                .and_then(|path| std::fs::read_dir(path).ok())
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .collect(),
            Self::Zip(archive) => {
                let prefix = match group {
                    "" => String::new(),
                    group => format!("{group}/"),
                };
                archive
                    .names()
                    .filter_map(|name| name.strip_prefix(&prefix)?.split_once('/'))
                    .map(|(first, _)| first.to_owned())
                    .collect()
            }
        };
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The file of a key, unless the key points outside the folder.
fn below(folder: &Path, key: &str) -> Option<PathBuf> {
    let inside = key.split('/').all(|part| part != ".." && part != ".");
    (inside && !key.starts_with('/')).then(|| folder.join(key))
}

fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as K;
    matches!(
        error.kind(),
        K::NotFound | K::NotADirectory | K::IsADirectory
    )
}
