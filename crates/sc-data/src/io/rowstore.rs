//! The row-packed store: counts laid out for training, one cell after another.
//!
//! A minibatch of random cells needs a few kilobytes per cell from anywhere in the data. Compressed
//! HDF5 decompresses a whole chunk for each; here a cell is a memory-mapped range of bytes, a
//! third to a fifth of the size of its CSR entries ([`codec`](self)), with its own checksum.
//!
//! ```text
//! "scfmrows" · version u32 · reserved u32 · rows u64 · cols u64 · entries u64
//!            · start of the table u64 · start of the description u64 · end u64
//! rows, packed one after the other
//! table: rows + 1 offsets u64, then rows checksums u32 (CRC-32 of the packed row)
//! description: JSON (what was packed, from which file)
//! blake3 of header, table and description, 32 bytes
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::Mmap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::sparse::CsrMatrix;

mod codec;
mod layout;
mod write;

use codec::Packed;
use layout::Header;
pub use write::{RowStoreWriter, pack};

/// Bytes of the file that may stay mapped to the process; the system keeps what fits in memory.
const RESIDENT_BYTES: u64 = 512 << 20;

/// Bytes around a row that the system maps with it.
const FAULT_BYTES: u64 = 64 << 10;

/// Source of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackedFrom {
    /// blake3 of the file, 64 hexadecimal digits.
    pub hash: String,
    /// The matrix of the file: `X`, `raw/X`, `layers/NAME`.
    pub slot: String,
    /// Version of scfm that wrote it.
    pub written_by: String,
}

/// An open row-packed store, `[rows, cols]` counts.
#[derive(Debug)]
pub struct RowStore {
    path: PathBuf,
    map: Mmap,
    header: Header,
    offsets: Vec<u64>,
    checksums: Vec<u32>,
    /// One bit per row: its checksum has been verified.
    checked: Vec<AtomicU64>,
    /// Upper bound of the bytes mapped since they were last released.
    touched: AtomicU64,
    from: PackedFrom,
}

