//! Cells per second of the loader: `loader CASE FILE [--store FILE] [--threads N] [--cells N]`.
//!
//! Cases: `store` and `h5ad` read block-shuffled minibatches of 512 cells, `random` minibatches of
//! cells from anywhere, `scan` every row in order, `inflate` only decompresses every chunk with
//! libdeflate, `pack` writes a store. One JSON line: cells per second, seconds, peak memory.

#![allow(clippy::print_stdout, reason = "the result of a bench is its output")]

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use sc_data::io::rowstore::{PackedFrom, RowStore, pack};
use sc_data::io::store::{CellStore, CountsReader};
use sc_data::sampling::loader::{Counts, Loader};
use sc_data::sampling::sampler::{Blocks, block_shuffled, shuffled};
use sc_data::{CsrMatrix, H5ad, MatrixSlot};

const MINIBATCH: usize = 512;
/// Cells of one read of a scan.
const SCAN: usize = 2048;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut case = String::new();
    let (mut file, mut store) = (PathBuf::new(), None);
    let (mut threads, mut limit) = (2, usize::MAX);
    let mut args = std::env::args().skip(1);
    let mut place = 0;
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or("a value is missing");
        match &arg[..] {
            "--store" => store = Some(PathBuf::from(value()?)),
            "--threads" => threads = value()?.parse()?,
            "--cells" => limit = value()?.parse()?,
            _ if place == 0 => (case, place) = (arg, 1),
            _ => file = arg.into(),
        }
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()?;
    let open = || -> Result<CountsReader> {
        let store = CellStore::of(&H5ad::open(&file)?, MatrixSlot::X)?;
        Ok(CountsReader::new(store))
    };
    let packed = || -> Result<RowStore> { Ok(RowStore::open(store.as_deref().ok_or("--store")?)?) };
    let started = Instant::now();
    let (cells, entries, seconds) = match &case[..] {
        "store" => epoch(
            Arc::new(open()?.with_packed(packed()?)?),
            limit,
            Order::Blocks,
        )?,
        "h5ad" => epoch(Arc::new(open()?), limit, Order::Blocks)?,
        "random" => epoch(Arc::new(open()?), limit, Order::Anywhere)?,
        "random-store" => {
            let counts = open()?.with_packed(packed()?)?;
            epoch(Arc::new(counts), limit, Order::Anywhere)?
        }
        "scan" => {
            let counts = open()?;
            let (mut cells, mut entries) = (0, 0);
            let mut out = CsrMatrix::default();
            let started = Instant::now();
            for first in (0..counts.cells()).step_by(SCAN) {
                let rows: Vec<usize> = (first..counts.cells().min(first + SCAN)).collect();
                counts.read_into(&rows, &mut out)?;
                (cells, entries) = (cells + out.rows(), entries + out.nnz());
            }
            (cells, entries, started.elapsed().as_secs_f64())
        }
        "inflate" => inflate(&file)?,
        "pack" => {
            let counts = open()?;
            let from = PackedFrom {
                hash: String::new(),
                slot: "X".into(),
                written_by: "bench".into(),
            };
            let to = store.as_deref().ok_or("--store")?;
            pack(&counts, to, &from, |_| {})?;
            let seconds = started.elapsed().as_secs_f64();
            (
                counts.cells(),
                RowStore::open(to)?.entries() as usize,
                seconds,
            )
        }
        other => return Err(format!("unknown case '{other}'").into()),
    };
    println!(
        "{}",
        serde_json::json!({
            "case": case, "cells": cells, "entries": entries, "seconds": seconds,
            "cells_per_s": cells as f64 / seconds, "peak_memory_bytes": sc_data::memory::peak(),
            "threads": threads,
        })
    );
    Ok(())
}

enum Order {
    Blocks,
    Anywhere,
}

/// One epoch, or `limit` cells of it; every value is read as a consumer would.
fn epoch(counts: Arc<dyn Counts>, limit: usize, order: Order) -> Result<(usize, usize, f64)> {
    let rows: Vec<usize> = (0..counts.cells()).collect();
    let blocks = Blocks::default();
    let (mut minibatches, mixed) = match order {
        Order::Blocks => (
            block_shuffled(&rows, blocks, MINIBATCH, 1, 0),
            Some(blocks.window),
        ),
        Order::Anywhere => (shuffled(&rows, MINIBATCH, 1, 0), None),
    };
    minibatches.truncate(limit.div_ceil(MINIBATCH));
    let started = Instant::now();
    let mut loader = Loader::start(counts, minibatches, mixed, 4);
    let mut out = CsrMatrix::default();
    let (mut cells, mut entries) = (0, 0);
    while let Some(read) = loader.next_into(&mut out) {
        read?;
        (cells, entries) = (cells + out.rows(), entries + out.nnz());
    }
    Ok((cells, entries, started.elapsed().as_secs_f64()))
}

/// Time of libdeflate alone for decompressing both arrays, the chunks divided among threads.
fn inflate(file: &std::path::Path) -> Result<(usize, usize, f64)> {
    let h5ad = H5ad::open(file)?;
    let raw = File::open(file)?;
    let started = Instant::now();
    for name in ["X/indices", "X/data"] {
        let extents = h5ad.source().extents(name)?.ok_or("not simple enough")?;
        let unpacked = extents.chunk as usize * extents.width;
        extents.pieces.par_iter().for_each_init(
            || {
                (
                    libdeflater::Decompressor::new(),
                    vec![0; unpacked],
                    Vec::new(),
                )
            },
            |(inflate, out, stored), piece| {
                stored.resize(piece.bytes as usize, 0);
                let read = raw.read_exact_at(stored, piece.offset);
                assert!(read.is_ok() && inflate.zlib_decompress(stored, out).is_ok());
            },
        );
    }
    Ok((h5ad.n_obs(), 0, started.elapsed().as_secs_f64()))
}
