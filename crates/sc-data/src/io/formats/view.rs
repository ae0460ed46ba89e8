//! An AnnData tree made of parts of another file and of values in memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{DataError, Result};
use crate::io::h5::{
    Attribute, DatasetInfo, ElementType, Extents, FieldValues, H5Source, NodeKind, Numbers,
};

/// The content of a path of the tree.
enum Node {
    Group,
    /// A dataset of another source.
    Alias(Arc<dyn H5Source>, String),
    /// A two-dimensional dataset of another source, its axes swapped.
    Swapped(Arc<dyn H5Source>, String),
    /// A dataset `[n]` or `[n, 1]` of another source, as `[n]`.
    Column(Arc<dyn H5Source>, String),
    /// One-dimensional numbers.
    Numbers(Numbers),
    /// One-dimensional strings.
    Texts(Vec<String>),
}

/// A tree built by hand.
pub(super) struct View {
    path: PathBuf,
    size: u64,
    nodes: BTreeMap<String, Node>,
    attributes: BTreeMap<(String, String), Attribute>,
    feature_type: Option<String>,
}

impl View {
    /// A tree of the file at `path`, which has `size` bytes.
    pub(super) fn new(path: &Path, size: u64) -> Self {
        Self {
            path: path.to_path_buf(),
            size,
            nodes: BTreeMap::new(),
            attributes: BTreeMap::new(),
            feature_type: None,
        }
    }

    /// Keeps only features of this type.
    pub(super) fn want(&mut self, feature_type: &str) {
        self.feature_type = Some(feature_type.to_owned());
    }

    fn put(&mut self, node: &str, what: Node) {
        let mut above = node;
        while let Some((parent, _)) = above.rsplit_once('/') {
            self.nodes.entry(parent.to_owned()).or_insert(Node::Group);
            above = parent;
        }
        self.nodes.insert(node.to_owned(), what);
    }

    fn attribute(&mut self, node: &str, name: &str, value: Attribute) {
        self.attributes
            .insert((node.to_owned(), name.to_owned()), value);
    }

    /// A CSR matrix `[rows, cols]`; its arrays are at `node/indptr`, `indices` and `data`.
    pub(super) fn csr(&mut self, node: &str, rows: usize, cols: usize) {
        self.put(node, Node::Group);
        let kind = Attribute::Strings(vec!["csr_matrix".into()]);
        self.attribute(node, "encoding-type", kind);
        let shape = Attribute::Ints(vec![rows as i64, cols as i64]);
        self.attribute(node, "shape", shape);
    }

    /// A dataset of another source.
    pub(super) fn alias(&mut self, node: &str, source: &Arc<dyn H5Source>, of: &str) {
        self.put(node, Node::Alias(Arc::clone(source), of.to_owned()));
    }

    /// A dataset of another source with one value per row, whatever its second axis.
    pub(super) fn column(&mut self, node: &str, source: &Arc<dyn H5Source>, of: &str) {
        self.put(node, Node::Column(Arc::clone(source), of.to_owned()));
    }

    /// A two-dimensional dataset of another source, its axes swapped.
    pub(super) fn swapped(&mut self, node: &str, source: &Arc<dyn H5Source>, of: &str) {
        self.put(node, Node::Swapped(Arc::clone(source), of.to_owned()));
    }

    /// Numbers in memory.
    pub(super) fn hold(&mut self, node: &str, values: Numbers) {
        self.put(node, Node::Numbers(values));
    }

    /// A frame with these row names.
    pub(super) fn frame(&mut self, node: &str, index: Vec<String>) {
        self.put(node, Node::Group);
        let name = Attribute::Strings(vec!["_index".into()]);
        self.attribute(node, "_index", name);
        self.put(&format!("{node}/_index"), Node::Texts(index));
    }

    /// A column of strings of a frame.
    pub(super) fn texts(&mut self, node: &str, values: Vec<String>) {
        self.put(node, Node::Texts(values));
    }

