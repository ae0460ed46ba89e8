//! Types and values of elements, converted from `hdf5-reader` to what AnnData uses.

use hdf5_reader::error::ByteOrder;
use hdf5_reader::{CompoundField, Dataset, Datatype, H5Type, SliceInfo, StringSize};

use super::H5Result;
use crate::io::h5::{ElementType, FieldValues, Numbers};

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

pub(super) fn element_type(dtype: &Datatype) -> ElementType {
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

pub(super) fn type_message(dtype: &Datatype) -> String {
    format!("expected numbers, found {:?}", element_type(dtype))
}

pub(super) fn empty_numbers(dtype: &Datatype) -> Option<Numbers> {
    Some(match element_type(dtype) {
        ElementType::Int { .. } => Numbers::I64(Vec::new()),
        ElementType::Float { .. } => Numbers::F32(Vec::new()),
        ElementType::Bool => Numbers::Bool(Vec::new()),
        _ => return None,
    })
}

pub(super) fn read_numbers(dataset: &Dataset, selection: &SliceInfo) -> H5Result<Option<Numbers>> {
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

pub(super) fn read_field(
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
pub(super) struct AnyInt(pub(super) i64);

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
                "truncated half-precision value".into(),
            ));
        };
        let big = matches!(
            dtype,
            Datatype::FloatingPoint {
                byte_order: ByteOrder::BigEndian,
                ..
            }
        );
        let half = if big {
            half::f16::from_be_bytes([a, b])
        } else {
            half::f16::from_le_bytes([a, b])
        };
        Ok(Self(half.to_f32()))
    }

    fn element_size(_: &Datatype) -> usize {
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_widens_exactly() {
        let widened = |bits: u16| Half::from_bytes(&bits.to_le_bytes(), &Half::hdf5_type());
        let widened = |bits: u16| widened(bits).unwrap().0;
        assert_eq!(widened(0x3c00), 1.0);
        assert_eq!(widened(0xc000), -2.0);
        assert_eq!(widened(0x7bff), 65504.0);
        assert_eq!(widened(0x0001), 2f32.powi(-24));
        assert_eq!(widened(0xfc00), f32::NEG_INFINITY);
        assert!(widened(0x7e00).is_nan());
    }
}
