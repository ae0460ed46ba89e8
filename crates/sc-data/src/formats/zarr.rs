//! AnnData-Zarr of versions 2 and 3, in a folder or a zip archive, by the `zarrs` crate.
//!
//! Groups and attributes are small JSON files and are read as such, with or without consolidated
//! metadata; `zarrs` decodes the arrays.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use zarrs::array::{Array, ArraySubset, ElementOwned};
use zarrs::filesystem::FilesystemStore;
use zarrs::storage::{
    ReadableListableStorage, ReadableListableStorageTraits, StoreKey, StorePrefix,
};

use crate::error::{DataError, Result};
use crate::h5::{Attribute, DatasetInfo, ElementType, FieldValues, H5Source, NodeKind, Numbers};

mod below;
mod zipped;

use below::Below;
use zipped::Zipped;

type Node = Array<dyn ReadableListableStorageTraits>;

/// Whether a folder is a Zarr group.
pub(super) fn is_folder(path: &Path) -> bool {
    [".zgroup", "zarr.json"]
        .iter()
        .any(|n| path.join(n).is_file())
}

/// Whether a file is a zip archive, as `.zarr.zip` is.
pub(super) fn is_zip(path: &Path) -> Result<bool> {
    let mut magic = [0; 4];
    let mut file = File::open(path).map_err(|e| DataError::io(path, e))?;
    Ok(file.read_exact(&mut magic).is_ok() && magic == *b"PK\x03\x04")
}

/// Opens a folder or archive.
pub(super) fn open(path: &Path) -> Result<Arc<dyn H5Source>> {
    let fail = |e: &dyn std::fmt::Display| DataError::file(path, format!("cannot be read: {e}"));
    let storage: ReadableListableStorage = if path.is_dir() {
        Arc::new(FilesystemStore::new(path).map_err(|e| fail(&e))?)
    } else {
        let limit = crate::h5::allocation_limit(size(path));
        Arc::new(Zipped::open(path, limit).map_err(|e| {
            let message = format!("is no readable zip archive ({e}): copy or download it again");
            DataError::file(path, message)
        })?)
    };
    let zarr = Zarr {
        path: path.to_path_buf(),
        size: size(path),
        storage,
        nodes: Mutex::default(),
        arrays: Mutex::default(),
    };
    if zarr.kind("")? != Some(NodeKind::Group) {
        return Err(DataError::file(
            path,
            "is an archive without a Zarr group at its root; unpack it and name the file inside",
        ));
    }
    Ok(Arc::new(zarr))
}

/// Bytes of a file, or of all files of a folder.
fn size(path: &Path) -> u64 {
    match std::fs::read_dir(path) {
        Ok(members) => members.flatten().map(|m| size(&m.path())).sum(),
        Err(_) => std::fs::metadata(path).map_or(0, |m| m.len()),
    }
}

/// What a node is, and its attributes.
type Known = Option<(NodeKind, Value)>;

struct Zarr {
    path: PathBuf,
    size: u64,
    storage: ReadableListableStorage,
    nodes: Mutex<HashMap<String, Known>>,
    arrays: Mutex<HashMap<String, Arc<Node>>>,
}

impl Zarr {
    fn fail(&self, node: &str, what: impl std::fmt::Display) -> DataError {
        let place = if node.is_empty() { "root group" } else { node };
        DataError::file(
            &self.path,
            format!("{place}: {what}; the store is cut off or damaged: copy or download it again"),
        )
    }

    /// A JSON file beside a node.
    fn json(&self, node: &str, name: &str) -> Result<Option<Value>> {
        let key = if node.is_empty() {
            name.to_owned()
        } else {
            format!("{node}/{name}")
        };
        let key = StoreKey::new(key).map_err(|e| self.fail(node, e))?;
        match self.storage.get(&key).map_err(|e| self.fail(node, e))? {
            None => Ok(None),
            Some(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|e| self.fail(node, format!("{name}: {e}"))),
        }
    }

    fn known(&self, node: &str) -> Result<Known> {
        let lock = || self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(node) {
            return Ok(known.clone());
        }
        let known = if let Some(mut meta) = self.json(node, "zarr.json")? {
            let kind = match meta.get("node_type").and_then(Value::as_str) {
                Some("group") => NodeKind::Group,
                _ => NodeKind::Dataset,
            };
            let attributes = meta.get_mut("attributes").map(Value::take);
            Some((kind, attributes.unwrap_or(Value::Null)))
        } else {
            let kind = if self.json(node, ".zarray")?.is_some() {
                Some(NodeKind::Dataset)
            } else {
                self.json(node, ".zgroup")?.map(|_| NodeKind::Group)
            };
            match kind {
                None => None,
                Some(kind) => Some((kind, self.json(node, ".zattrs")?.unwrap_or(Value::Null))),
            }
        };
        lock().insert(node.to_owned(), known.clone());
        Ok(known)
    }

    fn array(&self, node: &str) -> Result<Arc<Node>> {
        let lock = || self.arrays.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(array) = lock().get(node) {
            return Ok(Arc::clone(array));
        }
        let mut storage = Arc::clone(&self.storage);
        let mut path = node;
        if let Some((before, name)) = node.rsplit_once('/').filter(|n| n.0.contains("/__")) {
            let prefix = format!("{before}/");
            storage = Arc::new(Below { storage, prefix });
            path = name;
        }
        let array = Array::open(storage, &format!("/{path}"));
        let array = Arc::new(array.map_err(|e| self.fail(node, e))?);
        lock().insert(node.to_owned(), Arc::clone(&array));
        Ok(array)
    }

