//! [`H5Source`] by the pure-Rust `hdf5-reader`.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hdf5_reader::error::ByteOrder;
use hdf5_reader::group::Group;
use hdf5_reader::storage::FileStorage;
use hdf5_reader::{
    CompoundField, Dataset, Datatype, H5Type, Hdf5File, OpenOptions, SliceInfo, SliceInfoElem,
    StringSize,
};

use super::{
    Attribute, DatasetInfo, ElementType, FieldValues, H5Source, NodeKind, Numbers,
    allocation_limit, filters,
};
use crate::error::{DataError, Result};

/// Unpacked chunks kept between reads: enough for the chunks of `indices` and `data` that
/// neighbouring reads share, and small beside a minibatch.
const CHUNK_CACHE_BYTES: usize = 32 << 20;

pub(super) struct Reader {
    path: PathBuf,
    file: Hdf5File,
    datasets: Mutex<HashMap<String, Arc<Dataset>>>,
    members: Mutex<HashMap<String, Arc<Members>>>,
}

/// Names of the groups and datasets in one group.
type Members = (Vec<String>, Vec<String>);

type H5Result<T> = std::result::Result<T, hdf5_reader::error::Error>;

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|e| DataError::io(path, e))?;
        let meta = file.metadata().map_err(|e| DataError::io(path, e))?;
        if meta.is_dir() {
            return Err(DataError::file(path, "is a folder, not an .h5ad file"));
        }
        if meta.len() == 0 {
            return Err(DataError::file(path, "is empty; copy or download it again"));
        }
        let mut magic = [0u8; 8];
        let read = file.read(&mut magic).map_err(|e| DataError::io(path, e))?;
        let limit = usize::try_from(allocation_limit(meta.len())).unwrap_or(usize::MAX);
        let options = OpenOptions::default()
            .with_chunk_cache_bytes(CHUNK_CACHE_BYTES)
            .with_max_chunk_bytes(limit)
            .with_max_read_bytes(limit)
            .with_filter_registry(filters::registry(limit));
        let storage = FileStorage::from_file(file)
            .map_err(|e| DataError::file(path, format!("cannot be read: {e}")))?;
        let file = Hdf5File::from_storage_with_options(Arc::new(storage), options)
            .map_err(|e| not_hdf5(path, &magic[..read], &e.to_string()))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            datasets: Mutex::default(),
            members: Mutex::default(),
        })
    }

    fn error(&self, node: &str, error: &hdf5_reader::error::Error) -> DataError {
        use hdf5_reader::error::Error as E;
        let place = if node.is_empty() { "root group" } else { node };
        let text = error.to_string();
        let way_out = match error {
            E::UnsupportedFilter(_) => {
                return DataError::file(
                    &self.path,
                    format!(
                        "{place}: {}; write the file again with gzip \
                         (adata.write_h5ad(path, compression=\"gzip\"))",
                        filter_name(&text)
                    ),
                );
            }
            E::UnsupportedEncoding(_) => "open and save it with a current anndata",
            _ => "the file is cut off or damaged: copy or download it again",
        };
        DataError::file(&self.path, format!("{place}: {text}; {way_out}"))
    }

    fn wrong(&self, node: &str, message: impl std::fmt::Display) -> DataError {
        DataError::file(&self.path, format!("{node}: {message}"))
    }

    fn group(&self, node: &str) -> Result<Group> {
        let root = self.file.root_group();
        if node.is_empty() {
            root
        } else {
            self.file.group(node)
        }
        .map_err(|e| self.error(node, &e))
    }

    fn dataset(&self, node: &str) -> Result<Arc<Dataset>> {
        let mut open = self.datasets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dataset) = open.get(node) {
            return Ok(Arc::clone(dataset));
        }
        let dataset = Arc::new(self.file.dataset(node).map_err(|e| self.error(node, &e))?);
        open.insert(node.to_owned(), Arc::clone(&dataset));
        Ok(dataset)
    }

    fn members(&self, group: &str) -> Result<Arc<Members>> {
        let mut known = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(members) = known.get(group) {
            return Ok(Arc::clone(members));
        }
        let members = Arc::new(
            self.group(group)?
                .member_names()
                .map_err(|e| self.error(group, &e))?,
        );
        known.insert(group.to_owned(), Arc::clone(&members));
        Ok(members)
    }

    fn find_attribute(&self, node: &str, name: &str) -> Result<Option<hdf5_reader::Attribute>> {
        let found = match self.kind(node)? {
            None => return Ok(None),
            Some(NodeKind::Dataset) => self.dataset(node)?.attribute(name),
            Some(NodeKind::Group) => self.group(node)?.attribute(name),
        };
        match found {
            Ok(attribute) => Ok(Some(attribute)),
            Err(hdf5_reader::error::Error::AttributeNotFound(_)) => Ok(None),
            Err(e) => Err(self.error(node, &e)),
        }
    }
}

