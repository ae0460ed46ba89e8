//! `.npy`: float32, C order, `[cells, dims]`.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::{Rows, VectorWriter};
use crate::error::{DataError, Result};
use crate::io::atomic::{Temporary, write_bytes_atomic};

/// An `.npy` file being written, with its provenance in `….npy.json`.
pub struct NpyWriter {
    path: PathBuf,
    file: BufWriter<Temporary>,
    rows: Rows,
    provenance: String,
}

impl NpyWriter {
    /// Starts an array `[cells, dims]` at `path`.
    ///
    /// # Errors
    /// [`DataError::Io`] when the folder cannot be written to.
    pub fn create(
        path: &Path,
        cells: usize,
        dims: usize,
        provenance: &serde_json::Value,
    ) -> Result<Self> {
        let mut file = BufWriter::new(Temporary::beside(path)?);
        let mut header =
            format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({cells}, {dims}), }}");
        // numpy requires the data to begin at a multiple of 64 bytes.
        let before = 10 + header.len() + 1;
        header.push_str(&" ".repeat(before.next_multiple_of(64) - before));
        header.push('\n');
        let length = (header.len() as u16).to_le_bytes();
        for part in [b"\x93NUMPY\x01\x00".as_slice(), &length, header.as_bytes()] {
            file.write_all(part).map_err(|e| DataError::io(path, e))?;
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            rows: Rows {
                dims,
                cells,
                done: 0,
            },
            provenance: provenance.to_string(),
        })
    }
}

impl VectorWriter for NpyWriter {
    fn push(&mut self, values: &[f32]) -> Result<()> {
        self.rows.add(&self.path, values, |_| None)?;
        for value in values {
            let written = self.file.write_all(&value.to_le_bytes());
            written.map_err(|e| DataError::io(&self.path, e))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.rows.complete(&self.path)?;
        let file = self.file.into_inner();
        let file = file.map_err(|e| DataError::io(&self.path, e.into_error()))?;
        let mut beside = self.path.clone().into_os_string();
        beside.push(".json");
        write_bytes_atomic(Path::new(&beside), self.provenance.as_bytes())?;
        file.publish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_numpys_and_rows_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let open = || NpyWriter::create(&path, 2, 3, &serde_json::json!({"model": "x"})).unwrap();
        let mut writer = Box::new(open());
        writer.push(&[1.0, 2.0, 3.0]).unwrap();
        assert!(writer.push(&[1.0]).is_err());
        writer.push(&[4.0, 5.0, 6.0]).unwrap();
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!((bytes.len() - 6 * 4) % 64, 0);
        assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"));
        assert!(String::from_utf8_lossy(&bytes).contains("'shape': (2, 3)"));
        assert_eq!(bytes[bytes.len() - 4..], 6f32.to_le_bytes());
        assert!(folder.path().join("a.npy.json").exists());
        let mut short = Box::new(open());
        short.push(&[1.0, 2.0, 3.0]).unwrap();
        assert!(
            short
                .finish()
                .unwrap_err()
                .to_string()
                .contains("1 rows for 2 cells")
        );
        let mut long = Box::new(open());
        assert!(long.push(&[0.0; 9]).is_err());
        let mut damaged = Box::new(open());
        damaged.push(&[0.0; 3]).unwrap();
        let error = damaged.push(&[0.0, f32::NAN, 0.0]).unwrap_err().to_string();
        assert!(error.contains("cell 1, dimension 1: NaN"), "{error}");
    }
}
