//! Writing new AnnData files row by row.

use std::path::{Path, PathBuf};

use ndarray::Array2;
use rust_hdf5::{H5Dataset, H5File, H5Group, Hdf5Error};

use super::Column;
use crate::categories::Categories;
use crate::error::{DataError, Result};
use crate::io::atomic::Temporary;
use crate::io::export::require_finite;
use crate::io::h5::writer::{
    OpenFile, Packing, array, bools, encode_dataset, encode_group, growing, strings, text, wrap,
};
use crate::sparse::CsrMatrix;

/// A data frame to write: row names and named columns of the same length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewFrame {
    /// Row names, unique by convention.
    pub index: Vec<String>,
    /// Name and values of every column.
    pub columns: Vec<(String, Column)>,
}

/// Writes a new `.h5ad` with CSR `X` (float32, gzip) from blocks of rows.
///
/// The file appears at `path` when it is complete, see [`H5adWriter`].
///
/// As [`H5adWriter::create`], [`H5adWriter::push`] and [`H5adWriter::finish`], and any error of
/// `rows`. As [`H5adWriter::create`], [`H5adWriter::push`] and [`H5adWriter::finish`], and what
/// `rows` gives.
pub fn write_h5ad(
    path: &Path,
    obs: &NewFrame,
    var: &NewFrame,
    rows: impl IntoIterator<Item = Result<CsrMatrix>>,
    obsm: &[(String, Array2<f32>)],
) -> Result<()> {
    let mut writer = H5adWriter::create(path, obs, var)?;
    for block in rows {
        writer.push(&block?)?;
    }
    for (key, values) in obsm {
        writer.obsm(key, values)?;
    }
    writer.finish()
}

/// A new AnnData file being written; memory is one row pointer per cell, whatever the file's size.
///
/// Dropped before [`H5adWriter::finish`], it leaves nothing behind.
pub struct H5adWriter {
    // The order of fields is the order of closing: the file before the temporary file.
    file: OpenFile,
    indices: H5Dataset,
    data: H5Dataset,
    x: H5Group,
    obsm: H5Group,
    uns: H5Group,
    layers: H5Group,
    temp: Temporary,
    path: PathBuf,
    shape: [usize; 2],
    indptr: Vec<i64>,
}

impl std::fmt::Debug for H5adWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "H5adWriter({})", self.path.display())
    }
}

impl H5adWriter {
    /// Opens a new file for `obs.index.len()` cells and `var.index.len()` genes.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when columns differ in length or names are invalid; [`DataError::Io`]
    /// when the file cannot be written.
    pub fn create(path: &Path, obs: &NewFrame, var: &NewFrame) -> Result<Self> {
        check_frame("obs", obs)?;
        check_frame("var", var)?;
        let temp = Temporary::beside(path)?;
        let open = || -> std::result::Result<_, Hdf5Error> {
            let file = OpenFile::new(
                H5File::options()
                    .locking(rust_hdf5::FileLocking::Disabled)
                    .create(temp.path())?,
            );
            let root = file.get()?.root_group();
            encode_group(&root, "anndata", "0.1.0")?;
            write_frame(&root, "obs", obs)?;
            write_frame(&root, "var", var)?;
            let x = root.create_group("X")?;
            encode_group(&x, "csr_matrix", "0.1.0")?;
            let shape = [obs.index.len() as i64, var.index.len() as i64];
            x.set_attr_array_numeric("shape", &shape)?;
            let indices = growing::<i32>(&x, "indices", None, Packing::Gzip)?;
            let data = growing::<f32>(&x, "data", None, Packing::Gzip)?;
            let dictionary = |name: &str| {
                let group = root.create_group(name)?;
                encode_group(&group, "dict", "0.1.0")?;
                Ok::<_, Hdf5Error>(group)
            };
            let (obsm, uns) = (dictionary("obsm")?, dictionary("uns")?);
            let layers = dictionary("layers")?;
            for empty in ["obsp", "varm", "varp"] {
                dictionary(empty)?;
            }
            Ok((file, [x, obsm, uns, layers], indices, data))
        };
        let (file, [x, obsm, uns, layers], indices, data) = wrap(path, open())?;
        Ok(Self {
            indices,
            data,
            x,
            obsm,
            uns,
            layers,
            file,
            temp,
            path: path.to_path_buf(),
            shape: [obs.index.len(), var.index.len()],
            indptr: vec![0],
        })
    }

    /// Appends rows of `X`.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when they do not match the file; [`DataError::Io`] when they cannot
    /// be written.
    pub fn push(&mut self, rows: &CsrMatrix) -> Result<()> {
        let have = self.indptr.len() - 1 + rows.rows();
        if rows.cols() != self.shape[1] || have > self.shape[0] {
            return Err(DataError::invalid(format!(
                "{}: X: {have} rows of {} genes do not match {} cells and {} genes",
                self.path.display(),
                rows.cols(),
                self.shape[0],
                self.shape[1]
            )));
        }
        let base = self.indptr.last().copied().unwrap_or(0);
        self.indptr
            .extend(rows.indptr().iter().skip(1).map(|&p| base + p as i64));
        if rows.nnz() == 0 {
            return Ok(());
        }
        let indices: Vec<i32> = rows.indices().iter().map(|&j| j as i32).collect();
        wrap(&self.path, self.indices.append(&indices))?;
        wrap(&self.path, self.data.append(rows.values()))
    }

