//! `scfm embed`.

use crate::args::Embed;
use crate::error::{Result, at, message};
use crate::folder;
use crate::progress::Cells;
use crate::source::Source;
use crate::training::corpus;
use sc_data::genes::{Vocabulary, match_file};
use sc_data::h5ad::{ObsmWriter, WriteTarget};
use sc_train::TrainError;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};

/// Rows read back from the spool at a time.
const ROWS: usize = 4096;

pub(crate) fn run(args: &Embed) -> Result<()> {
    let model = folder::read(&args.model)?;
    let device = sc_models::device::open(&args.device)?;
    let source = Source::open(&args.input.file, &args.input.from)?;
    let vocabulary = Vocabulary::new(model.genes.clone())?;
    let slot = source.slot();
    let genes = match_file(source.file(), slot, &vocabulary)?;
    let (codes, _) = source.batches(args.batch.as_deref())?;
    let config = &model.config;
    let task = config
        .spec
        .task(model.genes.len(), config.batches.len(), config.seed)?;
    let key = args
        .key
        .clone()
        .unwrap_or_else(|| format!("X_{}", config.spec.architecture));
    if args.dry_run {
        println!(
            "model   {} ({} dimensions)",
            config.spec.architecture,
            task.dims()
        );
        println!(
            "genes   {} of the model's {} are in the file",
            genes.matched, genes.vocabulary
        );
        println!("cells   {}, counts from {}", source.cells(), source.slot());
        println!("output  obsm['{key}']");
        return Ok(());
    }
    let provenance = serde_json::json!({
        "model": config.spec,
        "weights_blake3": model.hash,
        "genes_matched": genes.matched,
        "genes_of_model": genes.vocabulary,
        "seed": config.seed,
        "device": args.device,
        "counts": source.slot().to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "revision": env!("SCFM_REVISION"),
    });
    let target = match &args.output {
        Some(path) => WriteTarget::Copy(path.clone()),
        None => WriteTarget::InPlace,
    };
    // Opened before any work is done, so that a read-only folder is told at once.
    let mut writer = ObsmWriter::create(&args.input.file, &target, &key, task.dims(), &provenance)?;
    let rows: Vec<usize> = (0..source.cells()).collect();
    let corpus = corpus(&source, genes, codes, rows);
    let mut spool = Spool::new(task.dims())?;
    let bar = Cells::new(source.cells(), "embedding");
    let embedded = task.embed(model.weights, &corpus, &device, &mut |rows, values| {
        bar.add(rows.len());
        spool
            .put(rows, values)
            .map_err(|e| TrainError::Config(format!("temporary file: {e}")))
    });
    bar.finish();
    embedded?;
    spool.drain(source.cells(), |values| Ok(writer.push(values)?))?;
    Ok(writer.finish()?)
}

/// Vectors by row in a temporary file: minibatches come in the model's order, the output wants the
/// file's, and memory must not grow with the number of cells.
struct Spool {
    file: File,
    dims: usize,
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
                .map_err(|e| message(format!("temporary file: {e}")))?;
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