impl H5Source for Reader {
    fn path(&self) -> &Path {
        &self.path
    }

    fn kind(&self, node: &str) -> Result<Option<NodeKind>> {
        let (parent, name) = node.rsplit_once('/').unwrap_or(("", node));
        if name.is_empty() {
            return Ok(Some(NodeKind::Group));
        }
        if self
            .datasets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(node)
        {
            return Ok(Some(NodeKind::Dataset));
        }
        if !parent.is_empty() && self.kind(parent)? != Some(NodeKind::Group) {
            return Ok(None);
        }
        let members = self.members(parent)?;
        Ok(if members.0.iter().any(|g| g == name) {
            Some(NodeKind::Group)
        } else if members.1.iter().any(|d| d == name) {
            Some(NodeKind::Dataset)
        } else {
            None
        })
    }

    fn children(&self, group: &str) -> Result<Vec<String>> {
        let members = self.members(group)?;
        Ok(members.0.iter().chain(&members.1).cloned().collect())
    }

    fn attribute(&self, node: &str, name: &str) -> Result<Option<Attribute>> {
        let Some(attribute) = self.find_attribute(node, name)? else {
            return Ok(None);
        };
        let fail = |e| self.error(node, &e);
        if let Ok(strings) = attribute.read_strings() {
            return Ok(Some(Attribute::Strings(strings)));
        }
        let value = match &attribute.datatype {
            Datatype::String { .. } | Datatype::VarLen { .. } => attribute
                .read_string()
                .map_or(Attribute::Other, |s| Attribute::Strings(vec![s])),
            Datatype::FloatingPoint { size: 4, .. } => Attribute::Floats(
                attribute
                    .read_1d::<f32>()
                    .map_err(fail)?
                    .into_iter()
                    .map(f64::from)
                    .collect(),
            ),
            Datatype::FloatingPoint { size: 8, .. } => {
                Attribute::Floats(attribute.read_1d::<f64>().map_err(fail)?)
            }
            Datatype::FixedPoint { .. } | Datatype::Enum { .. } => Attribute::Ints(
                attribute
                    .read_1d::<AnyInt>()
                    .map_err(fail)?
                    .into_iter()
                    .map(|x| x.0)
                    .collect(),
            ),
            _ => Attribute::Other,
        };
        Ok(Some(value))
    }

    fn info(&self, dataset: &str) -> Result<DatasetInfo> {
        let dataset = self.dataset(dataset)?;
        Ok(DatasetInfo {
            shape: dataset.shape().to_vec(),
            element: element_type(dataset.dtype()),
        })
    }

    fn numbers(&self, node: &str, ranges: &[Range<u64>]) -> Result<Numbers> {
        let dataset = self.dataset(node)?;
        if ranges.len() != dataset.ndim() {
            return Err(self.wrong(
                node,
                format!(
                    "expected {} dimensions, found shape {:?}",
                    ranges.len(),
                    dataset.shape()
                ),
            ));
        }
        for (range, &extent) in ranges.iter().zip(dataset.shape()) {
            if range.end > extent || range.start > range.end {
                return Err(self.wrong(
                    node,
                    format!("elements {range:?} lie outside shape {:?}", dataset.shape()),
                ));
            }
        }
        if ranges.iter().any(|r| r.is_empty()) {
            return empty_numbers(dataset.dtype())
                .ok_or_else(|| self.wrong(node, type_message(dataset.dtype())));
        }
        let selection = SliceInfo {
            selections: ranges
                .iter()
                .map(|r| SliceInfoElem::Slice {
                    start: r.start,
                    end: r.end,
                    step: 1,
                })
                .collect(),
        };
        read_numbers(&dataset, &selection)
            .map_err(|e| self.error(node, &e))?
            .ok_or_else(|| self.wrong(node, type_message(dataset.dtype())))
    }

