//! CSR rows from the bytes of their chunks: read, decompressed and placed by all threads, without
//! the HDF5 library.
//!
//! It is worth it because the library decompresses one chunk after another, with a generic
//! inflate; here every chunk is a separate task, and libdeflate is about twice as fast.

use std::cell::RefCell;
use std::fs::File;
use std::ops::Range;

use libdeflater::Decompressor;
use rayon::prelude::*;

use super::assemble::Seen;
use crate::error::{DataError, Result};
use crate::io::h5::{ElementType, Extents, Filter, H5Source, Piece};

/// Bytes of an unfiltered chunk per task, so that a contiguous array is read by all threads.
const RUN_BYTES: u64 = 1 << 20;

/// The two arrays of a CSR matrix that can be read directly.
#[derive(Debug)]
pub(super) struct Direct {
    file: File,
    node: String,
    path: std::path::PathBuf,
    indices: Extents,
    values: Extents,
}

impl Direct {
    /// Finds the extents of `node/indices` and `node/data`; `None` when their layout is not simple
    /// enough.
    pub(super) fn open(source: &dyn H5Source, node: &str) -> Result<Option<Self>> {
        let Some(indices) = source.extents(&format!("{node}/indices"))? else {
            return Ok(None);
        };
        let Some(values) = source.extents(&format!("{node}/data"))? else {
            return Ok(None);
        };
        let path = source.path();
        let limit = crate::io::h5::allocation_limit(source.size());
        let known = matches!(indices.element, ElementType::Int { size: 4 | 8, .. })
            && matches!(
                values.element,
                ElementType::Float { size: 4 | 8 } | ElementType::Int { .. }
            )
            && [&indices, &values]
                .iter()
                .all(|e| e.filters.is_empty() || e.chunk.saturating_mul(e.width as u64) <= limit);
        if !known {
            return Ok(None);
        }
        Ok(Some(Self {
            file: File::open(path).map_err(|e| DataError::io(path, e))?,
            node: node.to_owned(),
            path: path.to_path_buf(),
            indices,
            values,
        }))
    }

    /// Whether nothing has to be decompressed.
    pub(super) fn is_plain(&self) -> bool {
        self.indices.filters.is_empty() && self.values.filters.is_empty()
    }

    /// Entries of the given ranges (ascending, disjoint), one after another. Values are inspected
    /// while they are in the cache.
    ///
    /// # Errors
    /// [`DataError::File`] when a chunk cannot be read or decompressed, or holds a negative index.
    pub(super) fn read(
        &self,
        ranges: &[Range<u64>],
        indices: &mut [u32],
        values: &mut [f32],
    ) -> Result<Seen> {
        let tasks = tasks(&self.indices, ranges, indices)
            .into_iter()
            .map(Work::Indices)
            .chain(
                tasks(&self.values, ranges, values)
                    .into_iter()
                    .map(Work::Values),
            );
        tasks
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(|work| match work {
                Work::Indices(task) => {
                    self.run(&self.indices, "indices", task, place_indices, |_| {
                        Seen::Counts
                    })
                }
                Work::Values(task) => self.run(&self.values, "data", task, place_values, Seen::of),
            })
            .try_reduce(|| Seen::Counts, |a, b| Ok(a.max(b)))
    }

    fn run<T: Stored>(
        &self,
        extents: &Extents,
        name: &str,
        mut task: Task<'_, T>,
        place: impl Fn(&ElementType, &[u8], &mut [T]) -> Option<()>,
        look: impl Fn(&[T]) -> Seen,
    ) -> Result<Seen> {
        let piece = task.piece as u64;
        let fail = |what: &str| {
            let at = piece * extents.chunk;
            DataError::file(
                &self.path,
                format!(
                    "{}/{name}: elements from {at} on {what}; the file is truncated or damaged: copy \
                     or download it again",
                    self.node
                ),
            )
        };
        SCRATCH.with_borrow_mut(|scratch| {
            if let Some(read) = scratch.read_in_place(&self.file, extents, &mut task) {
                return read
                    .map(&look)
                    .ok_or_else(|| fail("cannot be decompressed"));
            }
            let bytes = scratch
                .unpack(&self.file, extents, &task)
                .ok_or_else(|| fail("cannot be decompressed"))?;
            let mut seen = Seen::Counts;
            for (from, out) in task.parts {
                let bytes = bytes.get(from * extents.width..(from + out.len()) * extents.width);
                bytes
                    .and_then(|b| place(&extents.element, b, out))
                    .ok_or_else(|| fail("are not valid numbers"))?;
                seen = seen.max(look(out));
            }
            Ok(seen)
        })
    }
}

/// A type that most files already store in the form used here.
trait Stored: bytemuck::Pod {
    const ELEMENT: ElementType;
}

impl Stored for u32 {
    // Indices above 2^31 overflow and are refused by the check of the rows.
    const ELEMENT: ElementType = ElementType::Int {
        size: 4,
        signed: true,
    };
}

