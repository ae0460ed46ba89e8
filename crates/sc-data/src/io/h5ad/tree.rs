//! The tree of any source, written as HDF5: every group and array with its type and encoding.

use std::ops::Range;

use rust_hdf5::{H5Group, H5Type, HBool, Hdf5Error};

use crate::error::{DataError, Result};
use crate::io::h5::writer::{Packing, encode_dataset, encode_group, growing, strings, text, wrap};
use crate::io::h5::{
    Attribute, DatasetInfo, ElementType, H5Source, NodeKind, Numbers, text_attribute,
};

/// Bytes of an array in memory at a time.
const BLOCK_BYTES: u64 = 16 << 20;
/// Cyclic links are legal in HDF5; nothing in AnnData is this deep.
const DEEPEST: usize = 32;

/// Copies `node` of `source` into `parent` as `name`. What cannot be stored in an `.h5ad` is
/// reported in `left_out`, by its path and reason.
pub(super) fn copy(
    source: &dyn H5Source,
    node: &str,
    parent: &H5Group,
    name: &str,
    left_out: &mut Vec<String>,
) -> Result<()> {
    copy_below(source, node, (parent, name), left_out, 0)
}

fn copy_below(
    source: &dyn H5Source,
    node: &str,
    (parent, name): (&H5Group, &str),
    left_out: &mut Vec<String>,
    depth: usize,
) -> Result<()> {
    match source.kind(node)? {
        Some(NodeKind::Group) if depth < DEEPEST => {
            let group = wrap(source.path(), parent.create_group(name))?;
            let members = source.children(node)?;
            wrap(source.path(), describe(source, node, &group, &members))?;
            for member in members {
                let below = format!("{node}/{member}");
                copy_below(source, &below, (&group, &member), left_out, depth + 1)?;
            }
        }
        Some(NodeKind::Dataset) => {
            let info = source.info(node)?;
            if let Some(why) = array(source, node, &info, (parent, name))? {
                left_out.push(format!("{node} ({why})"));
            }
        }
        _ => left_out.push(format!("{node} (cannot be followed)")),
    }
    Ok(())
}

/// Writes the encoding of a group: that of the source, else inferred from its content.
fn describe(
    source: &dyn H5Source,
    node: &str,
    group: &H5Group,
    members: &[String],
) -> Result<(), Hdf5Error> {
    let declared = |name: &str| text_attribute(source, node, name).ok().flatten();
    let has = |name: &str| members.iter().any(|m| m == name);
    let (kind, version) = match (declared("encoding-type"), declared("encoding-version")) {
        (Some(kind), version) => (kind, version.unwrap_or_else(|| "0.1.0".into())),
        _ if declared("_index").is_some() => ("dataframe".into(), "0.2.0".into()),
        _ if has("codes") && has("categories") => ("categorical".into(), "0.2.0".into()),
        _ => ("dict".into(), "0.1.0".into()),
    };
    encode_group(group, &kind, &version)?;
    let attribute = |name: &str| source.attribute(node, name).ok().flatten();
    if let Some(index) = declared("_index") {
        group.set_attr_string("_index", &index)?;
        let order = match attribute("column-order") {
            Some(Attribute::Strings(order)) => order,
            _ => members.iter().filter(|m| **m != index).cloned().collect(),
        };
        match order.is_empty() {
            true => group.set_attr_array_numeric::<f64>("column-order", &[])?,
            false => {
                let order: Vec<&str> = order.iter().map(String::as_str).collect();
                group.set_attr_string_array("column-order", &order)?;
            }
        }
    }
    if let Some(Attribute::Ints(shape)) = attribute("shape") {
        group.set_attr_array_numeric("shape", &shape)?;
    }
    if kind == "categorical" {
        let ordered = matches!(attribute("ordered"), Some(Attribute::Ints(v)) if v == [1]);
        group.set_attr_numeric("ordered", &HBool::from(ordered))?;
    }
    Ok(())
}

