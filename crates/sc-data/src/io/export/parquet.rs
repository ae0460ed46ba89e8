//! `.parquet`: a column `cell` with the names of the cells, and one float32 column per dimension.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use ::parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::Type;

use super::{Rows, VectorWriter};
use crate::error::{DataError, Result};
use crate::io::atomic::Temporary;

/// Rows of one row group.
const GROUP: usize = 65_536;

/// A `.parquet` file being written, with its provenance under the key `scfm` of its metadata.
pub struct ParquetWriter {
    path: PathBuf,
    writer: SerializedFileWriter<Temporary>,
    cells: Vec<String>,
    rows: Rows,
    /// Rows of the group that is filling, row-major.
    pending: Vec<f32>,
    written: usize,
}

impl ParquetWriter {
    /// Starts a table at `path` of these cells and `dims` columns named `prefix` and a number from 0.
    ///
    /// # Errors
    /// [`DataError::Io`] when the folder cannot be written to.
    pub fn create(
        path: &Path,
        cells: Vec<String>,
        (prefix, dims): (&str, usize),
        provenance: &serde_json::Value,
    ) -> Result<Self> {
        let wrap = |e: ParquetError| DataError::file(path, format!("cannot be written: {e}"));
        let text = Type::primitive_type_builder("cell", Physical::BYTE_ARRAY)
            .with_repetition(Repetition::REQUIRED)
            .with_logical_type(Some(LogicalType::String));
        let mut fields = vec![Arc::new(text.build().map_err(wrap)?)];
        for d in 0..dims {
            let name = format!("{prefix}{d}");
            let column = Type::primitive_type_builder(&name, Physical::FLOAT)
                .with_repetition(Repetition::REQUIRED);
            fields.push(Arc::new(column.build().map_err(wrap)?));
        }
        let schema = Type::group_type_builder("schema").with_fields(fields);
        let schema = Arc::new(schema.build().map_err(wrap)?);
        let about = KeyValue::new("scfm".to_owned(), provenance.to_string());
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            // Dictionary encoding does not help for distinct floats.
            .set_dictionary_enabled(false)
            .set_key_value_metadata(Some(vec![about]))
            .build();
        let file = Temporary::beside(path)?;
        let writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(wrap)?;
        Ok(Self {
            path: path.to_path_buf(),
            writer,
            rows: Rows {
                dims,
                cells: cells.len(),
                done: 0,
            },
            cells,
            pending: Vec::new(),
            written: 0,
        })
    }

    /// Writes the pending rows as a row group.
    fn flush(&mut self) -> Result<()> {
        let dims = self.rows.dims;
        let count = self.pending.len() / dims;
        let names = self.cells[self.written..self.written + count].iter();
        let names: Vec<ByteArray> = names.map(|c| ByteArray::from(c.as_str())).collect();
        let pending = std::mem::take(&mut self.pending);
        let mut write = || -> Result<(), ParquetError> {
            let mut group = self.writer.next_row_group()?;
            let mut at = 0;
            while let Some(mut column) = group.next_column()? {
                if at == 0 {
                    column
                        .typed::<ByteArrayType>()
                        .write_batch(&names, None, None)?;
                } else {
                    let values: Vec<f32> =
                        pending.iter().skip(at - 1).step_by(dims).copied().collect();
                    column
                        .typed::<FloatType>()
                        .write_batch(&values, None, None)?;
                }
                column.close()?;
                at += 1;
            }
            group.close().map(|_| ())
        };
        write().map_err(|e| DataError::file(&self.path, format!("cannot be written: {e}")))?;
        self.written += count;
        Ok(())
    }
}

impl VectorWriter for ParquetWriter {
    fn push(&mut self, values: &[f32]) -> Result<()> {
        let name = |cell: usize| self.cells.get(cell).cloned();
        self.rows.add(&self.path, values, name)?;
        self.pending.extend_from_slice(values);
        if self.pending.len() >= GROUP * self.rows.dims {
            self.flush()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.rows.complete(&self.path)?;
        if !self.pending.is_empty() {
            self.flush()?;
        }
        let file = self.writer.into_inner();
        let path = self.path;
        file.map_err(|e| DataError::file(&path, format!("cannot be written: {e}")))?
            .publish()
    }
}

#[cfg(test)]
mod tests {
    use ::parquet::file::reader::{FileReader as _, SerializedFileReader};

    use super::*;

    #[test]
    fn tables_hold_names_vectors_and_provenance() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let cells: Vec<String> = (0..3).map(|k| format!("cell{k}")).collect();
        let about = serde_json::json!({"model": "x"});
        let mut writer = Box::new(ParquetWriter::create(&path, cells, ("X_", 2), &about).unwrap());
        writer.push(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        writer.push(&[5.0, 6.0]).unwrap();
        writer.finish().unwrap();
        let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        let rows: Vec<String> = reader
            .get_row_iter(None)
            .unwrap()
            .map(|r| r.unwrap().to_string())
            .collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[2], "{cell: \"cell2\", X_0: 5.0, X_1: 6.0}");
        let keys = reader
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .unwrap();
        assert!(
            keys.iter()
                .any(|k| k.key == "scfm" && k.value.as_deref() == Some("{\"model\":\"x\"}"))
        );
    }
}
