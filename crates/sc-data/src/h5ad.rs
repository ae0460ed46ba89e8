//! AnnData files: lazy reading, and writing of new files and of embeddings into existing ones.
//!
//! [`H5ad::open`] reads names, shapes and attributes only. Columns, embeddings and names are read
//! when asked for; matrices through [`crate::store::CellStore`].

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ndarray::Array2;

use crate::error::{DataError, Result};
use crate::formats;
use crate::h5::{Attribute, ElementType, H5Source, NodeKind, text_attribute};

mod column;
mod convert;
mod edit;
mod frame;
mod matrix;
mod obs;
mod obsm;
mod write;

pub use column::{Column, Factor, Missing};
pub use convert::to_h5ad;
pub use edit::WriteTarget;
pub use frame::FrameInfo;
pub use matrix::{Layout, MatrixInfo};
pub use obs::write_obs;
pub use obsm::{ObsmWriter, write_obsm};
pub use write::{H5adWriter, NewFrame, write_h5ad};

/// Which matrix of an AnnData file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MatrixSlot {
    /// `X`.
    X,
    /// `raw/X`, which has its own genes.
    Raw,
    /// `layers/<name>`.
    Layer(String),
}

impl fmt::Display for MatrixSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X => f.write_str("X"),
            Self::Raw => f.write_str("raw/X"),
            Self::Layer(name) => write!(f, "layers/{name}"),
        }
    }
}

impl std::str::FromStr for MatrixSlot {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "X" | "x" => Ok(Self::X),
            "raw" | "raw/X" | "raw.X" => Ok(Self::Raw),
            other => match other.strip_prefix("layers/") {
                Some(name) if !name.is_empty() => Ok(Self::Layer(name.to_owned())),
                _ => Err(DataError::invalid(format!(
                    "'{other}' names no matrix; use X, raw/X or layers/NAME"
                ))),
            },
        }
    }
}

/// An opened AnnData file.
#[derive(Clone)]
pub struct H5ad {
    source: Arc<dyn H5Source>,
    obs: FrameInfo,
    var: FrameInfo,
    raw_var: Option<FrameInfo>,
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
    /// Opens a file of any format that [`crate::formats::open`] knows, reading names and shapes only.
    ///
    /// # Errors
    /// [`DataError::Io`] when the system refuses; [`DataError::File`] when it is no AnnData file, cut
    /// off or damaged.
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_source(formats::open(path)?)
    }

    /// Opens what another [`H5Source`] reads.
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
        let layers = members(&*source, "layers")?;
        let obsm = members(&*source, "obsm")?;
        let has_x = source.kind("X")?.is_some();
        Ok(Self {
            source,
            obs,
            var,
            raw_var,
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

    /// Number of genes of `X` and the layers.
    pub fn n_vars(&self) -> usize {
        self.var.len()
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
    /// [`DataError::File`] when there is none of that name (the message lists what there is and the
    /// closest name) or it cannot be read.
    pub fn obs_column(&self, name: &str) -> Result<Column> {
        frame::column(&*self.source, &self.obs, name)
    }

    /// One column of `var`, `n_vars` values.
    ///
    /// # Errors
    /// As [`H5ad::obs_column`].
    pub fn var_column(&self, name: &str) -> Result<Column> {
        frame::column(&*self.source, &self.var, name)
    }

    /// One column of the genes of a matrix: of `raw/var` for [`MatrixSlot::Raw`], else of `var`.
    ///
    /// # Errors
    /// As [`H5ad::obs_column`].
    pub fn gene_column(&self, slot: &MatrixSlot, name: &str) -> Result<Column> {
        frame::column(&*self.source, self.gene_frame(slot)?, name)
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
        frame::index(&*self.source, &self.var)
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
        frame::index(&*self.source, self.gene_frame(slot)?)
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

    /// Every matrix the file has: `X`, `raw/X`, then the layers.
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
    /// fit `obs` and `var`.
    pub fn matrix(&self, slot: &MatrixSlot) -> Result<MatrixInfo> {
        let node = match slot {
            MatrixSlot::Raw => self.raw_x.clone().unwrap_or_else(|| "raw/X".into()),
            other => other.to_string(),
        };
        if self.source.kind(&node)?.is_none() {
            let have: Vec<String> = self.slots().iter().map(ToString::to_string).collect();
            return Err(DataError::file(
                self.path(),
                if have.is_empty() {
                    format!("has no {slot}, and no other matrix either")
                } else {
                    format!("has no {slot}; it has {}", have.join(", "))
                },
            ));
        }
        let info = matrix::describe(&*self.source, &node)?;
        let genes = match slot {
            MatrixSlot::Raw => self.raw_var.as_ref().map_or(info.cols, FrameInfo::len),
            _ => self.n_vars(),
        };
        if info.rows != self.n_obs() || info.cols != genes {
            return Err(DataError::file(
                self.path(),
                format!(
                    "{slot}: shape {} x {} does not fit {} cells and {genes} genes; the file is damaged",
                    info.rows,
                    info.cols,
                    self.n_obs()
                ),
            ));
        }
        Ok(info)
    }

    /// An embedding `[n_obs, dims]`.
    ///
    /// # Errors
    /// [`DataError::File`] when there is none of that name, it is not dense, or it cannot be read.
    pub fn obsm(&self, name: &str) -> Result<Array2<f32>> {
        let node = format!("obsm/{name}");
        let fail = |message: String| DataError::file(self.path(), format!("{node}: {message}"));
        match self.source.kind(&node)? {
            Some(NodeKind::Dataset) => {}
            Some(NodeKind::Group) => {
                return Err(fail("is sparse or a table; a dense array is needed".into()));
            }
            None => {
                return Err(fail(format!(
                    "not there; obsm has {}",
                    frame::listing(&self.obsm)
                )));
            }
        }
        let shape = self.source.info(&node)?.shape;
        let &[rows, cols] = &shape[..] else {
            return Err(fail(format!(
                "expected two dimensions, found shape {shape:?}"
            )));
        };
        if rows != self.n_obs() as u64 {
            return Err(fail(format!("has {rows} rows for {} cells", self.n_obs())));
        }
        let values = self.source.numbers(&node, &[0..rows, 0..cols])?.into_f32();
        Array2::from_shape_vec((rows as usize, cols as usize), values)
            .map_err(|e| fail(e.to_string()))
    }
}

fn members(source: &dyn H5Source, group: &str) -> Result<Vec<String>> {
    match source.kind(group)? {
        Some(NodeKind::Group) => source.children(group),
        // anndata 0.6 stored obsm as one table; its fields cannot be addressed as arrays here.
        _ => Ok(Vec::new()),
    }
}

fn not_anndata(source: &dyn H5Source, needed: &str) -> DataError {
    DataError::file(
        source.path(),
        format!(
            "has no '{needed}': it is {}, but holds no AnnData",
            source.format()
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

/// The two integers of the attribute `shape`, under either of its names.
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
