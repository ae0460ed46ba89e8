//! The only interface between HDF5 and the rest of the crate: [`H5Source`].
//!
//! All other modules see groups, datasets, attributes and typed arrays. The default
//! backend is the pure-Rust `hdf5-reader` ([`open`]); another can be used by implementing the
//! trait, without other changes.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::error::{DataError, Result};

pub(crate) mod filters;
mod reader;
pub(crate) mod writer;

/// Kind of a path in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A group.
    Group,
    /// A dataset.
    Dataset,
}

/// The type of a dataset's elements, as far as AnnData uses them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// A signed or unsigned integer of this many bytes.
    Int {
        /// Bytes.
        size: u8,
        /// Whether it has a sign.
        signed: bool,
    },
    /// A floating-point number of this many bytes (2, 4 or 8).
    Float {
        /// Bytes.
        size: u8,
    },
    /// A boolean (HDF5 enumeration of FALSE and TRUE over one byte).
    Bool,
    /// A string of fixed or variable length.
    String,
    /// A record with these named fields, as in files of anndata 0.6.
    Compound(Vec<String>),
    /// Anything else, described.
    Other(String),
}

/// Shape and type of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetInfo {
    /// Extent of every dimension; empty for a scalar.
    pub shape: Vec<u64>,
    /// Type of the elements.
    pub element: ElementType,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// One or more strings.
    Strings(Vec<String>),
    /// One or more integers or booleans.
    Ints(Vec<i64>),
    /// One or more floating-point numbers.
    Floats(Vec<f64>),
    /// Something AnnData's readers do not need (references, compounds, empty).
    Other,
}

