//! Editing an AnnData file: on a copy that replaces it when it is complete and was read back.

use std::fs::{File, Permissions};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rust_hdf5::{FileLocking, H5File, Hdf5Error};

use super::H5ad;
use crate::error::{DataError, Result};
use crate::io::atomic::{Lock, Temporary, lock_file};
use crate::io::h5::writer::{LINKS, OpenFile};
use crate::io::h5::{H5Source, NodeKind};

/// Where the edited file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteTarget {
    /// Into the file itself (through a temporary copy that replaces it when complete).
    InPlace,
    /// Into a copy at this path.
    Copy(PathBuf),
}

/// The copy that is edited; dropped before [`Draft::publish`], it leaves nothing behind.
pub(super) struct Draft {
    temp: Temporary,
    destination: PathBuf,
    /// The file that replaces itself.
    replaced: Option<Replaced>,
}

/// A file that its edited copy is to replace.
struct Replaced {
    lock: Lock,
    permissions: Permissions,
    /// What it was when it was copied: length and time of the last change.
    state: (u64, Option<SystemTime>),
}

impl Replaced {
    fn state(path: &Path) -> Result<(u64, Option<SystemTime>)> {
        let now = std::fs::metadata(path).map_err(|e| DataError::io(path, e))?;
        Ok((now.len(), now.modified().ok()))
    }
}

/// The lock of a file that is to replace itself; to be taken before the file is read.
pub(super) fn lock(source: &Path, target: &WriteTarget) -> Result<Option<Lock>> {
    match target {
        WriteTarget::InPlace if source.is_file() => lock_file(source).map(Some),
        // What is no file cannot be edited, and is refused with its reason when it is opened.
        _ => Ok(None),
    }
}

impl Draft {
    /// Copies `source` beside where it is to go; `lock` is that of a file that replaces itself.
    pub(super) fn of(source: &Path, target: &WriteTarget, lock: Option<Lock>) -> Result<Self> {
        let mut from = File::open(source).map_err(|e| DataError::io(source, e))?;
        let destination = match target {
            WriteTarget::Copy(path) => path.clone(),
            WriteTarget::InPlace => source.to_path_buf(),
        };
        let replaced = match lock {
            Some(lock) => Some(Replaced {
                lock,
                permissions: from
                    .metadata()
                    .map_err(|e| DataError::io(source, e))?
                    .permissions(),
                state: Replaced::state(source)?,
            }),
            None => None,
        };
        let mut temp = Temporary::beside(&destination)?;
        std::io::copy(&mut from, temp.file_mut()).map_err(|e| DataError::io(&destination, e))?;
        Ok(Self {
            temp,
            destination,
            replaced,
        })
    }

    /// The copy.
    pub(super) fn path(&self) -> &Path {
        self.temp.path()
    }

    /// Where it goes.
    pub(super) fn destination(&self) -> &Path {
        &self.destination
    }

    /// Opens the copy for writing.
    pub(super) fn open(&self) -> Result<OpenFile, Hdf5Error> {
        // Locks would only get in the way: nobody else knows the temporary file, and some network
        // file systems refuse them.
        let options = H5File::options().locking(FileLocking::Disabled);
        Ok(OpenFile::new(options.open_rw(self.path())?))
    }

    /// What to say when the copy reads back differently.
    pub(super) fn fault(&self, what: &str) -> DataError {
        DataError::file(
            &self.destination,
            format!("was not written: reading back the copy gave {what}; please report this"),
        )
    }

    /// Checks that everything of the file before, but the nodes `ours`, is in the copy.
    pub(super) fn compare(
        &self,
        before: &H5ad,
        after: &dyn H5Source,
        ours: &[String],
    ) -> Result<()> {
        let source = &**before.source();
        compare(source, after, "", ours, 0).map_err(|what| self.fault(&what))?;
        // A link that is kept beside what was written for it names two things.
        let (old, new) = (source.children("")?, after.children("")?);
        let twice = |name: &String| new.iter().filter(|n| *n == name).count() > 1;
        match old.iter().any(twice) {
            true => Err(DataError::file(&self.destination, LINKS)),
            false => Ok(()),
        }
    }

    /// Flushes the copy to the disk and renames it to its destination.
    pub(super) fn publish(self) -> Result<()> {
        let Some(replaced) = self.replaced else {
            return self.temp.publish();
        };
        // Not everyone who writes knows of our locks.
        if Replaced::state(&self.destination)? != replaced.state {
            return Err(DataError::file(
                &self.destination,
                "was changed by another program since it was read, so nothing was written; run this \
                 again",
            ));
        }
        std::fs::set_permissions(self.temp.path(), replaced.permissions)
            .map_err(|e| DataError::io(&self.destination, e))?;
        self.temp.publish()?;
        drop(replaced.lock);
        Ok(())
    }
}

/// Takes a node out of a file, if it was there.
pub(super) fn delete(file: &H5File, before: &H5ad, node: &str) -> Result<(), Hdf5Error> {
    match before.source().kind(node).ok().flatten() {
        Some(NodeKind::Dataset) => file.delete_dataset(node),
        Some(NodeKind::Group) => file.delete_group(node),
        None => Ok(()),
    }
}

/// Whether everything below `node` of `old` is in `new`, by kind, shape and type.
fn compare(
    old: &dyn H5Source,
    new: &dyn H5Source,
    node: &str,
    ours: &[String],
    depth: usize,
) -> std::result::Result<(), String> {
    let names = old.children(node).map_err(|e| e.to_string())?;
    for name in names {
        let child = if node.is_empty() {
            name
        } else {
            format!("{node}/{name}")
        };
        if ours.contains(&child) {
            continue;
        }
        let kinds = (old.kind(&child), new.kind(&child));
        match kinds {
            // Cyclic links are legal in HDF5; nothing in AnnData is this deep.
            (Ok(Some(NodeKind::Group)), Ok(Some(NodeKind::Group))) if depth < 32 => {
                compare(old, new, &child, ours, depth + 1)?;
            }
            (Ok(Some(NodeKind::Dataset)), Ok(Some(NodeKind::Dataset))) => {
                if let (Ok(a), Ok(b)) = (old.info(&child), new.info(&child))
                    && a != b
                {
                    return Err(format!("'{child}' as {b:?} instead of {a:?}"));
                }
            }
            (Ok(a), Ok(b)) if a == b => {}
            (a, b) => {
                return Err(format!("'{child}' as {:?} instead of {:?}", b.ok(), a.ok()));
            }
        }
    }
    Ok(())
}
