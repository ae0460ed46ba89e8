//! AnnData files: lazy reading, and writing of new files and of embeddings into existing ones.
//!
//! [`H5ad::open`] reads names, shapes and attributes only. Columns, embeddings and names are read
//! when asked for; matrices through [`crate::io::store::CellStore`].

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{DataError, Result};
use crate::genes::features::Kept;
use crate::io::formats;
use crate::io::h5::{Attribute, ElementType, H5Source, NodeKind, in_other_files, text_attribute};

mod column;
mod convert;
mod edit;
mod embedding;
mod frame;
mod matrix;
mod obs;
mod obsm;
mod tree;
mod write;

pub use crate::slot::MatrixSlot;
pub use column::{Column, Missing};
pub use convert::to_h5ad;
pub use edit::WriteTarget;
pub use frame::FrameInfo;
pub use matrix::{Layout, MatrixInfo};
pub use obs::write_obs;
pub use obsm::{ObsmWriter, write_obsm};
pub use write::{H5adWriter, NewFrame, write_h5ad};

/// An opened AnnData file.
#[derive(Clone)]
pub struct H5ad {
    source: Arc<dyn H5Source>,
    obs: FrameInfo,
    var: FrameInfo,
    /// The features that are read, where some are not.
    kept: Option<Arc<Kept>>,
    raw_var: Option<FrameInfo>,
    raw_kept: Option<Arc<Kept>>,
    layers: Vec<String>,
    obsm: Vec<String>,
    has_x: bool,
    raw_x: Option<String>,
}

impl fmt::Debug for H5ad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "H5ad({}: {} x {})",
            self.path().display(),
            self.n_obs(),
            self.n_vars()
        )
    }
}