    /// Adds `obsm/<key>`.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when the number of rows differs from that of the cells or a value is
    /// NaN or infinite; [`DataError::Io`] when it cannot be written.
    pub fn obsm(&mut self, key: &str, values: &Array2<f32>) -> Result<()> {
        if values.nrows() != self.shape[0] || values.ncols() == 0 || key.contains('/') {
            return Err(DataError::invalid(format!(
                "{}: obsm/{key}: shape {} x {} for {} cells",
                self.path.display(),
                values.nrows(),
                values.ncols(),
                self.shape[0]
            )));
        }
        for (cell, row) in values.rows().into_iter().enumerate() {
            let row = row.to_vec();
            require_finite(&format!("obsm/{key}"), &row, row.len(), cell, |_| None)?;
        }
        let write = || {
            let dataset = growing::<f32>(&self.obsm, key, Some(values.ncols()), Packing::Gzip)?;
            encode_dataset(&dataset, "array", "0.2.0")?;
            for row in values.rows() {
                dataset.append(&row.to_vec())?;
            }
            Ok(())
        };
        wrap(&self.path, write())
    }

    /// Adds `layers/<name>`.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when its shape differs from that of the file; [`DataError::Io`] when
    /// it cannot be written.
    pub fn layer(&mut self, name: &str, values: &CsrMatrix) -> Result<()> {
        if [values.rows(), values.cols()] != self.shape || name.is_empty() || name.contains('/') {
            return Err(DataError::invalid(format!(
                "{}: layers/{name}: shape {} x {} for {} cells and {} genes",
                self.path.display(),
                values.rows(),
                values.cols(),
                self.shape[0],
                self.shape[1]
            )));
        }
        let write = || {
            let group = self.layers.create_group(name)?;
            encode_group(&group, "csr_matrix", "0.1.0")?;
            group.set_attr_array_numeric("shape", &self.shape.map(|n| n as i64))?;
            let indptr: Vec<i64> = values.indptr().iter().map(|&p| p as i64).collect();
            let indices: Vec<i32> = values.indices().iter().map(|&j| j as i32).collect();
            array(&group, "indptr", &indptr)?;
            array(&group, "indices", &indices)?;
            array(&group, "data", values.values())?;
            Ok(())
        };
        wrap(&self.path, write())
    }

    /// Adds a string to `uns`.
    ///
    /// # Errors
    /// [`DataError::Io`] when it cannot be written.
    pub fn uns_text(&mut self, key: &str, value: &str) -> Result<()> {
        wrap(&self.path, text(&self.uns, key, value))
    }

    /// Completes the file and moves it to its path.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when rows are missing; [`DataError::Io`] when it cannot be written;
    /// [`DataError::File`] when it cannot be read back.
    pub fn finish(self) -> Result<()> {
        let Self {
            indices,
            data,
            x,
            obsm,
            uns,
            layers,
            file,
            temp,
            path,
            shape,
            indptr,
        } = self;
        if indptr.len() != shape[0] + 1 {
            return Err(DataError::invalid(format!(
                "{}: X: {} rows for {} cells",
                path.display(),
                indptr.len() - 1,
                shape[0]
            )));
        }
        let pointers = || {
            // As scipy: 32 bits as long as they suffice.
            if indptr.last().is_some_and(|&n| i32::try_from(n).is_ok()) {
                let narrow: Vec<i32> = indptr.iter().map(|&p| p as i32).collect();
                array(&x, "indptr", &narrow)
            } else {
                array(&x, "indptr", &indptr)
            }
        };
        wrap(&path, pointers())?;
        drop((indices, data, x, obsm, uns, layers));
        wrap(&path, file.close())?;
        let written = super::H5ad::open(temp.path()).and_then(|f| f.matrix(&super::MatrixSlot::X));
        if let Err(e) = written {
            return Err(DataError::file(
                &path,
                format!("was not written: reading it back gave {e}; please report this"),
            ));
        }
        temp.publish()
    }
}

pub(super) fn check_frame(name: &str, frame: &NewFrame) -> Result<()> {
    for (k, (column, values)) in frame.columns.iter().enumerate() {
        if values.len() != frame.index.len() {
            return Err(DataError::invalid(format!(
                "{name}: column '{column}' has {} values for {} rows",
                values.len(),
                frame.index.len()
            )));
        }
        let twice = frame.columns[..k].iter().any(|c| c.0 == *column);
        if column.is_empty() || column.contains('/') || column == "_index" || twice {
            return Err(DataError::invalid(format!(
                "{name}: '{column}' is not a valid column name"
            )));
        }
        if let Column::Categorical {
            codes, categories, ..
        } = values
            && let Some(bad) = codes
                .iter()
                .find(|&&c| c >= 0 && c as usize >= categories.len())
        {
            return Err(DataError::invalid(format!(
                "{name}: column '{column}': code {bad} for {} categories",
                categories.len()
            )));
        }
    }
    Ok(())
}

