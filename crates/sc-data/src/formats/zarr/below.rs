//! A part of a store as a store: `zarrs` takes no node whose path has a name like `__categories`,
//! which anndata 0.7 wrote, but it takes a store that begins below it.

use zarrs::storage::byte_range::ByteRangeIterator;
use zarrs::storage::{
    ListableStorageTraits, MaybeBytesIterator, ReadableListableStorage, ReadableStorageTraits,
    StorageError, StoreKey, StoreKeys, StoreKeysPrefixes, StorePrefix,
};

/// The nodes below `prefix`, which ends with a slash.
pub(super) struct Below {
    pub(super) storage: ReadableListableStorage,
    pub(super) prefix: String,
}

impl Below {
    fn key(&self, key: &StoreKey) -> Result<StoreKey, StorageError> {
        let full = format!("{}{}", self.prefix, key.as_str());
        StoreKey::new(full).map_err(|e| StorageError::Other(e.to_string()))
    }
}

impl ReadableStorageTraits for Below {
    fn get_partial_many<'a>(
        &'a self,
        key: &StoreKey,
        byte_ranges: ByteRangeIterator<'a>,
    ) -> Result<MaybeBytesIterator<'a>, StorageError> {
        self.storage.get_partial_many(&self.key(key)?, byte_ranges)
    }

    fn size_key(&self, key: &StoreKey) -> Result<Option<u64>, StorageError> {
        self.storage.size_key(&self.key(key)?)
    }

    fn supports_get_partial(&self) -> bool {
        self.storage.supports_get_partial()
    }
}

/// Arrays are read by their keys; nothing lists below one.
impl ListableStorageTraits for Below {
    fn list(&self) -> Result<StoreKeys, StorageError> {
        Ok(Vec::new())
    }

    fn list_prefix(&self, _: &StorePrefix) -> Result<StoreKeys, StorageError> {
        Ok(Vec::new())
    }

    fn list_dir(&self, _: &StorePrefix) -> Result<StoreKeysPrefixes, StorageError> {
        Ok(StoreKeysPrefixes::new(Vec::new(), Vec::new()))
    }

    fn size_prefix(&self, _: &StorePrefix) -> Result<u64, StorageError> {
        Ok(0)
    }
}
