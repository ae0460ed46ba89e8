//! `scfm convert`.

mod weights;

use crate::args::{Convert, ConvertTo};
use crate::error::{Result, at};
use crate::packing;
use crate::progress::Cells;
use crate::source::Source;
use sc_data::atomic::hash_file;
use sc_data::formats::file_of;
use sc_data::h5ad::to_h5ad;

pub(crate) fn run(args: &Convert) -> Result<()> {
    let source = || Source::open(&args.input.file, &args.input.from);
    match args.to {
        Some(ConvertTo::Store) => store(&source()?, args),
        Some(ConvertTo::H5ad) => h5ad(&source()?, args),
        Some(ConvertTo::Model) | None => weights::convert(args),
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
    let before = std::fs::metadata(file_of(&args.input.file)).map_or(0, |m| m.len());
    println!(
        "{} cells, {:.1} MB ({:.0} % of the file)",
        source.cells(),
        bytes as f64 / 1e6,
        100.0 * bytes as f64 / before.max(1) as f64
    );
    Ok(())
}

fn h5ad(source: &Source, args: &Convert) -> Result<()> {
    let bar = Cells::new(source.cells(), "converting");
    let mut shown = 0;
    let done = to_h5ad(source.file(), source.slot(), &args.output, |cells| {
        bar.add(cells - shown);
        shown = cells;
    });
    bar.finish();
    done?;
    println!(
        "{} cells x {} genes, counts from {}",
        source.cells(),
        source.genes.len(),
        source.slot()
    );
    Ok(())
}
