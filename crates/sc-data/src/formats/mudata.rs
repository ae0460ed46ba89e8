//! MuData (`.h5mu`): one modality, seen as a file of its own.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::error::{DataError, Result};
use crate::h5::{Attribute, DatasetInfo, Extents, FieldValues, H5Source, NodeKind, Numbers};

/// The modality `part` (`rna` or `mod/rna`), else `rna`, `gex` or the only one. `obs` is the modality's
/// own, not that of all modalities together.
pub(super) fn open(source: Arc<dyn H5Source>, part: Option<&str>) -> Result<Arc<dyn H5Source>> {
    let modalities = source.children("mod")?;
    let listed = modalities.join(", ");
    let wanted = part.map(|p| p.strip_prefix("mod/").unwrap_or(p));
    let found = match wanted {
        Some(name) => modalities.iter().find(|m| *m == name).ok_or_else(|| {
            DataError::file(
                source.path(),
                format!("has no modality '{name}'; it has {listed}"),
            )
        })?,
        None => {
            let usual = ["rna", "gex"].into_iter();
            let usual = usual
                .filter_map(|u| modalities.iter().find(|m| *m == u))
                .next();
            match (usual, &modalities[..]) {
                (Some(found), _) | (None, [found]) => found,
                _ => {
                    return Err(DataError::file(
                        source.path(),
                        format!(
                            "holds the modalities {listed}; name one, as in {}/{}",
                            source.path().display(),
                            modalities.first().map_or("NAME", String::as_str)
                        ),
                    ));
                }
            }
        }
    };
    Ok(Arc::new(Below {
        prefix: format!("mod/{found}"),
        source,
    }))
}

/// A group of a file, taken for its root.
struct Below {
    source: Arc<dyn H5Source>,
    prefix: String,
}

impl Below {
    fn full(&self, node: &str) -> String {
        if node.is_empty() {
            self.prefix.clone()
        } else {
            format!("{}/{node}", self.prefix)
        }
    }
}

impl H5Source for Below {
    fn path(&self) -> &Path {
        self.source.path()
    }

    fn size(&self) -> u64 {
        self.source.size()
    }

    fn format(&self) -> &'static str {
        "MuData"
    }

    fn kind(&self, node: &str) -> Result<Option<NodeKind>> {
        self.source.kind(&self.full(node))
    }

    fn children(&self, group: &str) -> Result<Vec<String>> {
        self.source.children(&self.full(group))
    }

    fn attribute(&self, node: &str, name: &str) -> Result<Option<Attribute>> {
        self.source.attribute(&self.full(node), name)
    }

    fn info(&self, node: &str) -> Result<DatasetInfo> {
        self.source.info(&self.full(node))
    }

    fn numbers(&self, node: &str, ranges: &[Range<u64>]) -> Result<Numbers> {
        self.source.numbers(&self.full(node), ranges)
    }

    fn strings(&self, node: &str) -> Result<Vec<String>> {
        self.source.strings(&self.full(node))
    }

    fn field(&self, node: &str, field: &str) -> Result<FieldValues> {
        self.source.field(&self.full(node), field)
    }

    fn extents(&self, node: &str) -> Result<Option<Extents>> {
        self.source.extents(&self.full(node))
    }
}