    fn strings(&self, node: &str) -> Result<Vec<String>> {
        self.dataset(node)?
            .read_strings()
            .map_err(|e| self.error(node, &e))
    }

    fn field(&self, node: &str, name: &str) -> Result<FieldValues> {
        let dataset = self.dataset(node)?;
        let Datatype::Compound { size, fields } = dataset.dtype() else {
            return Err(self.wrong(node, "is no table of records"));
        };
        let field = fields
            .iter()
            .find(|f| f.name == name)
            .ok_or_else(|| self.wrong(node, format!("has no field '{name}'")))?;
        let raw = dataset.read_raw_bytes().map_err(|e| self.error(node, &e))?;
        read_field(&dataset, &raw, *size as usize, field).map_err(|e| self.error(node, &e))
    }
}

fn not_hdf5(path: &Path, magic: &[u8], error: &str) -> DataError {
    let message = match magic {
        [0x89, b'H', b'D', b'F', ..] => {
            format!("the file is cut off or damaged ({error}): copy or download it again")
        }
        [0x1f, 0x8b, ..] => "is compressed with gzip; unpack it first (gunzip)".into(),
        [b'P', b'K', ..] => "is a zip archive, not an .h5ad file; unpack it first".into(),
        _ => {
            "is not an HDF5 file, so no .h5ad; check the path, or copy or download it again".into()
        }
    };
    DataError::file(path, message)
}

fn filter_name(text: &str) -> String {
    let known = [
        ("32008", "bitshuffle"),
        ("32026", "blosc2"),
        ("32013", "zfp"),
        ("32017", "sz"),
        ("307", "bzip2"),
        ("32024", "sz3"),
    ];
    let id: String = text.chars().filter(char::is_ascii_digit).collect();
    match known.iter().find(|k| k.0 == id) {
        Some((_, name)) => {
            format!("is compressed with {name} (filter {id}), which is not built in")
        }
        None => format!("{text} is not built in"),
    }
}

fn is_bool(dtype: &Datatype) -> bool {
    match dtype {
        Datatype::Enum { base, members } => {
            matches!(**base, Datatype::FixedPoint { size: 1, .. })
                && members.len() == 2
                && members.iter().any(|m| m.name == "FALSE")
                && members.iter().any(|m| m.name == "TRUE")
        }
        _ => false,
    }
}

fn element_type(dtype: &Datatype) -> ElementType {
    match dtype {
        Datatype::FixedPoint { size, signed, .. } => ElementType::Int {
            size: *size,
            signed: *signed,
        },
        Datatype::FloatingPoint { size, .. } => ElementType::Float { size: *size },
        Datatype::String { .. } => ElementType::String,
        Datatype::VarLen { base, .. } if base.is_vlen_string_base() => ElementType::String,
        Datatype::Enum { base, .. } => {
            if is_bool(dtype) {
                ElementType::Bool
            } else {
                element_type(base)
            }
        }
        Datatype::Compound { fields, .. } => {
            ElementType::Compound(fields.iter().map(|f| f.name.clone()).collect())
        }
        other => ElementType::Other(format!("{other:?}").chars().take(60).collect()),
    }
}

fn type_message(dtype: &Datatype) -> String {
    format!("expected numbers, found {:?}", element_type(dtype))
}

fn empty_numbers(dtype: &Datatype) -> Option<Numbers> {
    Some(match element_type(dtype) {
        ElementType::Int { .. } => Numbers::I64(Vec::new()),
        ElementType::Float { .. } => Numbers::F32(Vec::new()),
        ElementType::Bool => Numbers::Bool(Vec::new()),
        _ => return None,
    })
}