impl RowStore {
    /// Opens a store and verifies the hash of header, table and description.
    ///
    /// The file is mapped, not read. It must not change while it is open: scfm itself only ever
    /// replaces stores by renaming complete files over them.
    ///
    /// # Errors
    /// [`DataError::Io`] for system errors; [`DataError::File`] when it is not a store, has another
    /// version, or is truncated or damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| DataError::io(path, e))?;
        // SAFETY: the map is read-only, and the file is not written to while it is open (see above).
        let map = unsafe { Mmap::map(&file) }.map_err(|e| DataError::io(path, e))?;
        let header = Header::parse(path, &map)?;
        let (offsets, checksums, from) = layout::tail(path, &map, &header)?;
        let checked = (0..offsets.len().div_ceil(64))
            .map(|_| AtomicU64::new(0))
            .collect();
        Ok(Self {
            path: path.to_path_buf(),
            map,
            header,
            offsets,
            checksums,
            checked,
            touched: AtomicU64::new(0),
            from,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of cells.
    pub fn rows(&self) -> usize {
        self.checksums.len()
    }

    /// Number of genes.
    pub fn cols(&self) -> usize {
        self.header.cols as usize
    }

    /// Number of stored entries.
    pub fn entries(&self) -> u64 {
        self.header.entries
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// The source it was packed from.
    pub fn from(&self) -> &PackedFrom {
        &self.from
    }

    /// The rows at `rows`, in that order; repeats are allowed.
    ///
    /// # Errors
    /// As [`RowStore::read_rows_into`].
    pub fn read_rows(&self, rows: &[usize]) -> Result<CsrMatrix> {
        let mut out = CsrMatrix::empty(0, self.cols());
        self.read_rows_into(rows, &mut out)?;
        Ok(out)
    }

    /// The same into a matrix whose memory is reused, on all threads of the current pool.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when a row does not exist; [`DataError::File`] when a row does not match
    /// its checksum.
    pub fn read_rows_into(&self, rows: &[usize], out: &mut CsrMatrix) -> Result<()> {
        self.bound_memory(rows.len() as u64);
        let packed: Vec<Packed<'_>> = rows.iter().map(|&r| self.row(r)).collect::<Result<_>>()?;
        let counts = packed.iter().map(Packed::entries);
        let (mut indices, mut values) = out.reshape(self.cols(), counts);
        // A task is several rows: enough to outweigh its overhead.
        let step = packed
            .len()
            .div_ceil(4 * rayon::current_num_threads())
            .max(16);
        let mut work = Vec::with_capacity(packed.len().div_ceil(step));
        for (first, part) in packed.chunks(step).enumerate() {
            let n: usize = part.iter().map(Packed::entries).sum();
            let (i, more_indices) = indices.split_at_mut(n);
            let (v, more_values) = values.split_at_mut(n);
            (indices, values) = (more_indices, more_values);
            work.push((first * step, part, i, v));
        }
        work.into_par_iter()
            .try_for_each(|(first, part, mut i, mut v)| {
                for (k, packed) in part.iter().enumerate() {
                    let (row_indices, more_indices) = i.split_at_mut(packed.entries());
                    let (row_values, more_values) = v.split_at_mut(packed.entries());
                    (i, v) = (more_indices, more_values);
                    packed
                        .decode(self.cols(), row_indices, row_values)
                        .ok_or_else(|| self.damaged(rows[first + k]))?;
                }
                Ok(())
            })
    }

    /// Tells the system that these rows are needed soon.
    pub fn will_need(&self, rows: std::ops::Range<usize>) {
        let end = rows.end.min(self.rows());
        if rows.start < end {
            let from = self.offsets[rows.start] as usize;
            let len = self.offsets[end] as usize - from;
            // Advice only: where it is refused, reading blocks instead.
            #[cfg(unix)]
            let _ = self.map.advise_range(memmap2::Advice::WillNeed, from, len);
        }
    }

    /// Releases mapped pages before they count for more than [`RESIDENT_BYTES`] of this process.
    fn bound_memory(&self, rows: u64) {
        let touched = self
            .touched
            .fetch_add(rows * FAULT_BYTES, Ordering::Relaxed);
        if touched < RESIDENT_BYTES || self.bytes() < RESIDENT_BYTES {
            return;
        }
        self.touched.store(0, Ordering::Relaxed);
        // SAFETY: the map is read-only and file-backed, so released pages are read again when
        // needed.
        #[cfg(target_os = "linux")]
        let _ = unsafe {
            self.map
                .unchecked_advise(memmap2::UncheckedAdvice::DontNeed)
        };
    }

    /// Verifies the checksum of every row.
    ///
    /// # Errors
    /// [`DataError::File`] names the first row that is damaged.
    pub fn verify(&self) -> Result<()> {
        (0..self.rows()).try_for_each(|r| self.row(r).map(|_| ()))
    }

    fn row(&self, row: usize) -> Result<Packed<'_>> {
        let (Some(&from), Some(&to)) = (self.offsets.get(row), self.offsets.get(row + 1)) else {
            return Err(DataError::invalid(format!(
                "{}: there is no cell {row}, only {} cells",
                self.path.display(),
                self.rows()
            )));
        };
        let bytes = self.map.get(from as usize..to as usize);
        let bytes = bytes.ok_or_else(|| self.damaged(row))?;
        let (word, bit) = (row / 64, 1 << (row % 64));
        if self.checked[word].load(Ordering::Relaxed) & bit == 0 {
            if crc32fast::hash(bytes) != self.checksums[row] {
                return Err(self.damaged(row));
            }
            self.checked[word].fetch_or(bit, Ordering::Relaxed);
        }
        Packed::new(bytes).ok_or_else(|| self.damaged(row))
    }

    fn damaged(&self, row: usize) -> DataError {
        DataError::file(
            &self.path,
            format!("cell {row} does not match its checksum; delete the store, and it is rebuilt"),
        )
    }
}
