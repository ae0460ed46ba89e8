//! Files that are either whole or absent, and hashes of files.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{DataError, Result};

mod lock;
mod unfinished;

pub use lock::{Lock, lock_file, lock_folder};
pub use unfinished::{Unfinished, remove_unfinished};

/// Writes `path` atomically.
///
/// `write` fills a temporary file in the same folder; only when it succeeds is the file flushed to
/// disk and renamed to `path`, or to the target of `path` where it is a link. On any failure, and
/// when the process dies, `path` keeps its previous content (a killed process may leave a file
/// named `.scfm-…` behind).
///
/// # Errors
/// What `write` returns, and [`DataError::Io`] naming `path` or its folder for system errors
/// (folder missing or read-only, no space).
pub fn write_atomic<T>(path: &Path, write: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
    let mut temp = Temporary::beside(path)?;
    let value = write(temp.file_mut())?;
    temp.publish()?;
    Ok(value)
}

/// Writes `bytes` to `path`, see [`write_atomic`].
///
/// # Errors
/// As [`write_atomic`].
pub fn write_bytes_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic(path, |file| {
        file.write_all(bytes).map_err(|e| DataError::io(path, e))
    })
}

/// The blake3 hash of names in their order as 64 hexadecimal digits.
pub fn hash_names<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let mut hasher = blake3::Hasher::new();
    for name in names {
        hasher.update(name.as_ref().as_bytes());
        // No name contains a line break, so equal hashes mean equal lists.
        hasher.update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}

/// The blake3 hash of a file as 64 hexadecimal digits, read in blocks; of a folder (Zarr,
/// triplets), over the names and contents of all files below it, without links to other folders
/// (which may be cyclic). A path to a part of a file (`pbmc.h5mu/rna`) has the hash of the file,
/// one to two files (`rna.h5ad+atac.h5ad`) that of both.
///
/// # Errors
/// [`DataError::Io`] when a file cannot be read.
#[cfg(feature = "files")]
pub fn hash_file(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for file in crate::io::formats::files_of(path) {
        if file.is_dir() {
            hash_folder(&file, &mut hasher)?;
        } else {
            hash_bytes(&file, &mut hasher)?;
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(feature = "files")]
fn hash_folder(folder: &Path, hasher: &mut blake3::Hasher) -> Result<()> {
    let members = std::fs::read_dir(folder).map_err(|e| DataError::io(folder, e))?;
    let mut paths: Vec<PathBuf> = members.flatten().map(|m| m.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        if path.is_dir() {
            if !path.is_symlink() {
                hash_folder(&path, hasher)?;
            }
        } else {
            hash_bytes(&path, hasher)?;
        }
    }
    Ok(())
}

#[cfg(feature = "files")]
fn hash_bytes(path: &Path, hasher: &mut blake3::Hasher) -> Result<()> {
    let mut file = File::open(path).map_err(|e| DataError::io(path, e))?;
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let n = file.read(&mut buffer).map_err(|e| DataError::io(path, e))?;
        if n == 0 {
            return Ok(());
        }
        hasher.update(&buffer[..n]);
    }
}

/// A temporary file next to its final path; removed on drop unless [`Temporary::publish`] was
/// called.
pub(crate) struct Temporary {
    file: NamedTempFile,
    listed: Unfinished,
    target: PathBuf,
}

impl Temporary {
    /// An empty file in the folder of `target`.
    pub(crate) fn beside(target: &Path) -> Result<Self> {
        if target.is_dir() {
            return Err(DataError::file(target, "is a folder; give a file to write"));
        }
        let target = follow(target);
        let folder = match target.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".scfm-").suffix(".tmp");
        #[cfg(unix)]
        let mode: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        #[cfg(unix)]
        builder.permissions(mode);
        let file = builder.tempfile_in(folder).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                DataError::file(folder, "no such folder; create it first")
            }
            _ => DataError::io(folder, plain(e)),
        })?;
        Ok(Self {
            listed: Unfinished::at(file.path()),
            file,
            target,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(crate) fn file_mut(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Flushes the file and its folder to disk and moves it to its final path.
    pub(crate) fn publish(self) -> Result<()> {
        let Self {
            file,
            listed,
            target,
        } = self;
        file.as_file()
            .sync_all()
            .map_err(|e| DataError::io(&target, e))?;
        file.persist(&target)
            .map_err(|e| DataError::io(&target, e.error))?;
        drop(listed);
        #[cfg(unix)]
        if let Some(folder) = target.parent().filter(|p| !p.as_os_str().is_empty()) {
            // The rename itself is durable only once the folder is; some systems refuse to sync one.
            if let Ok(folder) = File::open(folder) {
                let _ = folder.sync_all();
            }
        }
        Ok(())
    }
}

impl std::io::Write for Temporary {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

impl std::io::Seek for Temporary {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.file.as_file_mut().seek(to)
    }
}

/// The target of a link, else the path itself: replacing a file must not replace the link to it.
fn follow(path: &Path) -> PathBuf {
    if !path.is_symlink() {
        return path.to_path_buf();
    }
    path.canonicalize().unwrap_or_else(|_| {
        // To a file that does not exist yet.
        let link = std::fs::read_link(path).unwrap_or_default();
        path.parent().unwrap_or(Path::new("")).join(link)
    })
}

/// `tempfile` appends the random path to its errors; the folder is what the user can act on.
fn plain(error: std::io::Error) -> std::io::Error {
    if let Some(code) = error.raw_os_error() {
        return std::io::Error::from_raw_os_error(code);
    }
    let text = error.to_string();
    let said = text.split(" at path ").next().unwrap_or(&text);
    std::io::Error::new(error.kind(), said.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_bytes_atomic(&path, b"old").unwrap();
        let failed: Result<()> = write_atomic(&path, |f| {
            f.write_all(b"new").unwrap();
            Err(DataError::invalid("no"))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_what_it_leads_to_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("a.txt"), dir.path().join("link"));
        std::os::unix::fs::symlink("a.txt", &link).unwrap();
        for text in ["new", "newer"] {
            write_bytes_atomic(&link, text.as_bytes()).unwrap();
            assert!(link.is_symlink());
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
    }

    #[test]
    fn what_is_unfinished_is_listed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.txt");
        let temp = Temporary::beside(&target).unwrap();
        let path = temp.path().to_path_buf();
        assert!(unfinished::unfinished().contains(&path));
        temp.publish().unwrap();
        assert!(!unfinished::unfinished().contains(&path) && target.exists());
        let lock = lock_folder(dir.path()).unwrap();
        assert!(
            unfinished::unfinished()
                .iter()
                .any(|p| p.starts_with(dir.path()))
        );
        drop(lock);
        assert!(
            !unfinished::unfinished()
                .iter()
                .any(|p| p.starts_with(dir.path()))
        );
    }

    #[test]
    fn hash_is_blake3_of_the_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        let bytes = vec![7u8; 3_000_000];
        write_bytes_atomic(&path, &bytes).unwrap();
        assert_eq!(
            hash_file(&path).unwrap(),
            blake3::hash(&bytes).to_hex().to_string()
        );
    }

    #[test]
    fn a_missing_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("absent");
        let error = write_bytes_atomic(&folder.join("a"), b"x")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(&folder.display().to_string()), "{error}");
        // In the system's words, without the random name.
        assert!(
            !error.contains(".scfm-") && !error.contains("entity not found"),
            "{error}"
        );
    }
}
