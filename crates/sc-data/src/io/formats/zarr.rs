//! AnnData-Zarr of versions 2 and 3, in a folder or a zip archive.
//!
//! Groups and attributes are small JSON files and are read as such, with or without consolidated
//! metadata. The reader is implemented here and not the `zarrs` crate, because that one trusts the
//! sizes declared by zstd, gzip and Blosc frames and decompresses them in C: a damaged file could
//! end the process. Here nothing decompresses to more than the store can hold.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::error::{DataError, Result};
use crate::io::h5::{
    Attribute, DatasetInfo, ElementType, FieldValues, H5Source, NodeKind, Numbers,
};

mod chunk;
mod codec;
mod layout;
mod meta;
mod store;
mod zipped;

use chunk::{Array, Kept};
use meta::{Kind, Meta};
use store::Store;

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
    let size = size(path);
    let store = Store::open(path, crate::io::h5::allocation_limit(size)).map_err(|e| {
        let message = format!("is not a readable zip archive ({e}): copy or download it again");
        DataError::file(path, message)
    })?;
    let zarr = Zarr {
        path: path.to_path_buf(),
        size,
        store,
        nodes: Mutex::default(),
        kept: Kept::default(),
    };
    if zarr.kind("")? != Some(NodeKind::Group) {
        let holds = |end: &str| zarr.store.has(|name| name.ends_with(end));
        let message = if holds("data.pkl") {
            "is a PyTorch file: weights, not cells; give the file with the cells"
        } else if holds(".npy") {
            "is a NumPy archive, without names of cells and genes; put the matrix into an AnnData \
             (adata.write_h5ad(path))"
        } else {
            "is an archive without a Zarr group at its root; unpack it and give the file inside"
        };
        return Err(DataError::file(path, message));
    }
    Ok(Arc::new(zarr))
}

/// Bytes of a file, or of all files of a folder.
fn size(path: &Path) -> u64 {
    let Ok(members) = std::fs::read_dir(path) else {
        return std::fs::metadata(path).map_or(0, |m| m.len());
    };
    let of = |member: std::fs::DirEntry| match member.file_type() {
        // A link to a folder may be cyclic.
        Ok(kind) if kind.is_symlink() && member.path().is_dir() => 0,
        _ => size(&member.path()),
    };
    members.flatten().map(of).sum()
}

/// A group or array of the store.
struct Node {
    kind: NodeKind,
    attributes: Value,
    /// The metadata of an array, or what is wrong with it.
    meta: Option<std::result::Result<Meta, String>>,
}

struct Zarr {
    path: PathBuf,
    size: u64,
    store: Store,
    nodes: Mutex<HashMap<String, Option<Arc<Node>>>>,
    kept: Kept,
}

impl Zarr {
    fn wrong(&self, node: &str, what: impl std::fmt::Display) -> DataError {
        let place = if node.is_empty() { "root group" } else { node };
        DataError::file(&self.path, format!("{place}: {what}"))
    }

