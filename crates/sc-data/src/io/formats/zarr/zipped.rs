//! The members of a zip archive, as the files of a Zarr store.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use zip::ZipArchive;

/// An open archive. A member is read whole, compressed or not; the last one is cached, because the
/// parts of a shard are read in turn.
pub(super) struct Zipped {
    archive: Mutex<ZipArchive<File>>,
    /// Position in the archive and size of every member, by its name below the root group.
    members: BTreeMap<String, (usize, u64)>,
    last: Mutex<Option<(String, Arc<Vec<u8>>)>>,
    limit: u64,
}

impl Zipped {
    /// Opens an archive; no member may decompress to more than `limit` bytes.
    pub(super) fn open(path: &Path, limit: u64) -> Result<Self, String> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        let mut archive = ZipArchive::new(file).map_err(|e| e.to_string())?;
        let mut found = Vec::new();
        for at in 0..archive.len() {
            let member = archive.by_index_raw(at).map_err(|e| e.to_string())?;
            if member.is_file() {
                found.push((member.name().to_owned(), at, member.size()));
            }
        }
        // Some archives hold the folder, some its content.
        let groups = found.iter().filter_map(|(name, _, _)| {
            name.strip_suffix(".zgroup")
                .or_else(|| name.strip_suffix("zarr.json"))
        });
        let root = groups
            .min_by_key(|g| g.len())
            .unwrap_or_default()
            .to_owned();
        let members = found.iter().filter_map(|(name, at, size)| {
            Some((name.strip_prefix(&root)?.to_owned(), (*at, *size)))
        });
        Ok(Self {
            members: members.collect(),
            archive: Mutex::new(archive),
            last: Mutex::default(),
            limit,
        })
    }

    /// The names of all members.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// Decompressed size of a member in bytes.
    pub(super) fn size(&self, key: &str) -> Option<u64> {
        self.members.get(key).map(|m| m.1)
    }

    /// A decompressed member; `None` when there is none of that name.
    pub(super) fn get(&self, key: &str) -> Result<Option<Arc<Vec<u8>>>, String> {
        let Some(&(at, size)) = self.members.get(key) else {
            return Ok(None);
        };
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((name, bytes)) = &*last()
            && name == key
        {
            return Ok(Some(Arc::clone(bytes)));
        }
        if size > self.limit {
            return Err(format!(
                "'{key}' of {size} bytes is larger than allowed in this archive"
            ));
        }
        let mut bytes = Vec::new();
        {
            let mut archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
            let member = archive.by_index(at).map_err(|e| format!("'{key}': {e}"))?;
            member
                .take(size)
                .read_to_end(&mut bytes)
                .map_err(|e| format!("'{key}': {e}"))?;
        }
        let bytes = Arc::new(bytes);
        *last() = Some((key.to_owned(), Arc::clone(&bytes)));
        Ok(Some(bytes))
    }
}
