//! A group of a source, read as a source itself, with columns of `obs` from elsewhere.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::view::View;
use crate::error::Result;
use crate::io::h5::{Attribute, DatasetInfo, Extents, FieldValues, H5Source, NodeKind, Numbers};

/// Reads the columns of `obs` that come from elsewhere.
pub(super) type Columns = Box<dyn Fn() -> Result<View> + Send + Sync>;

/// A group, used as the root.
pub(super) struct Part {
    source: Arc<dyn H5Source>,
    prefix: String,
    format: &'static str,
    /// Names of columns that `obs` of the group lacks.
    names: Vec<String>,
    /// Reads them all, as `obs/<name>`; done once, on first access.
    read: Columns,
    columns: OnceLock<View>,
}

impl Part {
    /// The group at `prefix` of a file of this format.
    pub(super) fn new(source: Arc<dyn H5Source>, prefix: String, format: &'static str) -> Self {
        let path = source.path().to_path_buf();
        Self {
            source,
            prefix,
            format,
            names: Vec::new(),
            read: Box::new(move || Ok(View::new(&path, 0))),
            columns: OnceLock::new(),
        }
    }

    /// Adds columns to `obs`, which `read` puts at `obs/<name>` of a tree.
    pub(super) fn with_columns(mut self, names: Vec<String>, read: Columns) -> Self {
        self.names = names;
        self.read = read;
        self
    }

    fn full(&self, node: &str) -> String {
        match node {
            "" => self.prefix.clone(),
            node => format!("{}/{node}", self.prefix),
        }
    }

    /// The tree with the added columns, when `node` is in one of them.
    fn added(&self, node: &str) -> Result<Option<&View>> {
        let column = node.strip_prefix("obs/").map(|n| n.split('/').next());
        let Some(Some(column)) = column else {
            return Ok(None);
        };
        if !self.names.iter().any(|n| n == column) {
            return Ok(None);
        }
        if let Some(columns) = self.columns.get() {
            return Ok(Some(columns));
        }
        let columns = (self.read)()?;
        Ok(Some(self.columns.get_or_init(|| columns)))
    }
}

impl H5Source for Part {
    fn path(&self) -> &Path {
        self.source.path()
    }

    fn size(&self) -> u64 {
        self.source.size()
    }

    fn format(&self) -> &'static str {
        self.format
    }

    fn kind(&self, node: &str) -> Result<Option<NodeKind>> {
        match self.added(node)? {
            Some(view) => view.kind(node),
            None => self.source.kind(&self.full(node)),
        }
    }

    fn children(&self, group: &str) -> Result<Vec<String>> {
        if let Some(view) = self.added(group)? {
            return view.children(group);
        }
        let mut children = self.source.children(&self.full(group))?;
        if group == "obs" {
            children.extend_from_slice(&self.names);
        }
        Ok(children)
    }

    fn attribute(&self, node: &str, name: &str) -> Result<Option<Attribute>> {
        match self.added(node)? {
            Some(view) => view.attribute(node, name),
            None => self.source.attribute(&self.full(node), name),
        }
    }

    fn info(&self, node: &str) -> Result<DatasetInfo> {
        match self.added(node)? {
            Some(view) => view.info(node),
            None => self.source.info(&self.full(node)),
        }
    }

    fn numbers(&self, node: &str, ranges: &[Range<u64>]) -> Result<Numbers> {
        match self.added(node)? {
            Some(view) => view.numbers(node, ranges),
            None => self.source.numbers(&self.full(node), ranges),
        }
    }

    fn strings(&self, node: &str) -> Result<Vec<String>> {
        match self.added(node)? {
            Some(view) => view.strings(node),
            None => self.source.strings(&self.full(node)),
        }
    }

    fn field(&self, node: &str, field: &str) -> Result<FieldValues> {
        self.source.field(&self.full(node), field)
    }

    fn extents(&self, node: &str) -> Result<Option<Extents>> {
        match self.added(node)? {
            Some(_) => Ok(None),
            None => self.source.extents(&self.full(node)),
        }
    }
}
