//! Writing a store: rows in order, then the table, then one rename.

use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::layout::{self, HEADER, Header};
use super::{PackedFrom, codec};
use crate::counts::RawCounts;
use crate::error::{DataError, Result};
use crate::io::atomic::Temporary;
use crate::io::store::CountsReader;

/// Bytes of uncompressed entries in memory at a time.
const BLOCK_BYTES: usize = 64 << 20;

/// A store being written. The path does not exist before [`RowStoreWriter::finish`].
pub struct RowStoreWriter {
    target: PathBuf,
    file: BufWriter<Temporary>,
    cols: usize,
    offsets: Vec<u64>,
    checksums: Vec<u32>,
    entries: u64,
}

impl RowStoreWriter {
    /// Starts a store of `cols` genes that will be at `path`.
    ///
    /// # Errors
    /// [`DataError::Io`] when the folder cannot be written to.
    pub fn create(path: &Path, cols: usize) -> Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 20, Temporary::beside(path)?);
        file.write_all(&[0; HEADER])
            .map_err(|e| DataError::io(path, e))?;
        Ok(Self {
            target: path.to_path_buf(),
            file,
            cols,
            offsets: vec![HEADER as u64],
            checksums: Vec::new(),
            entries: 0,
        })
    }

    /// Appends cells, `[cells, cols]`.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when the number of genes differs; [`DataError::Io`] when the disk is full.
    pub fn push(&mut self, counts: &RawCounts) -> Result<()> {
        let matrix = counts.matrix();
        if matrix.cols() != self.cols {
            return Err(DataError::invalid(format!(
                "cells of {} genes in a store of {}",
                matrix.cols(),
                self.cols
            )));
        }
        let rows: Vec<usize> = (0..matrix.rows()).collect();
        let packed: Vec<(Vec<u8>, Vec<usize>)> = rows
            .par_chunks(64)
            .map(|rows| {
                let mut bytes = Vec::new();
                let ends = rows.iter().map(|&r| {
                    let (indices, values) = matrix.row(r);
                    codec::encode(indices, values, &mut bytes);
                    bytes.len()
                });
                let ends = ends.collect();
                (bytes, ends)
            })
            .collect();
        for (bytes, ends) in &packed {
            let mut from = 0;
            let mut at = self.offsets.last().copied().unwrap_or(HEADER as u64);
            for &end in ends {
                self.checksums.push(crc32fast::hash(&bytes[from..end]));
                at += (end - from) as u64;
                self.offsets.push(at);
                from = end;
            }
            self.file
                .write_all(bytes)
                .map_err(|e| DataError::io(&self.target, e))?;
        }
        self.entries += matrix.nnz() as u64;
        Ok(())
    }

    /// Writes table, description and hash, and moves the file to its path. Returns its size in
    /// bytes.
    ///
    /// # Errors
    /// [`DataError::Io`] when the disk is full.
    pub fn finish(self, from: &PackedFrom) -> Result<u64> {
        let Self {
            target,
            mut file,
            cols,
            offsets,
            checksums,
            entries,
        } = self;
        let mut tail: Vec<u8> = Vec::with_capacity(12 * offsets.len());
        offsets
            .iter()
            .for_each(|o| tail.extend_from_slice(&o.to_le_bytes()));
        checksums
            .iter()
            .for_each(|c| tail.extend_from_slice(&c.to_le_bytes()));
        let table = offsets.last().copied().unwrap_or(HEADER as u64);
        let description = table + tail.len() as u64;
        tail.extend_from_slice(
            &serde_json::to_vec(from).map_err(|e| DataError::invalid(e.to_string()))?,
        );
        let header = Header {
            rows: checksums.len() as u64,
            cols: cols as u64,
            entries,
            table,
            description,
            end: table + tail.len() as u64,
        };
        let head = header.to_bytes();
        let hash = layout::hash(&head, &tail);
        let io = |e| DataError::io(&target, e);
        for part in [&tail[..], &hash] {
            file.write_all(part).map_err(io)?;
        }
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        file.write_all(&head).map_err(io)?;
        file.into_inner()
            .map_err(|e| io(e.into_error()))?
            .publish()?;
        Ok(header.end + hash.len() as u64)
    }
}

/// Packs every cell of `counts`, in bounded memory; `progress` is called with the number of packed
/// cells. Returns the size of the store in bytes.
///
/// # Errors
/// Any error of the counts, and [`DataError::Io`] when the disk is full.
pub fn pack(
    counts: &CountsReader,
    path: &Path,
    from: &PackedFrom,
    mut progress: impl FnMut(usize),
) -> Result<u64> {
    let mut writer = RowStoreWriter::create(path, counts.store().cols())?;
    for chunk in counts.chunks(counts.store().rows_for_bytes(BLOCK_BYTES)) {
        let (first, cells) = chunk?;
        writer.push(&cells)?;
        progress(first + cells.matrix().rows());
    }
    writer.finish(from)
}