fn read_numbers(dataset: &Dataset, selection: &SliceInfo) -> H5Result<Option<Numbers>> {
    fn read<T: H5Type>(dataset: &Dataset, selection: &SliceInfo) -> H5Result<Vec<T>> {
        Ok(dataset
            .read_slice::<T>(selection)?
            .into_raw_vec_and_offset()
            .0)
    }
    Ok(Some(match element_type(dataset.dtype()) {
        ElementType::Bool => Numbers::Bool(
            read::<AnyInt>(dataset, selection)?
                .into_iter()
                .map(|x| x.0 != 0)
                .collect(),
        ),
        ElementType::Int { .. } if matches!(dataset.dtype(), Datatype::Enum { .. }) => {
            Numbers::I64(
                read::<AnyInt>(dataset, selection)?
                    .into_iter()
                    .map(|x| x.0)
                    .collect(),
            )
        }
        ElementType::Int {
            size: 1,
            signed: true,
        } => Numbers::I8(read(dataset, selection)?),
        ElementType::Int {
            size: 1,
            signed: false,
        } => Numbers::U8(read(dataset, selection)?),
        ElementType::Int {
            size: 2,
            signed: true,
        } => Numbers::I16(read(dataset, selection)?),
        ElementType::Int {
            size: 2,
            signed: false,
        } => Numbers::U16(read(dataset, selection)?),
        ElementType::Int {
            size: 4,
            signed: true,
        } => Numbers::I32(read(dataset, selection)?),
        ElementType::Int {
            size: 4,
            signed: false,
        } => Numbers::U32(read(dataset, selection)?),
        ElementType::Int {
            size: 8,
            signed: true,
        } => Numbers::I64(read(dataset, selection)?),
        ElementType::Int {
            size: 8,
            signed: false,
        } => Numbers::U64(read(dataset, selection)?),
        ElementType::Float { size: 2 } => Numbers::F32(
            read::<Half>(dataset, selection)?
                .into_iter()
                .map(|x| x.0)
                .collect(),
        ),
        ElementType::Float { size: 4 } => Numbers::F32(read(dataset, selection)?),
        ElementType::Float { size: 8 } => Numbers::F64(read(dataset, selection)?),
        _ => return Ok(None),
    }))
}

fn read_field(
    dataset: &Dataset,
    raw: &[u8],
    size: usize,
    field: &CompoundField,
) -> H5Result<FieldValues> {
    let start = field.byte_offset as usize;
    let dtype = &field.datatype;
    let damaged =
        || hdf5_reader::error::Error::InvalidData("record is shorter than its field".into());
    let width = match dtype {
        Datatype::String {
            size: StringSize::Fixed(n),
            ..
        } => *n as usize,
        Datatype::String { .. } | Datatype::VarLen { .. } => dataset.vlen_reference_size(),
        other => hdf5_reader::datatype_api::dtype_element_size(other)?,
    };
    let cells = || {
        raw.chunks_exact(size.max(1))
            .map(|r| r.get(start..start + width))
    };
    Ok(match element_type(dtype) {
        ElementType::String => {
            let fixed = matches!(
                dtype,
                Datatype::String {
                    size: StringSize::Fixed(_),
                    ..
                }
            );
            let mut values = Vec::new();
            for cell in cells() {
                let cell = cell.ok_or_else(damaged)?;
                let bytes = if fixed {
                    let end = cell.iter().position(|&b| b == 0).unwrap_or(cell.len());
                    cell[..end].to_vec()
                } else {
                    dataset.resolve_vlen_reference_bytes(cell, 1)?
                };
                values.push(String::from_utf8_lossy(&bytes).into_owned());
            }
            FieldValues::Strings(values)
        }
        ElementType::Bool => FieldValues::Numbers(Numbers::Bool(
            decode::<AnyInt>(cells(), dtype, damaged)?
                .into_iter()
                .map(|x| x.0 != 0)
                .collect(),
        )),
        ElementType::Int { .. } => FieldValues::Numbers(Numbers::I64(
            decode::<AnyInt>(cells(), dtype, damaged)?
                .into_iter()
                .map(|x| x.0)
                .collect(),
        )),
        ElementType::Float { size: 8 } => {
            FieldValues::Numbers(Numbers::F64(decode::<f64>(cells(), dtype, damaged)?))
        }
        ElementType::Float { size: 4 } => {
            FieldValues::Numbers(Numbers::F32(decode::<f32>(cells(), dtype, damaged)?))
        }
        other => {
            return Err(hdf5_reader::error::Error::UnsupportedEncoding(format!(
                "field '{}' of type {other:?}",
                field.name
            )));
        }
    })
}