/// Writes an array; `Some` gives the reason why it cannot be stored.
fn array(
    source: &dyn H5Source,
    node: &str,
    info: &DatasetInfo,
    place: (&H5Group, &str),
) -> Result<Option<String>> {
    /// The vector of one type inside numbers.
    macro_rules! of {
        ($variant:ident) => {
            numbers(source, node, info, place, |n| match n {
                Numbers::$variant(v) => Some(v),
                _ => None,
            })
        };
    }
    let done = match &info.element {
        ElementType::String => return texts(source, node, info, place),
        ElementType::Int { size, signed } => match (size, signed) {
            (1, true) => of!(I8),
            (1, false) => of!(U8),
            (2, true) => of!(I16),
            (2, false) => of!(U16),
            (4, true) => of!(I32),
            (4, false) => of!(U32),
            (8, true) => of!(I64),
            (8, false) => of!(U64),
            _ => return Ok(Some(format!("integers of {size} bytes"))),
        },
        // Half precision is widened when it is read.
        ElementType::Float { size: 2 | 4 } => of!(F32),
        ElementType::Float { size: 8 } => of!(F64),
        ElementType::Bool => numbers(source, node, info, place, |n| match n {
            Numbers::Bool(v) => Some(v.into_iter().map(HBool::from).collect()),
            _ => None,
        }),
        other => return Ok(Some(format!("holds {other:?}"))),
    };
    done.map(|()| None)
}

fn texts(
    source: &dyn H5Source,
    node: &str,
    info: &DatasetInfo,
    (parent, name): (&H5Group, &str),
) -> Result<Option<String>> {
    let values = match info.shape.len() {
        0 | 1 => source.strings(node)?,
        _ => return Ok(Some("text of more than one dimension".into())),
    };
    let written = match (&info.shape[..], &values[..]) {
        ([], [value]) => text(parent, name, value),
        _ => strings(parent, name, &values).map(|_| ()),
    };
    wrap(source.path(), written).map(|()| None)
}

fn numbers<T: H5Type>(
    source: &dyn H5Source,
    node: &str,
    info: &DatasetInfo,
    (parent, name): (&H5Group, &str),
    pick: impl Fn(Numbers) -> Option<Vec<T>>,
) -> Result<()> {
    let read = |ranges: &[Range<u64>]| -> Result<Vec<T>> {
        let found = source.numbers(node, ranges)?;
        let kind = found.element();
        pick(found).ok_or_else(|| {
            DataError::file(
                source.path(),
                format!("{node}: contains {kind:?} but declares {:?}", info.element),
            )
        })
    };
    let shape: Vec<usize> = info.shape.iter().map(|&n| n as usize).collect();
    let (rows, width) = match shape[..] {
        [] => {
            let value = read(&[])?;
            let write = || {
                let dataset = parent.new_dataset::<T>().scalar().create(name)?;
                dataset.write_raw(&value)?;
                encode_dataset(&dataset, "numeric-scalar", "0.2.0")
            };
            return wrap(source.path(), write());
        }
        [rows] => (rows as u64, None),
        [rows, width] if width > 0 => (rows as u64, Some(width)),
        _ => {
            let whole: Vec<Range<u64>> = info.shape.iter().map(|&n| 0..n).collect();
            let values = read(&whole)?;
            let write = || {
                let dataset = parent.new_dataset::<T>().shape(&shape).create(name)?;
                if !values.is_empty() {
                    dataset.write_raw(&values)?;
                }
                encode_dataset(&dataset, "array", "0.2.0")
            };
            return wrap(source.path(), write());
        }
    };
    let dataset = growing::<T>(parent, name, width, Packing::Gzip);
    let dataset = wrap(source.path(), dataset)?;
    wrap(source.path(), encode_dataset(&dataset, "array", "0.2.0"))?;
    let bytes = (width.unwrap_or(1) * size_of::<T>()) as u64;
    let step = (BLOCK_BYTES / bytes.max(1)).max(1);
    for first in (0..rows).step_by(step as usize) {
        let range = first..(first + step).min(rows);
        let ranges = match width {
            Some(width) => vec![range, 0..width as u64],
            None => vec![range],
        };
        wrap(source.path(), dataset.append(&read(&ranges)?))?;
    }
    Ok(())
}
