//! `scfm convert`.

mod weights;

use crate::args::{Convert, ConvertTo};
use crate::error::{Result, at, message};
use crate::outputs::check_ending;
use crate::progress::{Packing, Parts};
use sc_data::Dataset;
use sc_data::dataset::pack_into;
use sc_data::io::formats::file_of;
use sc_data::io::h5ad::{H5ad, to_h5ad};

pub(crate) fn run(args: &Convert) -> Result<()> {
    let input = args.file.as_path();
    if let (Some(from), Some(ConvertTo::Store | ConvertTo::H5ad)) = (&args.weights.from, args.to) {
        return Err(message(format!(
            "--from {from} makes a model of published weights, and --to something else of cells; \
             leave one \
             of them out"
        )));
    }
    match args.to {
        Some(ConvertTo::Store) => {
            check_ending(&args.output, &[".rows"])?;
            args.replace.check(&args.output, &[input])?;
            store(&args.matrix.open(std::slice::from_ref(&args.file))?, args)
        }
        Some(ConvertTo::H5ad) => {
            check_ending(&args.output, &[".h5ad"])?;
            args.replace.check(&args.output, &[input])?;
            h5ad(args)
        }
        Some(ConvertTo::Model) | None => weights::convert(args),
    }
}

fn store(dataset: &Dataset, args: &Convert) -> Result<()> {
    if !dataset.holds_counts() {
        return Err(at(
            &args.file,
            "a store holds raw counts, but these are normalised values",
        ));
    }
    let reader = dataset.parts()[0].reader()?;
    let mut packing = Packing::default();
    let mut packed = |done, of| packing.show(done, of);
    let bytes = pack_into(&reader, &args.output, &dataset.hash()?, &mut packed)?;
    let before = std::fs::metadata(file_of(&args.file)).map_or(0, |m| m.len());
    println!(
        "{} cells, {:.1} MB ({:.0} % of the file)",
        dataset.cells(),
        bytes as f64 / 1e6,
        100.0 * bytes as f64 / before.max(1) as f64
    );
    Ok(())
}

/// The whole content of the file, without checking its values.
fn h5ad(args: &Convert) -> Result<()> {
    let from = &args.matrix;
    if from.counts.is_some() || from.assume_normalized {
        return Err(message(
            "--counts and --assume-normalized select a matrix, but --to h5ad keeps all; remove them",
        ));
    }
    let file = H5ad::open(&args.file)?;
    let bar = Parts::new("converting");
    let done = to_h5ad(&file, &args.output, |done, of| bar.show(done, of));
    bar.finish();
    for what in done? {
        eprintln!("scfm: left out: {what}");
    }
    let matrices: Vec<String> = file.slots().iter().map(ToString::to_string).collect();
    println!(
        "{} cells x {} genes; matrices: {}",
        file.n_obs(),
        file.n_vars(),
        matrices.join(", ")
    );
    Ok(())
}
