//! A zip archive as a store of `zarrs`: every member is read whole, packed or not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use zarrs::storage::byte_range::ByteRangeIterator;
use zarrs::storage::{
    Bytes, ListableStorageTraits, MaybeBytesIterator, ReadableStorageTraits, StorageError,
    StoreKey, StoreKeys, StoreKeysPrefixes, StorePrefix,
};
use zip::ZipArchive;

/// An open archive.
pub(super) struct Zipped {
    archive: Mutex<ZipArchive<File>>,
    /// Position in the archive and size of every member, by its name below the root group.
    members: BTreeMap<String, (usize, u64)>,
    limit: u64,
}

impl Zipped {
    /// Opens an archive; no member may unpack to more than `limit` bytes.
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
        // Some archives hold the folder, some what is in it.
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
            limit,
        })
    }

    fn read(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let Some(&(at, size)) = self.members.get(key) else {
            return Ok(None);
        };
        let other = |e: &dyn std::fmt::Display| StorageError::Other(e.to_string());
        if size > self.limit {
            return Err(other(&format!("{size} bytes cannot be in this archive")));
        }
        let mut archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        let member = archive.by_index(at).map_err(|e| other(&e))?;
        let mut bytes = Vec::new();
        let mut member = member.take(size);
        member.read_to_end(&mut bytes).map_err(|e| other(&e))?;
        Ok(Some(bytes))
    }

    fn below(&self, prefix: &StorePrefix) -> impl Iterator<Item = (&str, u64)> {
        let prefix = prefix.as_str().to_owned();
        let all = self.members.iter();
        all.filter(move |(name, _)| name.starts_with(&prefix))
            .map(|(name, (_, size))| (name.as_str(), *size))
    }
}

impl ReadableStorageTraits for Zipped {
    fn get_partial_many<'a>(
        &'a self,
        key: &StoreKey,
        byte_ranges: ByteRangeIterator<'a>,
    ) -> Result<MaybeBytesIterator<'a>, StorageError> {
        let Some(bytes) = self.read(key.as_str())? else {
            return Ok(None);
        };
        let size = bytes.len() as u64;
        let parts = byte_ranges.map(move |range| {
            let part = bytes.get(range.start(size) as usize..range.end(size) as usize);
            part.map(Bytes::copy_from_slice)
                .ok_or_else(|| StorageError::Other("a chunk is shorter than its index".into()))
        });
        Ok(Some(Box::new(parts)))
    }

    fn size_key(&self, key: &StoreKey) -> Result<Option<u64>, StorageError> {
        Ok(self.members.get(key.as_str()).map(|m| m.1))
    }

    fn supports_get_partial(&self) -> bool {
        false
    }
}

impl ListableStorageTraits for Zipped {
    fn list(&self) -> Result<StoreKeys, StorageError> {
        self.list_prefix(&StorePrefix::root())
    }

    fn list_prefix(&self, prefix: &StorePrefix) -> Result<StoreKeys, StorageError> {
        let keys = self.below(prefix);
        Ok(keys
            .filter_map(|(name, _)| StoreKey::new(name).ok())
            .collect())
    }

    fn list_dir(&self, prefix: &StorePrefix) -> Result<StoreKeysPrefixes, StorageError> {
        let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
        for (name, _) in self.below(prefix) {
            let rest = &name[prefix.as_str().len()..];
            match rest.split_once('/') {
                None => keys.extend(StoreKey::new(name)),
                Some((folder, _)) => {
                    prefixes.extend(StorePrefix::new(format!("{}{folder}/", prefix.as_str())));
                }
            }
        }
        prefixes.dedup();
        Ok(StoreKeysPrefixes::new(keys, prefixes))
    }

    fn size_prefix(&self, prefix: &StorePrefix) -> Result<u64, StorageError> {
        Ok(self.below(prefix).map(|m| m.1).sum())
    }
}
