//! `scfm finetune`.

use super::pretrain::free_for_training;
use crate::args::{Finetune, StartAt};
use crate::error::{Result, at};
use crate::interrupt;
use crate::progress::Steps;
use crate::verbs::load_model;
use sc_data::Dataset;
use sc_data::dataset::{HoldOut, NO_COLUMN};
use sc_data::sampling::split::{SavedSplit, Split};
use sc_eval::benchmark::Design;
use sc_run::finetune::{Base, Finetuning, Plan, Scores, settings, usual_donor};
use sc_run::memory;
use sc_train::finetune::From;
use sc_train::import::{Files, detect};
use sc_train::pretrain::Watch;
use sc_train::{presets, registry};
use std::path::Path;

pub(crate) fn run(args: &Finetune) -> Result<()> {
    let base = base(&args.model)?;
    let mut spec = settings(base.spec(), &args.label, &args.sets)?;
    if let Some(precision) = args.precision {
        spec.train.precision = precision;
    }
    if let Some(freeze) = args.freeze {
        spec.train.freeze = freeze;
    }
    spec.train.check()?;
    let device = sc_models::device::open(&args.device)?;
    spec.train.precision.check(&device)?;
    let dataset = args.counts.open(&args.files)?;
    let donor = args.donor.clone().unwrap_or_else(|| usual_donor(&dataset));
    let plan = Plan {
        label: args.label.clone(),
        held_out: held_out(args, &dataset, &donor)?,
        donor,
        batch: args.batch.clone(),
        validation: args.validation,
        from: match (args.from, &base) {
            (StartAt::Pretrained, Base::Model(_)) => From::Pretrained,
            _ => From::Scratch,
        },
        matching: args.matching.with_batch(args.batch.as_deref()),
        seed: args.seed,
    };
    let finetuning = Finetuning::new(&dataset, base, spec, plan, &device)?;
    let parameters = finetuning.training.task.parameters(&device)?;
    memory::fits(parameters, memory::TRAINING, &args.device)?;
    print_plan(&finetuning, &dataset, parameters);
    if args.dry_run {
        return Ok(());
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
    let place = (args.output.as_path(), env!("SCFM_REVISION"));
    let done = finetuning.run(&dataset, place, (&args.device, &device), &mut watch);
    steps.finish();
    let (model, scores) = done?;
    print_scores(&scores);
    println!(
        "wrote {}; label cells with: scfm annotate FILE --model {}",
        model.spec.architecture,
        args.output.display()
    );
    Ok(())
}

/// The model in a folder of ours or of a publisher, or the settings of a preset.
fn base(model: &Path) -> Result<Base> {
    let ours = ["training.json", "checkpoints"];
    if ours.iter().any(|name| model.join(name).exists()) {
        return Ok(Base::Model(Box::new(load_model(model)?)));
    }
    if !model.exists() {
        let spec = presets::named(&model.display().to_string(), &[]);
        return spec
            .map(|spec| Base::Settings(Box::new(spec)))
            .map_err(|_| {
                at(
                    model,
                    "is neither a folder nor the name of a preset; see the presets in \
                 docs/src/models.md, such as scgpt-tiny",
                )
            });
    }
    let import = detect(model)
        .and_then(registry::find)
        .and_then(|a| a.import);
    let import = import.ok_or_else(|| {
        at(
            model,
            "is not a model folder, and its files do not tell of which architecture they are; convert them \
             first: scfm convert --from ARCHITECTURE",
        )
    })?;
    let files = Files {
        weights: model.to_path_buf(),
        species: "human".to_owned(),
        ..Files::default()
    };
    let model = import(&files)?;
    model.check(&sc_models::device::open(sc_models::device::DEFAULT)?)?;
    note!(
        "{}: published weights of {}",
        model.file.display(),
        model.spec.architecture
    );
    Ok(Base::Model(Box::new(model)))
}

fn held_out(
    args: &Finetune,
    dataset: &Dataset,
    donor: &str,
) -> Result<Option<(SavedSplit, Split)>> {
    let saved = match &args.split {
        Some(path) => SavedSplit::load(path)?,
        None if args.hold_out => dataset.draw_split(&HoldOut {
            donor: donor.to_owned(),
            label: Some(args.label.clone()),
            batch: args.batch.clone().filter(|b| b != NO_COLUMN),
            test_fraction: args
                .test_fraction
                .unwrap_or(Design::default().test_fraction),
            seed: args.seed,
        })?,
        None => return Ok(None),
    };
    let split = dataset.split(&saved)?;
    Ok(Some((saved, split)))
}

fn print_plan(finetuning: &Finetuning, dataset: &Dataset, parameters: usize) {
    let training = &finetuning.training;
    let (spec, cells) = (&training.model.spec, &finetuning.cells);
    println!(
        "model       {} ({parameters} parameters)",
        spec.architecture
    );
    if let Some(start) = &training.model.start {
        println!(
            "genes       {} of the model's {} are in the file; they hold {:.1} % of its counts",
            start.genes_matched,
            start.genes_of_model,
            100.0 * start.counts_share
        );
        match start.taken {
            0 => println!("weights     drawn from the seed"),
            taken => println!(
                "weights     {taken} tensors taken, {} drawn anew, {} not used",
                start.drawn.len(),
                start.left.len()
            ),
        }
    }
    println!(
        "labels      {}: {}",
        finetuning.labels().len(),
        finetuning.labels().join(", ")
    );
    println!(
        "training    {} of {} cells",
        cells.train.len(),
        dataset.cells()
    );
    let by = match &cells.donors {
        Some(donors) => format!("of {}", donors.join(", ")),
        None => "drawn at random, since there are not two donors to draw from: they resemble the training \
                 cells, so scores and threshold are too good"
            .to_owned(),
    };
    println!("validation  {} cells {by}", cells.validation.len());
    println!(
        "steps       at most {} of {} cells",
        spec.train.steps, spec.train.minibatch
    );
    println!("frozen      {}", spec.train.freeze);
}

fn print_scores(scores: &Scores) {
    let shown = |score: Option<f64>| score.map_or("-".to_owned(), |s| format!("{s:.3}"));
    println!("{:<40} {:>12} {:>12}", "macro-F1", "validation", "held out");
    for score in &scores.scores {
        let (validation, test) = (shown(score.validation_macro_f1), shown(score.test_macro_f1));
        println!("{:<40} {validation:>12} {test:>12}", score.name);
    }
    if let Some(better) = scores.better() {
        println!(
            "the fine-tuned model is no better here than: {}; prefer the simpler one",
            better.name
        );
    }
}
