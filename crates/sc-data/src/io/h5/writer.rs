//! Writing with `rust-hdf5`: the few shapes AnnData needs, with its encoding attributes.

use std::path::Path;

use rust_hdf5::types::VarLenUnicode;
use rust_hdf5::{DatatypeMessage, H5Dataset, H5File, H5Group, H5Type, HBool, Hdf5Error};

use crate::error::{DataError, Result};

/// Bytes of one chunk of a long array: small enough that a random row decompresses little, large
/// enough that the index stays short.
const CHUNK_BYTES: usize = 256 << 10;

/// Converts errors of the writer, naming the file the user gave.
pub(crate) fn wrap<T>(path: &Path, result: std::result::Result<T, Hdf5Error>) -> Result<T> {
    result.map_err(|e| match e {
        Hdf5Error::Io(source) => DataError::io(path, source),
        // The writer cannot add to a group with an unknown link storage.
        other if other.to_string().contains("link storage") => DataError::file(path, LINKS),
        other => DataError::file(path, format!("cannot be written: {other}")),
    })
}

/// Why nothing can be added to a file with links, and what to do.
pub(crate) const LINKS: &str = "cannot be written: the file holds links in its root group, which would \
    be lost; write it anew without links (in Python: anndata.read_h5ad(path).write_h5ad(new))";

type H5Result<T> = std::result::Result<T, Hdf5Error>;

/// A file open for writing. `rust-hdf5` prints a line when a file is dropped and cannot be completed;
/// here a drop means that an error is being returned already, so the file is closed silently.
pub(crate) struct OpenFile(Option<H5File>);

impl OpenFile {
    pub(crate) fn new(file: H5File) -> Self {
        Self(Some(file))
    }

    /// The file.
    pub(crate) fn get(&self) -> H5Result<&H5File> {
        self.0
            .as_ref()
            .ok_or_else(|| Hdf5Error::InvalidState("the file is closed".into()))
    }

    /// Completes the file.
    pub(crate) fn close(mut self) -> H5Result<()> {
        self.0.take().map_or(Ok(()), H5File::close)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Some(file) = self.0.take() {
            let _ = file.close();
        }
    }
}

/// The encoding attributes of a group.
pub(crate) fn encode_group(group: &H5Group, kind: &str, version: &str) -> H5Result<()> {
    group.set_attr_string("encoding-type", kind)?;
    group.set_attr_string("encoding-version", version)
}

/// The encoding attributes of a dataset.
pub(crate) fn encode_dataset(dataset: &H5Dataset, kind: &str, version: &str) -> H5Result<()> {
    for (name, value) in [("encoding-type", kind), ("encoding-version", version)] {
        dataset
            .new_attr::<VarLenUnicode>()
            .shape(())
            .create(name)?
            .write_string(value)?;
    }
    Ok(())
}

/// A group under `parent`, and whether it was created now.
pub(crate) fn ensure_group(parent: &H5Group, name: &str) -> H5Result<(H5Group, Made)> {
    match parent.create_group(name) {
        Ok(group) => Ok((group, Made::New)),
        // The writer does not list empty groups, so an existing one shows only in this error.
        Err(_) => Ok((parent.group(name)?, Made::Before)),
    }
}

/// Whether a group existed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    New,
    Before,
}

/// Compression of a long array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Byte shuffle and deflate.
    Gzip,
    /// None.
    None,
}

/// An array `[0.., width]` (or `[0..]` when `width` is `None`) to which rows are appended.
pub(crate) fn growing<T: H5Type>(
    group: &H5Group,
    name: &str,
    width: Option<usize>,
    packing: Packing,
) -> H5Result<H5Dataset> {
    let row = width.unwrap_or(1).max(1);
    let rows = (CHUNK_BYTES / (row * size_of::<T>())).max(1);
    let builder = group.new_dataset::<T>();
    let builder = match width {
        Some(w) => builder
            .shape([0, w])
            .chunk(&[rows, w])
            .max_shape(&[None, Some(w)]),
        None => builder.shape([0]).chunk(&[rows]).max_shape(&[None]),
    };
    match packing {
        Packing::Gzip => builder.shuffle_deflate(4).create(name),
        Packing::None => builder.create(name),
    }
}

/// A one-dimensional array, written at once.
pub(crate) fn array<T: H5Type>(group: &H5Group, name: &str, values: &[T]) -> H5Result<H5Dataset> {
    let builder = group.new_dataset::<T>().shape([values.len()]);
    let dataset = if size_of_val(values) > CHUNK_BYTES {
        let chunk = CHUNK_BYTES / size_of::<T>();
        builder.chunk(&[chunk]).shuffle_deflate(4).create(name)?
    } else {
        builder.create(name)?
    };
    if !values.is_empty() {
        dataset.write_raw(values)?;
    }
    Ok(dataset)
}

/// Booleans as stored by h5py.
pub(crate) fn bools(group: &H5Group, name: &str, values: &[bool]) -> H5Result<H5Dataset> {
    let values: Vec<HBool> = values.iter().map(|&b| HBool::from(b)).collect();
    let dataset = group
        .new_dataset::<HBool>()
        .shape([values.len()])
        .create(name)?;
    if !values.is_empty() {
        dataset.write_raw(&values)?;
    }
    Ok(dataset)
}

/// Variable-length strings.
pub(crate) fn strings<S: AsRef<str>>(
    group: &H5Group,
    name: &str,
    values: &[S],
) -> H5Result<H5Dataset> {
    let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
    let dataset = group.write_vlen_strings(name, &values)?;
    encode_dataset(&dataset, "string-array", "0.2.0")?;
    Ok(dataset)
}

/// One string, as a scalar of fixed length (`rust-hdf5` cannot write a scalar of variable length;
/// every AnnData reader accepts both).
pub(crate) fn text(group: &H5Group, name: &str, value: &str) -> H5Result<()> {
    // HDF5 has no string type of width 0.
    let value = if value.is_empty() { " " } else { value };
    let dataset = group
        .new_dataset::<u8>()
        .datatype(DatatypeMessage::fixed_string_utf8(value.len() as u32))
        .scalar()
        .create(name)?;
    dataset.write_raw_bytes(value.as_bytes())?;
    encode_dataset(&dataset, "string", "0.2.0")
}
