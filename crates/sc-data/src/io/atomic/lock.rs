//! Advisory locks: one writer at a time for a file that is edited in place, and for a model's
//! folder.
//!
//! The lock is on a separate file next to the target: locking the data file itself would prevent
//! h5py from reading it, and every rename replaces the data file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Unfinished, follow};
use crate::error::{DataError, Result};

/// A lock; released on drop.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
    /// So that an interrupted process leaves no lock file.
    _listed: Unfinished,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while still locked, so that no other process's lock file is removed.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Locks a file that is about to be replaced; links are followed.
///
/// # Errors
/// [`DataError::File`] when another process holds the lock; [`DataError::Io`] when its folder cannot be
/// written to.
pub fn lock_file(target: &Path) -> Result<Lock> {
    let followed = follow(target);
    let mut name = std::ffi::OsString::from(".");
    name.push(followed.file_name().unwrap_or_default());
    name.push(".scfm-lock");
    lock(&followed.with_file_name(name), target)
}

/// Locks an existing folder that is about to be filled.
///
/// # Errors
/// As [`lock_file`].
pub fn lock_folder(folder: &Path) -> Result<Lock> {
    lock(&folder.join(".scfm-lock"), folder)
}

fn lock(path: &Path, target: &Path) -> Result<Lock> {
    loop {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = options.open(path).map_err(|e| DataError::io(target, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataError::file(
                    target,
                    "is being written by another process; run this again when that is done",
                ));
            }
            // Some network file systems do not support locks; they are advisory.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(DataError::io(target, e)),
        }
        // The previous holder may have removed it between opening and locking.
        if is_at(&file, path) {
            return Ok(Lock {
                path: path.to_path_buf(),
                _file: file,
                _listed: Unfinished::at(path),
            });
        }
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let place = |m: std::fs::Metadata| (m.dev(), m.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => place(ours) == place(theirs),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    // An open file cannot be removed on this system.
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_told_and_a_later_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.h5ad");
        std::fs::write(&file, "x").unwrap();
        let held = lock_file(&file).unwrap();
        let error = lock_file(&file).unwrap_err().to_string();
        assert!(error.contains("a.h5ad: is being written"), "{error}");
        drop(held);
        drop(lock_file(&file).unwrap());
        let held = lock_folder(folder.path()).unwrap();
        assert!(lock_folder(folder.path()).is_err());
        drop(held);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