    fn read<T: ElementOwned>(
        &self,
        node: &str,
        array: &Node,
        subset: &ArraySubset,
    ) -> Result<Vec<T>> {
        array
            .retrieve_array_subset(subset)
            .map_err(|e| self.fail(node, e))
    }
}

impl H5Source for Zarr {
    fn path(&self) -> &Path {
        &self.path
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn format(&self) -> &'static str {
        "Zarr"
    }

    fn kind(&self, node: &str) -> Result<Option<NodeKind>> {
        Ok(self.known(node)?.map(|k| k.0))
    }

    fn children(&self, group: &str) -> Result<Vec<String>> {
        let prefix = if group.is_empty() {
            StorePrefix::root()
        } else {
            StorePrefix::new(format!("{group}/")).map_err(|e| self.fail(group, e))?
        };
        let below = self
            .storage
            .list_dir(&prefix)
            .map_err(|e| self.fail(group, e))?;
        let mut names: Vec<String> = below
            .prefixes()
            .iter()
            .filter_map(|p| p.as_str().trim_end_matches('/').rsplit('/').next())
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn attribute(&self, node: &str, name: &str) -> Result<Option<Attribute>> {
        let Some((_, attributes)) = self.known(node)? else {
            return Ok(None);
        };
        Ok(attributes.get(name).map(|value| match value {
            Value::Array(items) => list(items),
            one => list(std::slice::from_ref(one)),
        }))
    }

    fn info(&self, node: &str) -> Result<DatasetInfo> {
        if self.kind(node)? != Some(NodeKind::Dataset) {
            return Err(self.fail(node, "is no array"));
        }
        let array = self.array(node)?;
        Ok(DatasetInfo {
            shape: array.shape().to_vec(),
            element: element(&array),
        })
    }

    fn numbers(&self, node: &str, ranges: &[Range<u64>]) -> Result<Numbers> {
        let array = self.array(node)?;
        let inside = ranges.len() == array.shape().len()
            && ranges
                .iter()
                .zip(array.shape())
                .all(|(r, n)| r.start <= r.end && r.end <= *n);
        if !inside {
            let what = format!("elements {ranges:?} lie outside shape {:?}", array.shape());
            return Err(self.fail(node, what));
        }
        let subset = ArraySubset::new_with_ranges(ranges);
        let (a, s) = (&*array, &subset);
        Ok(match element(&array) {
            ElementType::Bool => Numbers::Bool(self.read(node, a, s)?),
            ElementType::Int {
                size: 1,
                signed: true,
            } => Numbers::I8(self.read(node, a, s)?),
            ElementType::Int {
                size: 1,
                signed: false,
            } => Numbers::U8(self.read(node, a, s)?),
            ElementType::Int {
                size: 2,
                signed: true,
            } => Numbers::I16(self.read(node, a, s)?),
            ElementType::Int {
                size: 2,
                signed: false,
            } => Numbers::U16(self.read(node, a, s)?),
            ElementType::Int {
                size: 4,
                signed: true,
            } => Numbers::I32(self.read(node, a, s)?),
            ElementType::Int {
                size: 4,
                signed: false,
            } => Numbers::U32(self.read(node, a, s)?),
            ElementType::Int {
                size: 8,
                signed: true,
            } => Numbers::I64(self.read(node, a, s)?),
            ElementType::Int {
                size: 8,
                signed: false,
            } => Numbers::U64(self.read(node, a, s)?),
            ElementType::Float { size: 4 } => Numbers::F32(self.read(node, a, s)?),
            ElementType::Float { size: 8 } => Numbers::F64(self.read(node, a, s)?),
            other => return Err(self.fail(node, format!("expected numbers, found {other:?}"))),
        })
    }

    fn strings(&self, node: &str) -> Result<Vec<String>> {
        let array = self.array(node)?;
        if element(&array) != ElementType::String {
            return Err(self.fail(node, format!("expected texts, found {}", array.data_type())));
        }
        let all = ArraySubset::new_with_shape(array.shape().to_vec());
        self.read(node, &array, &all)
    }

    fn field(&self, node: &str, field: &str) -> Result<FieldValues> {
        Err(self.fail(node, format!("is no table of records with '{field}'")))
    }
}

fn element(array: &Node) -> ElementType {
    // Shown as "name in version 3 / name in version 2".
    let shown = array.data_type().to_string();
    let name = shown.split(" / ").next().unwrap_or_default().to_owned();
    let int = |text: &str, signed| {
        let bits: u8 = text.parse().ok()?;
        matches!(bits, 8 | 16 | 32 | 64).then_some(ElementType::Int {
            size: bits / 8,
            signed,
        })
    };
    let found = match &name[..] {
        "bool" => Some(ElementType::Bool),
        "string" => Some(ElementType::String),
        "float32" => Some(ElementType::Float { size: 4 }),
        "float64" => Some(ElementType::Float { size: 8 }),
        other => match (other.strip_prefix("uint"), other.strip_prefix("int")) {
            (Some(bits), _) => int(bits, false),
            (_, Some(bits)) => int(bits, true),
            _ => None,
        },
    };
    found.unwrap_or(ElementType::Other(name))
}

/// JSON values as an attribute of HDF5.
fn list(items: &[Value]) -> Attribute {
    let texts: Option<Vec<String>> = items
        .iter()
        .map(|v| v.as_str().map(str::to_owned))
        .collect();
    if let Some(texts) = texts {
        return Attribute::Strings(texts);
    }
    let int = |v: &Value| v.as_i64().or_else(|| v.as_bool().map(i64::from));
    if let Some(ints) = items.iter().map(int).collect() {
        return Attribute::Ints(ints);
    }
    let floats: Option<Vec<f64>> = items.iter().map(Value::as_f64).collect();
    floats.map_or(Attribute::Other, Attribute::Floats)
}
