//! loom: a dense matrix `[genes, cells]`, read in blocks of cells and transposed.

use std::sync::Arc;

use super::view::View;
use crate::error::{DataError, Result};
use crate::io::h5::{ElementType, H5Source, NodeKind};
use crate::io::h5ad::is_numeric;

/// Attributes with names of cells or genes, the most common first.
const CELL_NAMES: [&str; 5] = ["CellID", "obs_names", "cell_id", "barcode", "Barcode"];
const GENE_NAMES: [&str; 5] = ["Gene", "var_names", "gene_name", "GeneName", "Accession"];

/// The file as AnnData.
pub(super) fn open(source: Arc<dyn H5Source>) -> Result<Arc<dyn H5Source>> {
    let shape = source.info("matrix")?.shape;
    let &[genes, cells] = &shape[..] else {
        return Err(DataError::file(
            source.path(),
            format!("matrix: expected two dimensions, found shape {shape:?}"),
        ));
    };
    let mut view = View::new(source.path(), source.size());
    view.swapped("X", &source, "matrix");
    if source.kind("layers")? == Some(NodeKind::Group) {
        for layer in source.children("layers")? {
            let of = format!("layers/{layer}");
            if source.kind(&of)? == Some(NodeKind::Dataset) {
                view.swapped(&of, &source, &of);
            }
        }
    }
    let frames = [
        ("obs", "col_attrs", cells, CELL_NAMES),
        ("var", "row_attrs", genes, GENE_NAMES),
    ];
    for (frame, group, length, names) in frames {
        let index = index(&*source, group, length, &names)?;
        view.frame(frame, index);
        for column in source.children(group)? {
            let of = format!("{group}/{column}");
            if source.kind(&of)? != Some(NodeKind::Dataset) {
                continue;
            }
            let info = source.info(&of)?;
            match info.shape[..] {
                [n] | [n, 1] if n == length => {
                    view.column(&format!("{frame}/{column}"), &source, &of);
                    // The names used by scanpy.
                    if (frame, &column[..]) == ("var", "Accession") {
                        view.column("var/gene_ids", &source, &of);
                    }
                }
                // Coordinates and embeddings have several columns.
                [n, width]
                    if n == length && width > 1 && frame == "obs" && is_numeric(&info.element) =>
                {
                    view.alias(&format!("obsm/{column}"), &source, &of);
                }
                _ => {}
            }
        }
    }
    Ok(Arc::new(view))
}

fn index(source: &dyn H5Source, group: &str, length: u64, names: &[&str]) -> Result<Vec<String>> {
    for name in names {
        let node = format!("{group}/{name}");
        if source.kind(&node)? == Some(NodeKind::Dataset)
            && source.info(&node)?.element == ElementType::String
        {
            return source.strings(&node);
        }
    }
    if length > crate::io::h5::allocation_limit(source.size()) {
        return Err(DataError::file(
            source.path(),
            format!("matrix: {length} is more than the file can hold"),
        ));
    }
    Ok((0..length).map(|k| k.to_string()).collect())
}
