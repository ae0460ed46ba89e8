//! Editing an AnnData file: on a copy that replaces it once it is complete and verified.

use std::fs::{File, Permissions};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rust_hdf5::{FileLocking, H5File, H5Group, Hdf5Error};

use super::H5ad;
use crate::error::{DataError, Result};
use crate::io::atomic::{Lock, Temporary, lock_file};
use crate::io::h5::writer::{LINKS, Made, OpenFile, encode_group, ensure_group};
use crate::io::h5::{H5Source, NodeKind};

/// Where the edited file is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteTarget {
    /// Into the file itself (through a temporary copy that replaces it when complete).
    InPlace,
    /// To a copy at this path.
    Copy(PathBuf),
}

/// The copy being edited; dropped before [`Draft::publish`], it leaves nothing behind.
pub(super) struct Draft {
    temp: Temporary,
    destination: PathBuf,
    /// The file, if it is edited in place.
    replaced: Option<Replaced>,
}

/// A file to be replaced by its edited copy.
struct Replaced {
    lock: Lock,
    permissions: Permissions,
    /// Its state when it was copied: length and modification time.
    state: (u64, Option<SystemTime>),
}

impl Replaced {
    fn state(path: &Path) -> Result<(u64, Option<SystemTime>)> {
        let now = std::fs::metadata(path).map_err(|e| DataError::io(path, e))?;
        Ok((now.len(), now.modified().ok()))
    }
}

/// The lock of a file that is edited in place; acquired before the file is read.
pub(super) fn lock(source: &Path, target: &WriteTarget) -> Result<Option<Lock>> {
    match target {
        WriteTarget::InPlace if source.is_file() => lock_file(source).map(Some),
        // What is not a file cannot be edited; the error comes when it is opened.
        _ => Ok(None),
    }
}

impl Draft {
    /// Copies `source` next to its destination; `lock` is that of a file edited in place.
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

    /// The destination.
    pub(super) fn destination(&self) -> &Path {
        &self.destination
    }

    /// Opens the copy for writing.
    pub(super) fn open(&self) -> Result<OpenFile, Hdf5Error> {
        // Locks are unnecessary: no other process knows the temporary file, and some network
        // file systems do not support them.
        let options = H5File::options().locking(FileLocking::Disabled);
        Ok(OpenFile::new(options.open_rw(self.path())?))
    }

    /// The error when the copy reads back differently.
    pub(super) fn fault(&self, what: &str) -> DataError {
        DataError::file(
            &self.destination,
            format!("was not written: reading back the copy gave {what}; please report this"),
        )
    }

    /// Checks that every node of the original, except the nodes `ours`, is in the copy.
    pub(super) fn compare(
        &self,
        before: &H5ad,
        after: &dyn H5Source,
        ours: &[String],
    ) -> Result<()> {
        let source = &**before.source();
        compare(source, after, "", ours, 0).map_err(|what| self.fault(&what))?;
        // A kept link to a node that was rewritten refers to both.
        let (old, new) = (source.children("")?, after.children("")?);
        let twice = |name: &String| new.iter().filter(|n| *n == name).count() > 1;
        match old.iter().any(twice) {
            true => Err(DataError::file(&self.destination, LINKS)),
            false => Ok(()),
        }
    }

    /// Flushes the copy to disk and renames it to its destination.
    pub(super) fn publish(self) -> Result<()> {
        let Some(replaced) = self.replaced else {
            return self.temp.publish();
        };
        // Other programs do not use these locks.
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

/// The group `uns/scfm`, which is created where it does not exist.
pub(super) fn notes(file: &H5File) -> Result<H5Group, Hdf5Error> {
    let (uns, made) = ensure_group(&file.root_group(), "uns")?;
    if made == Made::New {
        encode_group(&uns, "dict", "0.1.0")?;
    }
    let (scfm, made) = ensure_group(&uns, "scfm")?;
    if made == Made::New {
        encode_group(&scfm, "dict", "0.1.0")?;
    }
    Ok(scfm)
}

/// Removes a node from a file, if it exists.
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