impl Stored for f32 {
    const ELEMENT: ElementType = ElementType::Float { size: 4 };
}

enum Work<'a> {
    Indices(Task<'a, u32>),
    Values(Task<'a, f32>),
}

/// One chunk (or a run of an array without filters) and the destination of its elements.
struct Task<'a, T> {
    piece: usize,
    /// Elements of the chunk that are read; all of them when it has filters.
    span: Range<u64>,
    /// Position after the start of `span`, and the destination of the elements from there on.
    parts: Vec<(usize, &'a mut [T])>,
}

/// Cuts requested ranges along the chunks.
fn tasks<'a, T>(
    extents: &Extents,
    ranges: &[Range<u64>],
    mut out: &'a mut [T],
) -> Vec<Task<'a, T>> {
    let packed = !extents.filters.is_empty();
    // Without filters any part can be read alone, so long runs are divided among threads.
    let step = if packed {
        extents.chunk
    } else {
        (RUN_BYTES / extents.width as u64).min(extents.chunk)
    };
    let mut tasks: Vec<Task<'a, T>> = Vec::new();
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            let piece = (at / extents.chunk) as usize;
            let first = piece as u64 * extents.chunk;
            let end = if packed {
                first + extents.chunk
            } else {
                (at + step).min(first + extents.chunk)
            }
            .min(range.end);
            let (part, rest) = out.split_at_mut((end - at) as usize);
            out = rest;
            match tasks.last_mut().filter(|t| packed && t.piece == piece) {
                Some(task) => task.parts.push(((at - first) as usize, part)),
                None => tasks.push(Task {
                    piece,
                    span: if packed {
                        0..extents.chunk
                    } else {
                        at - first..end - first
                    },
                    parts: vec![(if packed { (at - first) as usize } else { 0 }, part)],
                }),
            }
            at = end;
        }
    }
    tasks
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// Buffers of one thread.
struct Scratch {
    inflate: Decompressor,
    stored: Vec<u8>,
    unpacked: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            inflate: Decompressor::new(),
            stored: Vec::new(),
            unpacked: Vec::new(),
        }
    }
}

impl Scratch {
    /// Reads or decompresses directly into the destination; `None` when the stored type or range
    /// differs from the requested one, `Some(None)` when that fails.
    fn read_in_place<'a, T: Stored>(
        &mut self,
        file: &File,
        extents: &Extents,
        task: &'a mut Task<'_, T>,
    ) -> Option<Option<&'a [T]>> {
        let piece = extents.pieces.get(task.piece)?;
        let [(0, out)] = &mut task.parts[..] else {
            return None;
        };
        let whole = out.len() as u64 == task.span.end - task.span.start;
        let as_stored = extents.element == T::ELEMENT && cfg!(target_endian = "little");
        if !(whole && as_stored && piece.skipped == 0) {
            return None;
        }
        let read = match extents.filters[..] {
            [] => {
                let at = piece.offset + task.span.start * extents.width as u64;
                read_at(file, bytemuck::cast_slice_mut(out), at).ok()
            }
            [Filter::Deflate] => self.inflate_into(file, piece, bytemuck::cast_slice_mut(out)),
            _ => return None,
        };
        Some(read.map(|()| &**out))
    }

    fn inflate_into(&mut self, file: &File, piece: &Piece, out: &mut [u8]) -> Option<()> {
        self.stored.resize(usize::try_from(piece.bytes).ok()?, 0);
        read_at(file, &mut self.stored, piece.offset).ok()?;
        let n = self.inflate.zlib_decompress(&self.stored, out).ok()?;
        (n == out.len()).then_some(())
    }

    /// The bytes of a task's span; `None` when they cannot be read or have another decompressed
    /// length.
    fn unpack<T>(&mut self, file: &File, extents: &Extents, task: &Task<'_, T>) -> Option<&[u8]> {
        let &Piece {
            offset,
            bytes,
            skipped,
        } = extents.pieces.get(task.piece)?;
        let width = extents.width;
        let wanted = usize::try_from(task.span.end - task.span.start).ok()? * width;
        if extents.filters.is_empty() {
            self.stored.resize(wanted, 0);
            let at = offset + task.span.start * width as u64;
            read_at(file, &mut self.stored, at).ok()?;
            return Some(&self.stored);
        }
        self.stored.resize(usize::try_from(bytes).ok()?, 0);
        read_at(file, &mut self.stored, offset).ok()?;
        for (k, filter) in extents.filters.iter().enumerate().rev() {
            if skipped & (1 << k) != 0 {
                continue;
            }
            self.unpacked.resize(wanted, 0);
            match filter {
                Filter::Deflate => {
                    let n = self
                        .inflate
                        .zlib_decompress(&self.stored, &mut self.unpacked)
                        .ok()?;
                    self.unpacked.truncate(n);
                }
                Filter::Shuffle if self.stored.len() != wanted => return None,
                Filter::Shuffle => unshuffle(&self.stored, width, &mut self.unpacked),
            }
            std::mem::swap(&mut self.stored, &mut self.unpacked);
        }
        (self.stored.len() == wanted).then_some(&self.stored[..])
    }
}

