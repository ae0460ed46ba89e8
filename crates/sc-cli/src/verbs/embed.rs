//! `scfm embed`.

use crate::applied::{Applied, Matching, failed};
use crate::args::Embed;
use crate::error::{Result, at, message};
use crate::outputs::{check_ending, with_json};
use crate::progress::Cells;
use crate::source::Source;
use sc_data::atomic::Unfinished;
use sc_data::export::{NpyWriter, ParquetWriter, VectorWriter};
use sc_data::genes::Across;
use sc_data::h5ad::{H5ad, ObsmWriter, WriteTarget, to_h5ad};
use sc_train::TrainError;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Rows read back from the spool at a time.
const ROWS: usize = 4096;

pub(crate) fn run(args: &Embed) -> Result<()> {
    may_write(args)?;
    let device = sc_models::device::open(&args.device)?;
    let how = Matching {
        across: if args.orthologs {
            Across::Orthologs
        } else {
            Across::Same
        },
        min_overlap: args.min_overlap,
        batch: args.batch.as_deref(),
    };
    let applied = Applied::open(&args.model, &args.input, &how)?;
    let provenance = applied.provenance(&args.device);
    let Applied {
        model,
        task,
        source,
        corpus,
        unknown_batches,
    } = applied;
    let architecture = &model.config.spec.architecture;
    let key = args
        .key
        .clone()
        .unwrap_or_else(|| format!("X_{architecture}"));
    may_replace(args, source.file(), &key)?;
    if args.dry_run {
        println!("model   {architecture} ({} dimensions)", task.dims());
        println!(
            "genes   {} of the model's {} are in the file",
            corpus.genes.matched, corpus.genes.vocabulary
        );
        println!("cells   {}, counts from {}", source.cells(), source.slot());
        match &args.output {
            Some(path) => println!("output  {key} in {}", path.display()),
            None => println!("output  obsm['{key}']"),
        }
        return Ok(());
    }
    // Opened before any work is done, so that a read-only folder is told at once.
    let mut writer = writer(args, &source, &key, task.dims(), &provenance)?;
    let mut spool = Spool::new(task.dims())?;
    let bar = Cells::new(source.cells(), "embedding");
    let embedded = task.embed(model.weights, &corpus, &device, &mut |rows, values| {
        bar.add(rows.len());
        spool
            .put(rows, values)
            .map_err(|e| TrainError::Config(spool_failed(&e)))
    });
    bar.finish();
    embedded.map_err(|e| failed(e, &unknown_batches, &model.config.batches))?;
    spool.drain(source.cells(), |values| Ok(writer.push(values)?))?;
    Ok(writer.finish()?)
}

/// Refuses an output of another format, over an input, or over something that is there.
fn may_write(args: &Embed) -> Result<()> {
    let Some(output) = &args.output else {
        return Ok(());
    };
    check_ending(output, &[".h5ad", ".npy", ".parquet"])?;
    let inputs = [args.input.file.as_path()];
    let beside = output
        .extension()
        .filter(|e| e.eq_ignore_ascii_case("npy"))
        .map(|_| with_json(output));
    for output in [Some(output), beside.as_ref()].into_iter().flatten() {
        args.replace.check(output, &inputs)?;
    }
    Ok(())
}

/// Refuses to replace an embedding of the file itself unasked.
fn may_replace(args: &Embed, file: &H5ad, key: &str) -> Result<()> {
    let there = file.obsm_keys().iter().any(|k| k == key);
    if args.in_place && there && !args.replace.allowed() {
        return Err(at(
            file.path(),
            format!(
                "obsm['{key}'] is there already; choose another name with --key, or pass --force to \
                 replace it"
            ),
        ));
    }
    Ok(())
}

/// What the name of the output asks for: a table, an array, or a copy of the file.
fn writer(
    args: &Embed,
    source: &Source,
    key: &str,
    dims: usize,
    provenance: &serde_json::Value,
) -> Result<Box<dyn VectorWriter>> {
    let file = source.file();
    let Some(output) = &args.output else {
        let target = WriteTarget::InPlace;
        let writer = ObsmWriter::create(&args.input.file, &target, key, dims, provenance)?;
        return Ok(Box::new(writer));
    };
    let ending = output
        .extension()
        .map(|e| e.to_string_lossy().to_lowercase());
    Ok(match ending.as_deref() {
        Some("npy") => Box::new(NpyWriter::create(output, source.cells(), dims, provenance)?),
        Some("parquet") => {
            let prefix = format!("{key}_");
            let columns = (prefix.as_str(), dims);
            let cells = file.obs_names()?;
            Box::new(ParquetWriter::create(output, cells, columns, provenance)?)
        }
        _ if file.source().format() == "HDF5" => {
            let target = WriteTarget::Copy(output.clone());
            Box::new(ObsmWriter::create(
                &args.input.file,
                &target,
                key,
                dims,
                provenance,
            )?)
        }
        // Another format is written as .h5ad first, out of sight, and the embedding added to that.
        _ => {
            let folder = output.parent().filter(|p| !p.as_os_str().is_empty());
            let plain = tempfile::Builder::new()
                .prefix(".scfm-")
                .suffix(".h5ad")
                .tempfile_in(folder.unwrap_or(Path::new(".")))
                .map_err(|e| at(output, e))?;
            let _listed = Unfinished::at(plain.path());
            for what in to_h5ad(file, plain.path(), |_, _| {})? {
                eprintln!("scfm: left out: {what}");
            }
            let target = WriteTarget::Copy(output.clone());
            Box::new(ObsmWriter::create(
                plain.path(),
                &target,
                key,
                dims,
                provenance,
            )?)
        }
    })
}

/// Vectors by row in a temporary file: minibatches come in the model's order, the output wants the
/// file's, and memory must not grow with the number of cells.
struct Spool {
    file: File,
    dims: usize,
}

fn spool_failed(error: &std::io::Error) -> String {
    format!(
        "{}: the temporary file for the embedding: {error}; make room there, or name another folder in \
         TMPDIR",
        std::env::temp_dir().display()
    )
}

impl Spool {
    fn new(dims: usize) -> Result<Self> {
        let folder = std::env::temp_dir();
        let file = tempfile::tempfile_in(&folder).map_err(|e| at(&folder, e))?;
        Ok(Self { file, dims })
    }

    fn put(&mut self, rows: &[usize], values: &[f32]) -> std::io::Result<()> {
        for (row, vector) in rows.iter().zip(values.chunks_exact(self.dims)) {
            let bytes: Vec<u8> = vector.iter().flat_map(|v| v.to_le_bytes()).collect();
            self.file
                .seek(SeekFrom::Start((row * self.dims * 4) as u64))?;
            self.file.write_all(&bytes)?;
        }
        Ok(())
    }

    fn drain(mut self, rows: usize, mut push: impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(self.file);
        for first in (0..rows).step_by(ROWS) {
            let count = ROWS.min(rows - first);
            let mut bytes = vec![0; count * self.dims * 4];
            reader
                .read_exact(&mut bytes)
                .map_err(|e| message(spool_failed(&e)))?;
            let values: Vec<f32> = bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect();
            push(&values)?;
        }
        Ok(())
    }
}