/// Elements of a dataset in their stored type (float16 is widened).
#[derive(Clone, Debug, PartialEq)]
#[allow(
    missing_docs,
    reason = "each variant is the vector of the type it is named after"
)]
pub enum Numbers {
    I8(Vec<i8>),
    U8(Vec<u8>),
    I16(Vec<i16>),
    U16(Vec<u16>),
    I32(Vec<i32>),
    U32(Vec<u32>),
    I64(Vec<i64>),
    U64(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
}

/// Applies `$f` to the vector inside a [`Numbers`], whatever its type.
macro_rules! each_number {
    ($numbers:expr, $v:ident => $f:expr, $b:ident => $g:expr) => {
        match $numbers {
            Numbers::I8($v) => $f,
            Numbers::U8($v) => $f,
            Numbers::I16($v) => $f,
            Numbers::U16($v) => $f,
            Numbers::I32($v) => $f,
            Numbers::U32($v) => $f,
            Numbers::I64($v) => $f,
            Numbers::U64($v) => $f,
            Numbers::F32($v) => $f,
            Numbers::F64($v) => $f,
            Numbers::Bool($b) => $g,
        }
    };
}

/// Applies `$f` to the vector inside a [`Numbers`] and wraps the result in the same variant.
macro_rules! same_type {
    ($numbers:expr, $v:ident => $f:expr) => {
        match $numbers {
            Numbers::I8($v) => Numbers::I8($f),
            Numbers::U8($v) => Numbers::U8($f),
            Numbers::I16($v) => Numbers::I16($f),
            Numbers::U16($v) => Numbers::U16($f),
            Numbers::I32($v) => Numbers::I32($f),
            Numbers::U32($v) => Numbers::U32($f),
            Numbers::I64($v) => Numbers::I64($f),
            Numbers::U64($v) => Numbers::U64($f),
            Numbers::F32($v) => Numbers::F32($f),
            Numbers::F64($v) => Numbers::F64($f),
            Numbers::Bool($v) => Numbers::Bool($f),
        }
    };
}

#[allow(
    clippy::unnecessary_cast,
    reason = "one conversion serves every variant, its own included"
)]
impl Numbers {
    /// Number of elements.
    pub fn len(&self) -> usize {
        each_number!(self, v => v.len(), b => b.len())
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Type of the elements.
    pub fn element(&self) -> ElementType {
        let int = |size, signed| ElementType::Int { size, signed };
        match self {
            Self::I8(_) => int(1, true),
            Self::U8(_) => int(1, false),
            Self::I16(_) => int(2, true),
            Self::U16(_) => int(2, false),
            Self::I32(_) => int(4, true),
            Self::U32(_) => int(4, false),
            Self::I64(_) => int(8, true),
            Self::U64(_) => int(8, false),
            Self::F32(_) => ElementType::Float { size: 4 },
            Self::F64(_) => ElementType::Float { size: 8 },
            Self::Bool(_) => ElementType::Bool,
        }
    }

    /// The elements at `range`, or `None` when it is out of range.
    pub(crate) fn slice(&self, range: Range<usize>) -> Option<Self> {
        Some(same_type!(self, v => v.get(range)?.to_vec()))
    }

    /// A matrix `[rows, cols]`, row-major, as `[cols, rows]`.
    pub(crate) fn transposed(&self, rows: usize, cols: usize) -> Self {
        debug_assert_eq!(self.len(), rows * cols);
        same_type!(self, v => {
            (0..rows * cols)
                .map(|k| v[k % rows.max(1) * cols + k / rows.max(1)])
                .collect()
        })
    }

    /// Converts to single precision, rounding to nearest; integers above 2^24 lose digits.
    pub fn into_f32(self) -> Vec<f32> {
        match self {
            Self::F32(v) => v,
            other => each_number!(other, v => v.into_iter().map(|x| x as f32).collect(),
                                  b => b.into_iter().map(|x| f32::from(u8::from(x))).collect()),
        }
    }

    /// Converts to double precision.
    pub fn into_f64(self) -> Vec<f64> {
        match self {
            Self::F64(v) => v,
            other => each_number!(other, v => v.into_iter().map(|x| x as f64).collect(),
                                  b => b.into_iter().map(|x| f64::from(u8::from(x))).collect()),
        }
    }

    /// Converts to 64-bit integers; floats are truncated, which callers rule out by type first.
    pub fn into_i64(self) -> Vec<i64> {
        match self {
            Self::I64(v) => v,
            other => each_number!(other, v => v.into_iter().map(|x| x as i64).collect(),
                                  b => b.into_iter().map(i64::from).collect()),
        }
    }

    /// Converts to `u32`, or gives the position of the first value that is not a `u32`.
    ///
    /// # Errors
    /// The position of the first value that is negative, fractional or too large.
    pub fn into_u32(self) -> std::result::Result<Vec<u32>, usize> {
        match self {
            Self::U32(v) => Ok(v),
            Self::I32(v) => v
                .iter()
                .enumerate()
                .map(|(i, &x)| u32::try_from(x).map_err(|_| i))
                .collect(),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) => Err(0),
            other => other
                .into_i64()
                .iter()
                .enumerate()
                .map(|(i, &x)| u32::try_from(x).map_err(|_| i))
                .collect(),
        }
    }
}

/// Where the bytes of a one-dimensional dataset of little-endian numbers are in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extents {
    /// Type of the elements.
    pub element: ElementType,
    /// Bytes of one element.
    pub width: usize,
    /// Number of elements.
    pub len: u64,
    /// Elements of one chunk; the last may be padded.
    pub chunk: u64,
    /// The filters that were applied to every chunk, in that order.
    pub filters: Vec<Filter>,
    /// The chunks, in order.
    pub pieces: Vec<Piece>,
}

/// A filter that can be inverted without the HDF5 library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Byte shuffle.
    Shuffle,
    /// zlib.
    Deflate,
}

/// A range of bytes in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Offset.
    pub offset: u64,
    /// Stored length.
    pub bytes: u64,
    /// Bit `k` is set when filter `k` was skipped.
    pub skipped: u32,
}

/// Read access to one HDF5 file. Paths are absolute inside the file, without a leading slash.
///
/// Implementations must not panic on any file and must not allocate more than about
/// [`allocation_limit`] bytes for one call.
pub trait H5Source: Send + Sync {
    /// The file on disk, for messages.
    fn path(&self) -> &Path;

    /// Size on disk in bytes: the basis of [`allocation_limit`].
    fn size(&self) -> u64 {
        std::fs::metadata(self.path()).map_or(0, |m| m.len())
    }

