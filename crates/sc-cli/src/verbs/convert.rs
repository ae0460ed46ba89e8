//! `scfm convert`.

use crate::args::{Convert, ConvertTo};
use crate::error::{Result, at};
use crate::packing;
use crate::source::Source;
use sc_data::atomic::hash_file;

pub(crate) fn run(args: &Convert) -> Result<()> {
    let source = Source::open(&args.input.file, &args.input.from)?;
    match args.to {
        ConvertTo::Store => store(&source, args),
    }
}

fn store(source: &Source, args: &Convert) -> Result<()> {
    if !source.holds_counts() {
        return Err(at(
            &args.input.file,
            "a store holds raw counts, and these are normalised values",
        ));
    }
    let hash = hash_file(&args.input.file)?;
    let reader = source.parts[0].reader()?;
    let bytes = packing::write(&reader, &args.output, &hash)?;
    let before = std::fs::metadata(&args.input.file).map_or(0, |m| m.len());
    println!(
        "{} cells, {:.1} MB ({:.0} % of the file)",
        source.cells(),
        bytes as f64 / 1e6,
        100.0 * bytes as f64 / before.max(1) as f64
    );
    Ok(())
}
