//! `scfm finetune`.

use super::labels::listed;
use super::pretrain::free_for_training;
use crate::args::{Finetune, StartAt, Task};
use crate::error::{Result, at, message};
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
    let column = column_of(args);
    if args.label.is_some() && args.task.goal().role().is_none() {
        return Err(message(format!(
            "--label {column} is not read for --task {}; leave it out",
            args.task.goal().word()
        )));
    }
    let mut spec = settings(base.spec(), (args.task.goal(), &column), &args.sets)?;
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
    let held_out = held_out(args, &base, &dataset, &donor)?;
    let plan = Plan {
        goal: args.task.goal(),
        column: column.clone(),
        held_out,
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
    warn(&finetuning, &dataset);
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
    let out = args.output.display();
    if args.task == Task::Annotation
        && model
            .calibration
            .as_ref()
            .is_none_or(|c| c.threshold == 0.0)
    {
        eprintln!(
            "warning: too few validation cells were labelled rightly to calibrate a threshold, so annotate will \
             label every cell"
        );
    }
    match args.task {
        Task::Annotation => println!(
            "wrote {}; label cells with: scfm annotate FILE --model {out}{}",
            model.spec.architecture,
            args.batch
                .as_ref()
                .map_or(String::new(), |b| format!(" --batch {b}"))
        ),
        _ => println!("wrote {} in {out}", model.spec.architecture),
    }
    Ok(())
}

/// The column that the task learns from.
pub(crate) fn column_of(args: &Finetune) -> String {
    let usual = match args.task {
        Task::Perturbation => "perturbation".to_owned(),
        _ => Design::default().label,
    };
    args.label.clone().unwrap_or(usual)
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
    base: &Base,
    dataset: &Dataset,
    donor: &str,
) -> Result<Option<(SavedSplit, Split)>> {
    // What the model held out of its own training, it has not seen.
    let of_model = match base {
        Base::Model(model) => model
            .trained
            .as_ref()
            .and_then(|(record, _)| record.split.clone()),
        Base::Settings(_) => None,
    };
    if let (true, None, Some(saved)) = (args.hold_out, args.test_fraction, of_model)
        && let Ok(split) = dataset.split(&saved)
    {
        note!(
            "held out as in the training of the model: {}",
            saved.test_donors.join(", ")
        );
        return Ok(Some((saved, split)));
    }
    let saved = match &args.split {
        Some(path) => SavedSplit::load(path)?,
        None if args.hold_out => dataset.draw_split(&HoldOut {
            donor: donor.to_owned(),
            label: (args.task == Task::Annotation).then(|| column_of(args)),
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

/// Warns of what makes scores wrong.
fn warn(finetuning: &Finetuning, dataset: &Dataset) {
    let training = &finetuning.training;
    let of_cells = [training.empty_cells(), training.repeated_cells()];
    for warning in of_cells.into_iter().flatten() {
        eprintln!("warning: {}: {warning}", dataset.path().display());
    }
    let (held_out, seen) = finetuning.seen;
    if seen > 0 {
        eprintln!(
            "warning: {seen} of the {held_out} held-out cells were in the training of the model, so its scores \
             on them are too good; hold out the same donors there (pretrain --hold-out)"
        );
    }
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
    if !finetuning.labels().is_empty() {
        println!(
            "labels      {}: {}",
            finetuning.labels().len(),
            listed(finetuning.labels())
        );
    }
    println!(
        "training    {} of {} cells",
        cells.train.len(),
        dataset.cells()
    );
    if finetuning.unlabelled > 0 {
        println!(
            "no label    {} cells, which are left out ('unknown' counts as none)",
            finetuning.unlabelled
        );
    }
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
    if let Some((before, (step, best))) = scores.gain() {
        println!(
            "loss on the validation cells: {before:.4} before the first step, {best:.4} after step {step}"
        );
        if step == 0 {
            println!("no step made it lower: the model is no better for this training");
        }
    }
    if scores.scores.is_empty() {
        return;
    }
    let shown = |score: Option<f64>| score.map_or("-".to_owned(), |s| format!("{s:.3}"));
    println!("{:<40} {:>12} {:>12}", "macro-F1", "validation", "held out");
    for score in &scores.scores {
        let (validation, test) = (shown(score.validation_macro_f1), shown(score.test_macro_f1));
        println!("{:<40} {validation:>12} {test:>12}", score.name);
    }
    if let Some(better) = scores.better() {
        println!(
            "the fine-tuned model is no better here than: {}; prefer the simpler one (one split, without an \
             interval)",
            better.name
        );
    }
}