impl H5ad {
    /// Opens a file of any format supported by [`crate::io::formats::open`], reading names and
    /// shapes only.
    ///
    /// # Errors
    /// [`DataError::Io`] for system errors; [`DataError::File`] when it is not an AnnData file,
    /// truncated or damaged.
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_source(formats::open(path)?)
    }

    /// Opens a file through another [`H5Source`].
    ///
    /// # Errors
    /// As [`H5ad::open`].
    pub fn from_source(source: Arc<dyn H5Source>) -> Result<Self> {
        for needed in ["obs", "var"] {
            if source.kind(needed)?.is_none() {
                return Err(not_anndata(&*source, needed));
            }
        }
        let obs = frame::open(&*source, "obs")?;
        let var = frame::open(&*source, "var")?;
        let raw_x = match source.kind("raw/X")? {
            Some(_) => Some("raw/X".to_owned()),
            // anndata 0.5 and 0.6 kept raw in top-level nodes with a dot in their name.
            None => source.kind("raw.X")?.map(|_| "raw.X".to_owned()),
        };
        let raw_var = match &raw_x {
            None => None,
            Some(x) => {
                let node = x.replace('X', "var");
                match source.kind(&node)? {
                    Some(_) => Some(frame::open(&*source, &node)?),
                    None => None,
                }
            }
        };
        let kept = kept(&*source, &var)?;
        let raw_kept = match &raw_var {
            Some(frame) => self::kept(&*source, frame)?,
            None => None,
        };
        let layers = members(&*source, "layers")?;
        let obsm = members(&*source, "obsm")?;
        let has_x = source.kind("X")?.is_some();
        Ok(Self {
            source,
            obs,
            var,
            kept,
            raw_var,
            raw_kept,
            layers,
            obsm,
            has_x,
            raw_x,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// Access below the level of AnnData.
    pub fn source(&self) -> &Arc<dyn H5Source> {
        &self.source
    }

    /// Number of cells.
    pub fn n_obs(&self) -> usize {
        self.obs.len()
    }

    /// Number of genes of `X` and the layers, without features of other types.
    pub fn n_vars(&self) -> usize {
        self.kept(&MatrixSlot::X)
            .map_or(self.var.len(), |kept| kept.places.len())
    }

    /// Which features of a matrix are used as genes; `None` when all are.
    ///
    /// A table with several feature types (`var['feature_types']`), such as that of a 10x file with
    /// antibodies, is read as if it held only its genes, and peaks where it is not a 10x file.
    pub fn kept(&self, slot: &MatrixSlot) -> Option<&Kept> {
        match slot {
            MatrixSlot::Raw => self.raw_kept.as_deref(),
            _ => self.kept.as_deref(),
        }
    }

    /// The columns of `obs`.
    pub fn obs(&self) -> &FrameInfo {
        &self.obs
    }

    /// The columns of `var`.
    pub fn var(&self) -> &FrameInfo {
        &self.var
    }

    /// The columns of `raw/var`, where the file has `raw`.
    pub fn raw_var(&self) -> Option<&FrameInfo> {
        self.raw_var.as_ref()
    }

    /// One column of `obs`, `n_obs` values.
    ///
    /// # Errors
    /// [`DataError::File`] when there is none of that name (the message lists the columns and the
    /// closest name) or it cannot be read.
    pub fn obs_column(&self, name: &str) -> Result<Column> {
        frame::column(&*self.source, &self.obs, name)
    }

    /// One column of `var`, `n_vars` values.
    ///
    /// # Errors
    /// As [`H5ad::obs_column`].
    pub fn var_column(&self, name: &str) -> Result<Column> {
        self.gene_column(&MatrixSlot::X, name)
    }

    /// One column of the genes of a matrix: of `raw/var` for [`MatrixSlot::Raw`], else of `var`.
    ///
    /// # Errors
    /// As [`H5ad::obs_column`].
    pub fn gene_column(&self, slot: &MatrixSlot, name: &str) -> Result<Column> {
        let column = frame::column(&*self.source, self.gene_frame(slot)?, name)?;
        Ok(match self.kept(slot) {
            Some(kept) => column.select(&kept.places),
            None => column,
        })
    }

    /// Names of the cells.
    ///
    /// # Errors
    /// [`DataError::File`] when they cannot be read.
    pub fn obs_names(&self) -> Result<Vec<String>> {
        frame::index(&*self.source, &self.obs)
    }

    /// Names of the genes of `X` and the layers.
    ///
    /// # Errors
    /// [`DataError::File`] when they cannot be read.
    pub fn var_names(&self) -> Result<Vec<String>> {
        self.gene_names(&MatrixSlot::X)
    }

    /// Names of the genes of `raw/X`.
    ///
    /// # Errors
    /// [`DataError::File`] when there is no `raw` or they cannot be read.
    pub fn raw_var_names(&self) -> Result<Vec<String>> {
        self.gene_names(&MatrixSlot::Raw)
    }

    /// Names of the genes of a matrix.
    ///
    /// # Errors
    /// [`DataError::File`] when the slot has no genes or they cannot be read.
    pub fn gene_names(&self, slot: &MatrixSlot) -> Result<Vec<String>> {
        let names = frame::index(&*self.source, self.gene_frame(slot)?)?;
        Ok(match self.kept(slot) {
            Some(kept) => kept.places.iter().map(|&k| names[k].clone()).collect(),
            None => names,
        })
    }

    /// The columns of the genes of a matrix.
    ///
    /// # Errors
    /// [`DataError::File`] when the file has no `raw`.
    pub fn gene_frame(&self, slot: &MatrixSlot) -> Result<&FrameInfo> {
        match slot {
            MatrixSlot::Raw => self.raw_var.as_ref().ok_or_else(|| {
                DataError::file(self.path(), "has no raw/var (adata.raw is not set)")
            }),
            _ => Ok(&self.var),
        }
    }

    /// Names of the layers.
    pub fn layers(&self) -> &[String] {
        &self.layers
    }

    /// Names of the embeddings in `obsm`.
    pub fn obsm_keys(&self) -> &[String] {
        &self.obsm
    }

    /// Every matrix of the file: `X`, `raw/X`, then the layers.
    pub fn slots(&self) -> Vec<MatrixSlot> {
        let mut slots = Vec::new();
        if self.has_x {
            slots.push(MatrixSlot::X);
        }
        if self.raw_x.is_some() {
            slots.push(MatrixSlot::Raw);
        }
        slots.extend(self.layers.iter().cloned().map(MatrixSlot::Layer));
        slots
    }

    /// Layout and shape of a matrix.
    ///
    /// # Errors
    /// [`DataError::File`] when there is no such matrix, its layout is unknown, or its shape does not
    /// match `obs` and `var`.
    pub fn matrix(&self, slot: &MatrixSlot) -> Result<MatrixInfo> {
        let node = match slot {
            MatrixSlot::Raw => self.raw_x.clone().unwrap_or_else(|| "raw/X".into()),
            other => other.to_string(),
        };
        if self.source.kind(&node)?.is_none() {
            let have: Vec<String> = self.slots().iter().map(ToString::to_string).collect();
            let elsewhere = in_other_files(&*self.source);
            return Err(DataError::file(
                self.path(),
                if have.is_empty() {
                    format!("has no {slot}, and no other matrix either{elsewhere}")
                } else {
                    format!("has no {slot}; it has {}{elsewhere}", have.join(", "))
                },
            ));
        }
        let mut info = matrix::describe(&*self.source, &node)?;
        let genes = match slot {
            MatrixSlot::Raw => self.raw_var.as_ref().map_or(info.cols, FrameInfo::len),
            _ => self.var.len(),
        };
        if info.rows != self.n_obs() || info.cols != genes {
            return Err(DataError::file(
                self.path(),
                format!(
                    "{slot}: shape {} x {} does not match {} cells and {genes} genes; the file is damaged",
                    info.rows,
                    info.cols,
                    self.n_obs()
                ),
            ));
        }
        if let Some(kept) = self.kept(slot) {
            info.cols = kept.places.len();
        }
        Ok(info)
    }
}

/// The features of a frame that are used.
fn kept(source: &dyn H5Source, frame: &FrameInfo) -> Result<Option<Arc<Kept>>> {
    const TYPES: &str = "feature_types";
    if !frame.has(TYPES) {
        return Ok(None);
    }
    let types = frame::column(source, frame, TYPES)?;
    let types: Vec<String> = (0..types.len())
        .map(|k| types.text(k).unwrap_or_default())
        .collect();
    Ok(Kept::by_type(&types, source.feature_type()).map(Arc::new))
}

fn members(source: &dyn H5Source, group: &str) -> Result<Vec<String>> {
    match source.kind(group)? {
        Some(NodeKind::Group) => names_below(source, group),
        // anndata 0.6 stored obsm as one table; its fields cannot be read as arrays here.
        _ => Ok(Vec::new()),
    }
}

/// Names of the members of a group. A slash in a name makes HDF5 nest groups, which have no
/// meaning by themselves: `obs/lineage/fine` is the column `lineage/fine`.
fn names_below(source: &dyn H5Source, group: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for child in source.children(group)? {
        let node = format!("{group}/{child}");
        if is_part_of_a_name(source, &node)? {
            let below = names_below(source, &node)?;
            names.extend(below.into_iter().map(|name| format!("{child}/{name}")));
        } else {
            names.push(child);
        }
    }
    Ok(names)
}

fn is_part_of_a_name(source: &dyn H5Source, node: &str) -> Result<bool> {
    // Valid names hold few slashes; a cycle of links holds endlessly many.
    let deep = node.matches('/').count() > 8;
    if deep || node.ends_with("/__categories") || source.kind(node)? != Some(NodeKind::Group) {
        return Ok(false);
    }
    for attribute in ["encoding-type", "h5sparse_format", "_index"] {
        if source.attribute(node, attribute)?.is_some() {
            return Ok(false);
        }
    }
    // Groups of other formats, without encoding attributes.
    let own = ["codes", "values", "indptr"];
    let children = source.children(node)?;
    Ok(!children.is_empty() && !children.iter().any(|c| own.contains(&c.as_str())))
}

fn not_anndata(source: &dyn H5Source, needed: &str) -> DataError {
    DataError::file(
        source.path(),
        format!(
            "has no '{needed}': it is {}, but not an AnnData file{}",
            source.format(),
            in_other_files(source)
        ),
    )
}

/// Whether a node is a sparse matrix of this kind ("csr" or "csc"), by any attribute ever used.
pub(crate) fn sparse_format(source: &dyn H5Source, node: &str) -> Result<Option<String>> {
    if let Some(kind) = text_attribute(source, node, "encoding-type")? {
        return Ok(kind.strip_suffix("_matrix").map(str::to_owned));
    }
    text_attribute(source, node, "h5sparse_format")
}

/// The two integers of the attribute `shape`, under either name.
pub(crate) fn shape_attribute(source: &dyn H5Source, node: &str) -> Result<Option<[u64; 2]>> {
    for name in ["shape", "h5sparse_shape"] {
        if let Some(Attribute::Ints(shape)) = source.attribute(node, name)?
            && let [rows, cols] = shape[..]
            && let (Ok(rows), Ok(cols)) = (u64::try_from(rows), u64::try_from(cols))
        {
            return Ok(Some([rows, cols]));
        }
    }
    Ok(None)
}

/// Whether elements of this type can be converted to numbers.
pub(crate) fn is_numeric(element: &ElementType) -> bool {
    matches!(
        element,
        ElementType::Int { .. } | ElementType::Float { size: 2 | 4 | 8 } | ElementType::Bool
    )
}