    fn find(&self, node: &str) -> Result<&Node> {
        self.nodes
            .get(node)
            .ok_or_else(|| self.fail(node, "does not exist"))
    }

    fn fail(&self, node: &str, what: impl std::fmt::Display) -> DataError {
        DataError::file(&self.path, format!("{node}: {what}"))
    }
}

impl H5Source for View {
    fn path(&self) -> &Path {
        &self.path
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn format(&self) -> &'static str {
        "another format"
    }

    fn feature_type(&self) -> Option<&str> {
        self.feature_type.as_deref()
    }

    fn kind(&self, node: &str) -> Result<Option<NodeKind>> {
        Ok(match self.nodes.get(node) {
            Some(Node::Group) => Some(NodeKind::Group),
            Some(_) => Some(NodeKind::Dataset),
            None if node.is_empty() => Some(NodeKind::Group),
            None => None,
        })
    }

    fn children(&self, group: &str) -> Result<Vec<String>> {
        let prefix = if group.is_empty() {
            String::new()
        } else {
            format!("{group}/")
        };
        let below = self.nodes.keys().filter_map(|k| k.strip_prefix(&prefix));
        Ok(below
            .filter(|rest| !rest.is_empty() && !rest.contains('/'))
            .map(str::to_owned)
            .collect())
    }

    fn attribute(&self, node: &str, name: &str) -> Result<Option<Attribute>> {
        let key = (node.to_owned(), name.to_owned());
        Ok(self.attributes.get(&key).cloned())
    }

    fn info(&self, node: &str) -> Result<DatasetInfo> {
        match self.find(node)? {
            Node::Group => Err(self.fail(node, "is a group")),
            Node::Alias(source, of) => source.info(of),
            Node::Swapped(source, of) => {
                let mut info = source.info(of)?;
                info.shape.reverse();
                Ok(info)
            }
            Node::Column(source, of) => {
                let mut info = source.info(of)?;
                info.shape.truncate(1);
                Ok(info)
            }
            Node::Numbers(values) => Ok(DatasetInfo {
                shape: vec![values.len() as u64],
                element: values.element(),
            }),
            Node::Texts(values) => Ok(DatasetInfo {
                shape: vec![values.len() as u64],
                element: ElementType::String,
            }),
        }
    }

    fn numbers(&self, node: &str, ranges: &[Range<u64>]) -> Result<Numbers> {
        match (self.find(node)?, ranges) {
            (Node::Alias(source, of), _) => source.numbers(of, ranges),
            (Node::Column(source, of), [range]) => match source.info(of)?.shape.len() {
                1 => source.numbers(of, ranges),
                _ => source.numbers(of, &[range.clone(), 0..1]),
            },
            (Node::Swapped(source, of), [rows, cols]) => {
                let read = source.numbers(of, &[cols.clone(), rows.clone()])?;
                let (n, m) = (rows.end - rows.start, cols.end - cols.start);
                Ok(read.transposed(m as usize, n as usize))
            }
            (Node::Numbers(values), [range]) => values
                .slice(range.start as usize..range.end as usize)
                .ok_or_else(|| self.fail(node, format!("has no elements {range:?}"))),
            _ => Err(self.fail(node, "does not hold numbers of that shape")),
        }
    }

    fn strings(&self, node: &str) -> Result<Vec<String>> {
        match self.find(node)? {
            Node::Alias(source, of) | Node::Column(source, of) => source.strings(of),
            Node::Texts(values) => Ok(values.clone()),
            _ => Err(self.fail(node, "does not hold strings")),
        }
    }

    fn field(&self, node: &str, field: &str) -> Result<FieldValues> {
        match self.find(node)? {
            Node::Alias(source, of) => source.field(of, field),
            _ => Err(self.fail(node, "is not a table of records")),
        }
    }

    fn extents(&self, node: &str) -> Result<Option<Extents>> {
        match self.find(node)? {
            Node::Alias(source, of) if source.path() == self.path => source.extents(of),
            _ => Ok(None),
        }
    }
}