pub(super) fn write_frame(
    root: &H5Group,
    name: &str,
    frame: &NewFrame,
) -> std::result::Result<(), Hdf5Error> {
    let group = root.create_group(name)?;
    encode_group(&group, "dataframe", "0.2.0")?;
    group.set_attr_string("_index", "_index")?;
    let order: Vec<&str> = frame.columns.iter().map(|c| c.0.as_str()).collect();
    if order.is_empty() {
        group.set_attr_array_numeric::<f64>("column-order", &[])?;
    } else {
        group.set_attr_string_array("column-order", &order)?;
    }
    strings(&group, "_index", &frame.index)?;
    for (column, values) in &frame.columns {
        write_column(&group, column, values)?;
    }
    Ok(())
}

pub(super) fn write_column(
    frame: &H5Group,
    name: &str,
    values: &Column,
) -> std::result::Result<(), Hdf5Error> {
    match values {
        Column::Categorical {
            codes,
            categories,
            ordered,
        } => {
            let group = frame.create_group(name)?;
            encode_group(&group, "categorical", "0.2.0")?;
            group.set_attr_numeric("ordered", &rust_hdf5::HBool::from(*ordered))?;
            strings(&group, "categories", categories)?;
            // As pandas: the smallest integer type that holds every category.
            let dataset = if categories.len() <= i8::MAX as usize {
                array(
                    &group,
                    "codes",
                    &codes.iter().map(|&c| c as i8).collect::<Vec<_>>(),
                )?
            } else if categories.len() <= i16::MAX as usize {
                array(
                    &group,
                    "codes",
                    &codes.iter().map(|&c| c as i16).collect::<Vec<_>>(),
                )?
            } else {
                array(&group, "codes", codes)?
            };
            encode_dataset(&dataset, "array", "0.2.0")
        }
        Column::Floats(v) => encode_dataset(&array(frame, name, v)?, "array", "0.2.0"),
        Column::Strings(v) => match v.iter().all(Option::is_some) {
            true => {
                let texts: Vec<&str> = v.iter().map(|s| s.as_deref().unwrap_or("")).collect();
                strings(frame, name, &texts).map(|_| ())
            }
            false => {
                // Every anndata version reads a categorical with missing codes; a masked string
                // array only newer versions.
                let texts: Vec<String> = v.iter().flatten().cloned().collect();
                let names = Categories::from_values(&texts).names().to_vec();
                let codes = v
                    .iter()
                    .map(|s| {
                        s.as_ref()
                            .and_then(|s| names.binary_search(s).ok())
                            .map_or(-1, |c| c as i32)
                    })
                    .collect();
                write_column(
                    frame,
                    name,
                    &Column::Categorical {
                        codes,
                        categories: names,
                        ordered: false,
                    },
                )
            }
        },
        Column::Bools(v) if v.iter().all(Option::is_some) => {
            let plain: Vec<bool> = v.iter().map(|b| b.unwrap_or(false)).collect();
            encode_dataset(&bools(frame, name, &plain)?, "array", "0.2.0")
        }
        Column::Ints(v) if v.iter().all(Option::is_some) => {
            let plain: Vec<i64> = v.iter().map(|i| i.unwrap_or(0)).collect();
            encode_dataset(&array(frame, name, &plain)?, "array", "0.2.0")
        }
        Column::Bools(v) => {
            let group = masked(
                frame,
                name,
                "nullable-boolean",
                v.iter().map(Option::is_none),
            )?;
            let plain: Vec<bool> = v.iter().map(|b| b.unwrap_or(false)).collect();
            encode_dataset(&bools(&group, "values", &plain)?, "array", "0.2.0")
        }
        Column::Ints(v) => {
            let group = masked(
                frame,
                name,
                "nullable-integer",
                v.iter().map(Option::is_none),
            )?;
            let plain: Vec<i64> = v.iter().map(|i| i.unwrap_or(0)).collect();
            encode_dataset(&array(&group, "values", &plain)?, "array", "0.2.0")
        }
    }
}

fn masked(
    frame: &H5Group,
    name: &str,
    kind: &str,
    mask: impl Iterator<Item = bool>,
) -> std::result::Result<H5Group, Hdf5Error> {
    let group = frame.create_group(name)?;
    encode_group(&group, kind, "0.1.0")?;
    let mask: Vec<bool> = mask.collect();
    encode_dataset(&bools(&group, "mask", &mask)?, "array", "0.2.0")?;
    Ok(group)
}
