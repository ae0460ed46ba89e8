//! Text files, optionally compressed with gzip.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::error::{DataError, Result};

/// Bytes read from the disk at a time.
const BLOCK: usize = 1 << 20;

/// Opens a file, decompressing it when its first bytes are those of gzip.
///
/// # Errors
/// [`DataError::Io`] for system errors.
pub(crate) fn reader(path: &Path) -> Result<Box<dyn BufRead>> {
    let io = |e| DataError::io(path, e);
    let mut file = BufReader::with_capacity(BLOCK, File::open(path).map_err(io)?);
    let packed = file.fill_buf().map_err(io)?.starts_with(&[0x1f, 0x8b]);
    Ok(match packed {
        true => Box::new(BufReader::with_capacity(BLOCK, MultiGzDecoder::new(file))),
        false => Box::new(file),
    })
}

/// The whole of a file, decompressed, of at most `limit` bytes.
///
/// # Errors
/// [`DataError::Io`] for system errors; [`DataError::File`] when it is truncated, damaged or
/// longer.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = reader(path)?.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|e| DataError::file(path, format!("{e}; the file is truncated or damaged")))?;
    if bytes.len() as u64 > limit {
        return Err(DataError::file(
            path,
            format!("holds more than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn packed_and_plain_files_read_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "text").unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"text");
        assert!(
            read(&path, 3)
                .unwrap_err()
                .to_string()
                .contains("more than 3")
        );
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(b"text").unwrap();
        let packed = packer.finish().unwrap();
        std::fs::write(&path, &packed).unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"text");
        std::fs::write(&path, &packed[..packed.len() - 6]).unwrap();
        assert!(
            read(&path, 4)
                .unwrap_err()
                .to_string()
                .contains("truncated or damaged")
        );
        std::fs::write(&path, "").unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"");
    }
}
