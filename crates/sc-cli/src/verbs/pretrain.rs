//! `scfm pretrain`.

use crate::args::{HoldOut, Pretrain};
use crate::error::{Result, at, message};
use crate::interrupt;
use crate::progress::{Packing, Steps};
use sc_data::Dataset;
use sc_data::dataset::{self, NO_COLUMN, Validation};
use sc_data::identity::CellKeys;
use sc_data::sampling::split::{SavedSplit, Split};
use sc_data::settings;
use sc_eval::benchmark::Design;
use sc_run::execute::not_packed;
use sc_run::finetune::usual_donor;
use sc_run::memory;
use sc_train::pretrain::{Pretraining, TrainingCells, Watch};
use sc_train::{ModelSpec, presets};
use std::collections::BTreeMap;
use std::path::Path;

/// The held-out cells, by name and by row.
type HeldOut = Option<(SavedSplit, Split)>;

pub(crate) fn run(args: &Pretrain) -> Result<()> {
    let table = presets::read(&args.config, &args.sets)?;
    let mut spec: ModelSpec = settings::parse(table, &args.config.display().to_string())?;
    if let Some(precision) = args.precision {
        spec.train.precision = precision;
    }
    spec.train.check()?;
    let device = sc_models::device::open(&args.device)?;
    spec.train.precision.check(&device)?;
    let mut dataset = args.from.open(&args.files)?;
    let reads = spec.train.steps.saturating_mul(spec.train.minibatch as u64);
    if !args.dry_run {
        let mut packing = Packing::default();
        let packed = |done, of| packing.show(done, of);
        if let Some(why) = dataset.prepare(&args.store, reads, packed)? {
            eprintln!("scfm: {}", not_packed(&why));
        }
    }
    let batch = args.batch.as_deref();
    let held_out = held_out(&dataset, &args.hold_out, batch, args.seed)?;
    let rows: Vec<usize> = match &held_out {
        Some((_, split)) => split.train.clone(),
        None => (0..dataset.cells()).collect(),
    };
    let chosen = validation(args, &dataset, rows)?;
    let chosen_on = chosen.validation.len();
    let cells = TrainingCells {
        rows: chosen.train,
        validation: chosen.validation,
        batches: dataset.batches(batch)?,
        // They need a pass over the counts, which is skipped for a plan.
        keys: match args.dry_run {
            true => CellKeys::default(),
            false => dataset.cell_keys()?,
        },
    };
    let training = Pretraining::new(&dataset, spec, cells, &BTreeMap::new(), args.seed)?;
    let parameters = training.task.parameters(&device)?;
    if let Some(warning) = training.small_batches() {
        eprintln!("{warning}");
    }
    for warning in [training.empty_cells(), training.repeated_cells()]
        .into_iter()
        .flatten()
    {
        eprintln!("warning: {}: {warning}", dataset.path().display());
    }
    memory::fits(parameters, memory::TRAINING, &args.device)?;
    if args.dry_run {
        print_plan(&training, &dataset, &held_out, parameters);
        return Ok(());
    }
    if let Some(same) = &training.model.same_size {
        note!("{}: {same}", training.model.spec.architecture);
    }
    free_for_training(&args.output)?;
    std::fs::create_dir_all(&args.output).map_err(|e| at(&args.output, e))?;
    let _lock = sc_data::io::atomic::lock_folder(&args.output)?;
    let mut steps = Steps::default();
    let mut watch = Watch {
        stop: interrupt::stop_flag,
        on_step: &mut |report| steps.show(report),
        warn: &|line| eprintln!("warning: {line}"),
    };
    let split = held_out.map(|(saved, _)| saved);
    let place = (args.output.as_path(), env!("SCFM_REVISION"));
    let model = training.finish(&dataset, place, (&args.device, &device), split, &mut watch)?;
    let record = model.trained.as_ref().map(|(record, _)| record);
    let steps = record.map_or(0, |r| r.steps);
    if chosen_on > 0 {
        println!(
            "kept the weights of step {steps}, the best on {chosen_on} validation cells, which are among the cells \
             below"
        );
    }
    println!(
        "trained {} for {steps} steps on {} cells; {parameters} parameters, {} genes, in {}",
        model.spec.architecture,
        record.map_or(0, |r| r.cells),
        model.data.genes.len(),
        args.output.display()
    );
    Ok(())
}