fn decode<'a, T: H5Type>(
    cells: impl Iterator<Item = Option<&'a [u8]>>,
    dtype: &Datatype,
    damaged: impl Fn() -> hdf5_reader::error::Error,
) -> H5Result<Vec<T>> {
    cells
        .map(|c| T::from_bytes(c.ok_or_else(&damaged)?, dtype))
        .collect()
}

/// Any integer or enumeration, as `i64`.
#[derive(Clone, Copy)]
struct AnyInt(i64);

impl H5Type for AnyInt {
    fn hdf5_type() -> Datatype {
        i64::hdf5_type()
    }

    fn from_bytes(bytes: &[u8], dtype: &Datatype) -> H5Result<Self> {
        let base = match dtype {
            Datatype::Enum { base, .. } => base,
            other => other,
        };
        let value = match base {
            Datatype::FixedPoint {
                size: 1,
                signed: true,
                ..
            } => i8::from_bytes(bytes, base)?.into(),
            Datatype::FixedPoint { size: 1, .. } => u8::from_bytes(bytes, base)?.into(),
            Datatype::FixedPoint {
                size: 2,
                signed: true,
                ..
            } => i16::from_bytes(bytes, base)?.into(),
            Datatype::FixedPoint { size: 2, .. } => u16::from_bytes(bytes, base)?.into(),
            Datatype::FixedPoint {
                size: 4,
                signed: true,
                ..
            } => i32::from_bytes(bytes, base)?.into(),
            Datatype::FixedPoint { size: 4, .. } => u32::from_bytes(bytes, base)?.into(),
            Datatype::FixedPoint {
                size: 8,
                signed: false,
                ..
            } => u64::from_bytes(bytes, base)? as i64,
            _ => i64::from_bytes(bytes, base)?,
        };
        Ok(Self(value))
    }

    fn element_size(dtype: &Datatype) -> usize {
        hdf5_reader::datatype_api::dtype_element_size(dtype).unwrap_or(8)
    }
}

/// IEEE half precision, widened.
#[derive(Clone, Copy)]
struct Half(f32);

impl H5Type for Half {
    fn hdf5_type() -> Datatype {
        Datatype::FloatingPoint {
            size: 2,
            byte_order: ByteOrder::LittleEndian,
        }
    }

    fn from_bytes(bytes: &[u8], dtype: &Datatype) -> H5Result<Self> {
        let &[a, b, ..] = bytes else {
            return Err(hdf5_reader::error::Error::InvalidData(
                "half-precision value cut off".into(),
            ));
        };
        let big = matches!(
            dtype,
            Datatype::FloatingPoint {
                byte_order: ByteOrder::BigEndian,
                ..
            }
        );
        Ok(Self(half_to_f32(if big {
            u16::from_be_bytes([a, b])
        } else {
            u16::from_le_bytes([a, b])
        })))
    }

    fn element_size(_: &Datatype) -> usize {
        2
    }
}

fn half_to_f32(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0f32 } else { -1.0 };
    let exponent = i32::from((bits >> 10) & 31);
    let fraction = f32::from(bits & 0x3ff);
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        e => sign * (1024.0 + fraction) * 2f32.powi(e - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::half_to_f32;

    #[test]
    fn half_precision_widens_exactly() {
        assert_eq!(half_to_f32(0x3c00), 1.0);
        assert_eq!(half_to_f32(0xc000), -2.0);
        assert_eq!(half_to_f32(0x7bff), 65504.0);
        assert_eq!(half_to_f32(0x0001), 2f32.powi(-24));
        assert_eq!(half_to_f32(0xfc00), f32::NEG_INFINITY);
        assert!(half_to_f32(0x7e00).is_nan());
    }
}