    /// A JSON file of a node.
    fn json(&self, node: &str, name: &str) -> Result<Option<Value>> {
        let key = match node {
            "" => name.to_owned(),
            node => format!("{node}/{name}"),
        };
        let again = "the store is truncated or damaged: copy or download it again";
        match self.store.get(&key) {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|e| self.wrong(node, format!("{name}: {e}; {again}"))),
            Err(e) => Err(self.wrong(node, format!("{e}; {again}"))),
        }
    }

    fn find(&self, node: &str) -> Result<Option<Arc<Node>>> {
        let lock = || self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(node) {
            return Ok(known.clone());
        }
        let found = self.read_node(node)?.map(Arc::new);
        lock().insert(node.to_owned(), found.clone());
        Ok(found)
    }

    fn read_node(&self, node: &str) -> Result<Option<Node>> {
        if let Some(mut json) = self.json(node, "zarr.json")? {
            let is_group = json.get("node_type").and_then(Value::as_str) == Some("group");
            return Ok(Some(Node {
                kind: if is_group {
                    NodeKind::Group
                } else {
                    NodeKind::Dataset
                },
                meta: (!is_group).then(|| meta::version3(&json)),
                attributes: json
                    .get_mut("attributes")
                    .map(Value::take)
                    .unwrap_or_default(),
            }));
        }
        let (kind, meta) = match self.json(node, ".zarray")? {
            Some(json) => (NodeKind::Dataset, Some(meta::version2(&json))),
            None => match self.json(node, ".zgroup")? {
                Some(_) => (NodeKind::Group, None),
                None => return Ok(None),
            },
        };
        Ok(Some(Node {
            kind,
            meta,
            attributes: self.json(node, ".zattrs")?.unwrap_or_default(),
        }))
    }

    /// Applies `read` to an array.
    fn array<T>(
        &self,
        node: &str,
        read: impl FnOnce(Array<'_>) -> std::result::Result<T, String>,
    ) -> Result<T> {
        let Some(found) = self.find(node)? else {
            return Err(self.wrong(node, "does not exist"));
        };
        let meta = match &found.meta {
            None => return Err(self.wrong(node, "is a group, not an array")),
            Some(Err(e)) => return Err(self.wrong(node, e)),
            Some(Ok(meta)) => meta,
        };
        read(Array {
            store: &self.store,
            node,
            meta,
            kept: &self.kept,
            limit: crate::io::h5::allocation_limit(self.size),
        })
        .map_err(|e| {
            let again = "the store is truncated or damaged: copy or download it again";
            self.wrong(node, format!("{e}; {again}"))
        })
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
        Ok(self.find(node)?.map(|n| n.kind))
    }

    fn children(&self, group: &str) -> Result<Vec<String>> {
        let mut children = Vec::new();
        for name in self.store.names(group) {
            let node = match group {
                "" => name.clone(),
                group => format!("{group}/{name}"),
            };
            if self.find(&node)?.is_some() {
                children.push(name);
            }
        }
        Ok(children)
    }

    fn attribute(&self, node: &str, name: &str) -> Result<Option<Attribute>> {
        let Some(found) = self.find(node)? else {
            return Ok(None);
        };
        Ok(found.attributes.get(name).map(|value| match value {
            Value::Array(items) => list(items),
            one => list(std::slice::from_ref(one)),
        }))
    }

    fn info(&self, node: &str) -> Result<DatasetInfo> {
        self.array(node, |array| {
            Ok(DatasetInfo {
                shape: array.meta.shape.clone(),
                element: array.meta.kind.element(),
            })
        })
    }

    fn numbers(&self, node: &str, ranges: &[Range<u64>]) -> Result<Numbers> {
        let info = self.info(node)?;
        let inside = ranges.len() == info.shape.len()
            && ranges
                .iter()
                .zip(&info.shape)
                .all(|(r, n)| r.start <= r.end && r.end <= *n);
        if !inside {
            let what = format!(
                "elements {ranges:?} are out of range for shape {:?}",
                info.shape
            );
            return Err(self.wrong(node, what));
        }
        if !crate::io::h5ad::is_numeric(&info.element) {
            let what = format!("holds {:?}, not numbers", info.element);
            return Err(self.wrong(node, what));
        }
        let bytes = self.array(node, |array| array.bytes(ranges))?;
        Ok(numbers(&info.element, &bytes))
    }

    fn strings(&self, node: &str) -> Result<Vec<String>> {
        let element = self.info(node)?.element;
        if element != ElementType::String {
            return Err(self.wrong(node, format!("holds {element:?}, not strings")));
        }
        self.array(node, |array| array.texts())
    }

    fn field(&self, node: &str, field: &str) -> Result<FieldValues> {
        Err(self.wrong(node, format!("is not a table of records with '{field}'")))
    }
}

/// Little-endian bytes as numbers of their type.
fn numbers(element: &ElementType, bytes: &[u8]) -> Numbers {
    macro_rules! as_numbers {
        ($variant:ident, $type:ty) => {
            Numbers::$variant(
                bytes
                    .as_chunks::<{ size_of::<$type>() }>()
                    .0
                    .iter()
                    .map(|b| <$type>::from_le_bytes(*b))
                    .collect(),
            )
        };
    }
    match (element, Kind::Number(element.clone()).width()) {
        (ElementType::Float { .. }, 2) => Numbers::F32(
            bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|b| half::f16::from_le_bytes(*b).to_f32())
                .collect(),
        ),
        (ElementType::Float { .. }, 4) => as_numbers!(F32, f32),
        (ElementType::Float { .. }, _) => as_numbers!(F64, f64),
        (ElementType::Int { signed: true, .. }, 1) => as_numbers!(I8, i8),
        (ElementType::Int { signed: true, .. }, 2) => as_numbers!(I16, i16),
        (ElementType::Int { signed: true, .. }, 4) => as_numbers!(I32, i32),
        (ElementType::Int { signed: true, .. }, _) => as_numbers!(I64, i64),
        (ElementType::Int { .. }, 1) => as_numbers!(U8, u8),
        (ElementType::Int { .. }, 2) => as_numbers!(U16, u16),
        (ElementType::Int { .. }, 4) => as_numbers!(U32, u32),
        (ElementType::Int { .. }, _) => as_numbers!(U64, u64),
        _ => Numbers::Bool(bytes.iter().map(|&b| b != 0).collect()),
    }
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