fn print_plan(training: &Pretraining, dataset: &Dataset, held_out: &HeldOut, parameters: usize) {
    let spec = &training.model.spec;
    println!(
        "model       {} ({parameters} parameters)",
        spec.architecture
    );
    if let Some(same) = &training.model.same_size {
        println!("size        {same}");
    }
    println!(
        "vocabulary  {} of the file's {} genes",
        training.model.data.genes.len(),
        dataset.genes().len()
    );
    println!(
        "cells       {} in {} batches, counts from {}",
        training.corpus.rows.len(),
        training.model.data.batches.len(),
        dataset.slot()
    );
    if let Some((saved, split)) = held_out {
        let of = match saved.is_by_cell() {
            true => "at random within labels".into(),
            false => format!("of {} {}", saved.donor, saved.test_donors.join(", ")),
        };
        println!("held out    {} cells {of}", split.test.len());
    }
    println!(
        "steps       {} of {} cells",
        spec.train.steps, spec.train.minibatch
    );
    println!("precision   {}", spec.train.precision);
    println!(
        "memory      {:.0} MB for weights and optimiser",
        parameters as f64 * memory::TRAINING as f64 / 1e6
    );
}

/// The cells to train on and those to choose the best step on, of `rows`.
fn validation(args: &Pretrain, dataset: &Dataset, rows: Vec<usize>) -> Result<Validation> {
    let Some(share) = args.validation else {
        return match args.hold_out.donor.is_some() && !args.hold_out.hold_out {
            true => Err(message(
                "--donor needs --hold-out or --validation, which hold out donors",
            )),
            false => Ok(Validation {
                train: rows,
                ..Validation::default()
            }),
        };
    };
    let how = dataset::HoldOut {
        donor: args
            .hold_out
            .donor
            .clone()
            .unwrap_or_else(|| usual_donor(dataset)),
        label: None,
        batch: None,
        test_fraction: share,
        seed: args.seed,
    };
    let chosen = dataset.draw_validation(&rows, &how)?;
    match &chosen.donors {
        Some(donors) => note!("validation on {}", donors.join(", ")),
        None => note!("validation on {} cells at random", chosen.validation.len()),
    }
    Ok(chosen)
}

/// The split that was asked for; none where all cells are trained on.
fn held_out(dataset: &Dataset, how: &HoldOut, batch: Option<&str>, seed: u64) -> Result<HeldOut> {
    let saved = match &how.split {
        Some(path) => SavedSplit::load(path)?,
        None if how.hold_out => {
            let usual = Design::default();
            let named = |given: &Option<String>, usual: String| {
                Some(given.clone().unwrap_or(usual)).filter(|c| c != NO_COLUMN)
            };
            dataset.draw_split(&dataset::HoldOut {
                donor: how.donor.clone().unwrap_or(usual.donor),
                label: named(&how.label, usual.label),
                batch: named(&batch.map(str::to_owned), usual.batch),
                test_fraction: how.test_fraction.unwrap_or(usual.test_fraction),
                seed,
            })?
        }
        None => return Ok(None),
    };
    // A drawn split is applied as a saved one is: what the file says is what was done.
    let place = how.split.as_deref().unwrap_or(dataset.path());
    let split = dataset.split(&saved).map_err(|e| match e {
        sc_data::DataError::Invalid(what) => at(place, what),
        other => other.into(),
    })?;
    Ok(Some((saved, split)))
}

/// Refuses a folder that holds a model of which no checkpoint says that it is this one: it would be
/// replaced. Checkpoints say themselves whose they are.
pub(super) fn free_for_training(folder: &Path) -> Result<()> {
    if folder.exists() && !folder.is_dir() {
        return Err(at(folder, "is a file; -o must be a folder"));
    }
    let there = ["config.json", "model.safetensors"];
    let other = there.iter().find(|name| folder.join(name).exists());
    match other.filter(|_| !folder.join("checkpoints").is_dir()) {
        None => Ok(()),
        Some(name) => Err(at(
            folder,
            format!(
                "has a {name}, which training would replace; choose another folder (-o), or remove \
                 it first"
            ),
        )),
    }
}
