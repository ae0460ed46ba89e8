//! `cargo xtask bench loader`.

use super::{finish, measured, program};
use crate::error::Error;
use crate::experiment::Profile;
use crate::experiment::build::scfm;
use crate::process::root;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder for the files, which are kept and reused.
    #[arg(long, default_value = "target/bench-loader")]
    dir: PathBuf,
    /// Cells of the simulated file with 20,000 genes, about 1,500 of them expressed per cell.
    #[arg(long, default_value_t = 200_000)]
    cells: usize,
    /// Threads of both sides.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// A Python 3.12 or newer with annbatch, anndata, h5py and zarrs; `none` measures scfm only.
    #[arg(long, default_value = "python3")]
    python: String,
}

/// Result printed by either side.
#[derive(Clone, Debug, Deserialize)]
struct Line {
    cells_per_s: f64,
    peak_memory_bytes: u64,
}

/// The program that runs a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Ours,
    Python,
}

/// One line of the table: name, side, arguments, and the file or folder it reads.
type Case = (&'static str, Side, &'static [&'static str], &'static str);

const CASES: [Case; 11] = [
    (
        "store, blocks",
        Side::Ours,
        &["store", "gzip.h5ad", "--store", "cells.rows"],
        "cells.rows",
    ),
    (
        "store, anywhere",
        Side::Ours,
        &["random-store", "gzip.h5ad", "--store", "cells.rows"],
        "cells.rows",
    ),
    (
        "gzip, blocks",
        Side::Ours,
        &["h5ad", "gzip.h5ad"],
        "gzip.h5ad",
    ),
    (
        "gzip, libdeflate alone",
        Side::Ours,
        &["inflate", "gzip.h5ad"],
        "gzip.h5ad",
    ),
    (
        "gzip, scan",
        Side::Ours,
        &["scan", "gzip.h5ad"],
        "gzip.h5ad",
    ),
    (
        "uncompressed, blocks",
        Side::Ours,
        &["h5ad", "plain.h5ad"],
        "plain.h5ad",
    ),
    (
        "uncompressed, scan",
        Side::Ours,
        &["scan", "plain.h5ad"],
        "plain.h5ad",
    ),
    (
        "annbatch, blocks",
        Side::Python,
        &["annbatch", "gzip.h5ad", "--zarr", "annbatch.zarr"],
        "annbatch.zarr",
    ),
    (
        "anndata gzip, blocks",
        Side::Python,
        &["anndata", "gzip.h5ad", "--cells", "65536"],
        "gzip.h5ad",
    ),
    (
        "h5py gzip, scan",
        Side::Python,
        &["h5py", "gzip.h5ad"],
        "gzip.h5ad",
    ),
    (
        "h5py uncompressed, scan",
        Side::Python,
        &["h5py", "plain.h5ad"],
        "plain.h5ad",
    ),
];

/// Case of scfm, case of the peer, and the target ratio.
const RATIOS: [(&str, &str, f64); 7] = [
    ("store, blocks", "annbatch, blocks", 3.0),
    ("store, blocks", "anndata gzip, blocks", 20.0),
    ("gzip, blocks", "anndata gzip, blocks", 5.0),
    ("gzip, blocks", "gzip, libdeflate alone", 0.7),
    ("uncompressed, blocks", "annbatch, blocks", 1.5),
    ("gzip, scan", "h5py gzip, scan", 2.0),
    ("uncompressed, scan", "h5py uncompressed, scan", 2.0),
];

pub(crate) fn run(args: &Args) -> Result<ExitCode, Error> {
    std::fs::create_dir_all(&args.dir).map_err(Error::io(&args.dir))?;
    let bench = Sides {
        ours: program("loader")?,
        python: args.python.clone(),
        script: root().join("benches/peers/loader.py"),
        dir: std::path::absolute(&args.dir).map_err(Error::io(&args.dir))?,
        threads: args.threads.to_string(),
    };
    bench.prepare(args)?;
    let mut found: BTreeMap<(&str, &str), Line> = BTreeMap::new();
    for cache in ["warm", "cold"] {
        println!("\n{cache} cache, {} threads", args.threads);
        for (name, side, arguments, reads) in CASES {
            if side == Side::Python && args.python == "none" {
                continue;
            }
            match cache {
                "cold" => drop_from_cache(&bench.dir.join(reads)),
                // Earlier cases may have evicted the file from the cache: a first run reads it
                // back.
                _ => {
                    bench.measure(side, arguments)?;
                }
            }
            let line = bench.measure(side, arguments)?;
            println!(
                "  {name:26} {:>9.0} cells/s {:>7.0} MB",
                line.cells_per_s,
                line.peak_memory_bytes as f64 / 1e6
            );
            found.insert((cache, name), line);
        }
        for (ours, theirs, aim) in RATIOS {
            if let Some((a, b)) = found.get(&(cache, ours)).zip(found.get(&(cache, theirs))) {
                let ratio = a.cells_per_s / b.cells_per_s;
                let note = if ratio >= aim { "" } else { ", missed" };
                println!("  {ours} / {theirs}: {ratio:.2} (aim {aim}{note})");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Sides {
    ours: PathBuf,
    python: String,
    script: PathBuf,
    dir: PathBuf,
    threads: String,
}

impl Sides {
    /// Creates missing files.
    fn prepare(&self, args: &Args) -> Result<(), Error> {
        if !self.dir.join("base.h5ad").exists() {
            let mut simulate = Command::new(scfm(Profile::Dev, &[])?);
            simulate.current_dir(&self.dir).args([
                "simulate",
                "-o",
                "base.h5ad",
                "--genes",
                "20000",
            ]);
            simulate.args(["--cells", &args.cells.to_string(), "--set", "density=0.075"]);
            finish(&mut simulate)?;
        }
        if args.python == "none" {
            for copy in ["gzip.h5ad", "plain.h5ad"] {
                let copy = self.dir.join(copy);
                if !copy.exists() {
                    std::fs::copy(self.dir.join("base.h5ad"), &copy).map_err(Error::io(&copy))?;
                }
            }
        } else {
            if !self.dir.join("plain.h5ad").exists() {
                self.measure(Side::Python, &["copies", "base.h5ad"])?;
            }
            if !self.dir.join("annbatch.zarr").exists() {
                self.measure(
                    Side::Python,
                    &["annbatch-make", "gzip.h5ad", "--zarr", "annbatch.zarr"],
                )?;
            }
        }
        self.measure(Side::Ours, &["pack", "gzip.h5ad", "--store", "cells.rows"])?;
        Ok(())
    }

    fn measure(&self, side: Side, arguments: &[&str]) -> Result<Line, Error> {
        let mut command = match side {
            Side::Ours => Command::new(&self.ours),
            Side::Python => {
                let mut command = Command::new(&self.python);
                command.arg(&self.script);
                command
            }
        };
        command
            .current_dir(&self.dir)
            .args(arguments)
            .args(["--threads", &self.threads]);
        measured(&mut command)
    }
}

/// Drops a file, or every file in a folder, from the page cache.
fn drop_from_cache(path: &Path) {
    if let Ok(members) = std::fs::read_dir(path) {
        members.flatten().for_each(|m| drop_from_cache(&m.path()));
        return;
    }
    // GNU dd has the call; without it the figures are those of a warm cache.
    let of = format!("of={}", path.display());
    let flags = [
        "oflag=nocache",
        "conv=notrunc,fdatasync",
        "count=0",
        "status=none",
    ];
    let done = Command::new("dd").arg(of).args(flags).status();
    if !done.is_ok_and(|s| s.success()) {
        eprintln!("{}: could not be dropped from the cache", path.display());
    }
}