    /// The file format; only `HDF5` can be copied and edited directly.
    fn format(&self) -> &'static str {
        "HDF5"
    }

    /// The only feature type (`var['feature_types']`) to read, where one was given;
    /// else genes and peaks are read, and other types only in a file without genes.
    fn feature_type(&self) -> Option<&str> {
        None
    }

    /// The kind of `node`, or `None` when it does not exist.
    ///
    /// # Errors
    /// [`DataError::File`] when the file is damaged.
    fn kind(&self, node: &str) -> Result<Option<NodeKind>>;

    /// Other files that links point to, as far as found; they are not followed.
    fn unfollowed(&self) -> Vec<String> {
        Vec::new()
    }

    /// Names of the members of a group, in the file's order.
    ///
    /// # Errors
    /// [`DataError::File`] when `group` is not a group or the file is damaged.
    fn children(&self, group: &str) -> Result<Vec<String>>;

    /// An attribute of a group or dataset, or `None` when it does not exist.
    ///
    /// # Errors
    /// [`DataError::File`] when the file is damaged.
    fn attribute(&self, node: &str, name: &str) -> Result<Option<Attribute>>;

    /// Shape and type of a dataset.
    ///
    /// # Errors
    /// [`DataError::File`] when `dataset` is not a dataset or the file is damaged.
    fn info(&self, dataset: &str) -> Result<DatasetInfo>;

    /// The elements in the box `ranges` (one range per dimension; empty for a scalar), row-major.
    ///
    /// # Errors
    /// [`DataError::File`] when the type is not numeric, the box is out of range, a filter is
    /// unknown or the file is damaged.
    fn numbers(&self, dataset: &str, ranges: &[Range<u64>]) -> Result<Numbers>;

    /// Every string of a string dataset, row-major.
    ///
    /// # Errors
    /// [`DataError::File`] when it does not hold strings or the file is damaged.
    fn strings(&self, dataset: &str) -> Result<Vec<String>>;

    /// One field of a one-dimensional dataset of records.
    ///
    /// # Errors
    /// [`DataError::File`] when the field does not exist or the file is damaged.
    fn field(&self, dataset: &str, field: &str) -> Result<FieldValues>;

    /// Where the bytes of a dataset are in [`H5Source::path`], or `None` when they cannot be read
    /// without this source. The ranges returned are inside the file.
    ///
    /// # Errors
    /// [`DataError::File`] when `dataset` is not a dataset or the file is damaged.
    fn extents(&self, _dataset: &str) -> Result<Option<Extents>> {
        Ok(None)
    }
}

/// The values of one field of a compound dataset.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValues {
    /// Numeric or boolean field.
    Numbers(Numbers),
    /// Text field.
    Strings(Vec<String>),
}

/// Maximum number of bytes one read of a file of `file_len` bytes may allocate.
///
/// Deflate expands at most 1032-fold, so a longer array means a damaged length field.
pub fn allocation_limit(file_len: u64) -> u64 {
    file_len.saturating_mul(1100).saturating_add(1 << 20)
}

/// Opens a file with the default backend.
///
/// # Errors
/// [`DataError::Io`] for system errors; [`DataError::File`] when it is not an HDF5 file, truncated
/// or damaged.
pub fn open(path: &Path) -> Result<Arc<dyn H5Source>> {
    Ok(Arc::new(reader::Reader::open(path)?))
}

/// A hint for missing nodes: they may be in another file.
pub(crate) fn in_other_files(source: &dyn H5Source) -> String {
    let files = source.unfollowed();
    if files.is_empty() {
        return String::new();
    }
    format!(
        "; links to other files ({}) are not followed, so put everything into one file \
         (adata.write_h5ad(path))",
        files.join(", ")
    )
}

/// All elements of a one-dimensional numeric dataset.
pub(crate) fn vector(source: &dyn H5Source, dataset: &str) -> Result<Numbers> {
    let info = source.info(dataset)?;
    match info.shape[..] {
        [n] => source.numbers(dataset, std::slice::from_ref(&(0..n))),
        _ => Err(DataError::file(
            source.path(),
            format!(
                "{dataset}: expected one dimension, found shape {:?}",
                info.shape
            ),
        )),
    }
}

/// The first string of a string attribute.
pub(crate) fn text_attribute(
    source: &dyn H5Source,
    node: &str,
    name: &str,
) -> Result<Option<String>> {
    Ok(match source.attribute(node, name)? {
        Some(Attribute::Strings(values)) => values.into_iter().next(),
        _ => None,
    })
}