#[cfg(unix)]
fn read_at(file: &File, out: &mut [u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut out: &mut [u8], mut at: u64) -> std::io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, at)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                at += n as u64;
                out = &mut out[n..];
            }
        }
    }
    Ok(())
}

/// Inverts byte shuffling: byte `b` of element `e` is at `b · elements + e`.
fn unshuffle(shuffled: &[u8], width: usize, out: &mut [u8]) {
    let elements = shuffled.len() / width.max(1);
    if let (4, out) = (width, &mut out[..]) {
        let (low, rest) = shuffled.split_at(elements);
        let (second, rest) = rest.split_at(elements);
        let (third, high) = rest.split_at(elements);
        let bytes = low.iter().zip(second).zip(third.iter().zip(high));
        for (word, ((a, b), (c, d))) in out.as_chunks_mut::<4>().0.iter_mut().zip(bytes) {
            *word = [*a, *b, *c, *d];
        }
        return;
    }
    for (b, plane) in shuffled
        .chunks_exact(elements.max(1))
        .take(width)
        .enumerate()
    {
        for (e, &byte) in plane.iter().enumerate() {
            if let Some(slot) = out.get_mut(e * width + b) {
                *slot = byte;
            }
        }
    }
}

fn place_indices(element: &ElementType, bytes: &[u8], out: &mut [u32]) -> Option<()> {
    match element {
        ElementType::Int { size: 4, signed } => {
            let mut all = 0;
            for (slot, word) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *slot = u32::from_le_bytes(*word);
                all |= *slot;
            }
            (!*signed || all < 1 << 31).then_some(())
        }
        _ => {
            let mut all = 0;
            for (slot, word) in out.iter_mut().zip(bytes.as_chunks::<8>().0) {
                let wide = u64::from_le_bytes(*word);
                *slot = wide as u32;
                all |= wide;
            }
            u32::try_from(all).ok().map(|_| ())
        }
    }
}

fn place_values(element: &ElementType, bytes: &[u8], out: &mut [f32]) -> Option<()> {
    fn fill<const N: usize>(bytes: &[u8], out: &mut [f32], f: impl Fn([u8; N]) -> f32) {
        for (slot, word) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
            *slot = f(*word);
        }
    }
    match element {
        ElementType::Float { size: 4 } => fill(bytes, out, f32::from_le_bytes),
        ElementType::Float { size: 8 } => fill(bytes, out, |b| f64::from_le_bytes(b) as f32),
        ElementType::Int { size, signed } => match (size, signed) {
            (1, true) => fill(bytes, out, |b| f32::from(i8::from_le_bytes(b))),
            (1, false) => fill(bytes, out, |b: [u8; 1]| f32::from(b[0])),
            (2, true) => fill(bytes, out, |b| f32::from(i16::from_le_bytes(b))),
            (2, false) => fill(bytes, out, |b| f32::from(u16::from_le_bytes(b))),
            (4, true) => fill(bytes, out, |b| i32::from_le_bytes(b) as f32),
            (4, false) => fill(bytes, out, |b| u32::from_le_bytes(b) as f32),
            (8, true) => fill(bytes, out, |b| i64::from_le_bytes(b) as f32),
            (8, false) => fill(bytes, out, |b| u64::from_le_bytes(b) as f32),
            _ => return None,
        },
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unshuffle_restores_elements_of_any_width() {
        for width in [1, 2, 4, 8] {
            let plain: Vec<u8> = (0..5 * width as u8).collect();
            let mut shuffled = vec![0; plain.len()];
            for (k, &byte) in plain.iter().enumerate() {
                shuffled[k % width * 5 + k / width] = byte;
            }
            let mut out = vec![0; plain.len()];
            unshuffle(&shuffled, width, &mut out);
            assert_eq!(out, plain, "{width}");
        }
    }

    #[test]
    fn wanted_ranges_are_cut_along_chunks() {
        let piece = Piece {
            offset: 0,
            bytes: 40,
            skipped: 0,
        };
        let extents = Extents {
            element: ElementType::Int {
                size: 4,
                signed: true,
            },
            width: 4,
            len: 25,
            chunk: 10,
            filters: vec![Filter::Deflate],
            pieces: vec![piece; 3],
        };
        let mut out = vec![0u32; 11];
        let cut: Vec<(usize, Vec<(usize, usize)>)> =
            tasks(&extents, &[2..5, 8..12, 20..24], &mut out)
                .iter()
                .map(|t| (t.piece, t.parts.iter().map(|p| (p.0, p.1.len())).collect()))
                .collect();
        assert_eq!(
            cut,
            [
                (0, vec![(2, 3), (8, 2)]),
                (1, vec![(0, 2)]),
                (2, vec![(0, 4)])
            ]
        );
    }
}
