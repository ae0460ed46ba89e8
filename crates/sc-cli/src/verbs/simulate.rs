//! `scfm simulate`.

use crate::args::Simulate;
use crate::error::Result;
use crate::outputs::check_ending;
use crate::progress::Cells;
use sc_data::settings;
use sc_data::simulate::{SimConfig, simulate_to_file};
use std::path::{Path, PathBuf};

pub(crate) fn run(args: &Simulate) -> Result<()> {
    check_ending(&args.output, &[".h5ad"])?;
    let config: Vec<&Path> = args.config.iter().map(PathBuf::as_path).collect();
    args.replace.check(&args.output, &config)?;
    let table = match &args.config {
        Some(path) => settings::read(path)?,
        None => toml::Table::new(),
    };
    let table = settings::change(table, &args.sets)?;
    let from = args.config.as_ref().map(|path| path.display().to_string());
    let from = from.unwrap_or_else(|| "simulation".to_owned());
    let mut config: SimConfig = settings::parse(table, &from)?;
    config.cells = args.cells.unwrap_or(config.cells);
    config.genes = args.genes.unwrap_or(config.genes);
    config.seed = args.seed.unwrap_or(config.seed);
    let bar = Cells::new(config.cells, "simulating");
    let mut shown = 0;
    let written = simulate_to_file(&config, &args.output, |done| {
        bar.add(done - shown);
        shown = done;
    });
    bar.finish();
    match &args.config {
        Some(path) => written.map_err(|e| e.in_file(path))?,
        None => written?,
    }
    Ok(())
}
