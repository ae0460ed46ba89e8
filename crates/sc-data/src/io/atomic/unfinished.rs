//! Temporary files being written: an interrupted process removes them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

static LISTED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn listed() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    LISTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temporary file on the list of those that [`remove_unfinished`] removes, until this is dropped.
#[derive(Debug)]
pub struct Unfinished(PathBuf);

impl Unfinished {
    /// Puts the file at `path` on the list.
    pub fn at(path: &Path) -> Self {
        listed().insert(path.to_path_buf());
        Self(path.to_path_buf())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        listed().remove(&self.0);
    }
}

/// The files that are being written.
pub(super) fn unfinished() -> Vec<PathBuf> {
    listed().iter().cloned().collect()
}

/// Removes every file that is being written, for a process that is about to end without unwinding.
pub fn remove_unfinished() {
    for path in unfinished() {
        let _ = std::fs::remove_file(path);
    }
}
