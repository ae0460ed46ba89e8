//! The step loop.

use crate::error::{Result, TrainError};
use crate::inputs::corpus::Corpus;
use crate::task::Task;
use crate::training::adamw::AdamW;
use crate::training::checkpoint::{self, State};
use crate::training::config::TrainConfig;
use crate::training::events::Events;
use crate::training::speed::Speed;
use crate::training::step::{self, Numbers, Step, Unread};
use crate::training::timing::Work;
use crate::training::validation::{Search, Validated};
use burn::tensor::Device;
use sc_models::device::is_host;
use sc_models::weights::{self, Tensors};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

/// Minibatches prepared ahead.
const AHEAD: usize = 2;

/// One training run.
pub struct Run<'a> {
    /// The cells.
    pub corpus: &'a Corpus,
    /// Settings.
    pub config: &'a TrainConfig,
    /// Seed of every random stream.
    pub seed: u64,
    /// Hash of everything that must not change between start and resumption.
    pub fingerprint: &'a str,
    /// Folder for `train.jsonl` and `checkpoints/`.
    pub folder: &'a Path,
    /// Device to train on, with autodiff.
    pub device: &'a Device,
    /// Set from outside to stop after the current step.
    pub stop: &'a AtomicBool,
    /// Called with warnings for the user.
    pub warn: &'a (dyn Fn(&str) + Sync),
    /// Cells on which the best step is chosen; the last step is kept without them.
    pub validation: Option<&'a Corpus>,
    /// The weights to start from; those drawn from the task's seed without them.
    pub start: Option<&'a Start>,
}

/// Weights of another model to start from.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// All weights of the network, by published name.
    pub weights: Tensors,
    /// Names of those that training leaves as they are.
    pub frozen: BTreeSet<String>,
}

/// Report on a step.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Step, from 1.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Loss terms; the first is the total.
    pub losses: Vec<(&'static str, f64)>,
    /// Learning rate.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Cells in the minibatch.
    pub cells: usize,
    /// Seconds the step took, waiting for data included.
    pub seconds: f64,
}

/// Result of a run.
pub struct Trained<M> {
    /// The network.
    pub model: M,
    /// Steps done.
    pub steps: u64,
    /// Whether it was stopped before its last step.
    pub interrupted: bool,
    /// Losses on the validation cells since the start or the resumption.
    pub validated: Vec<Validated>,
}

/// Trains `task`, resuming from the newest checkpoint in the run's folder if there is one.
///
/// # Errors
/// Invalid settings, unreadable data, a full disk, or [`TrainError::Diverged`].
pub fn train<T: Task>(
    task: &T,
    run: &Run<'_>,
    mut on_step: impl FnMut(&StepReport),
) -> Result<Trained<T::Model>> {
    run.config.check()?;
    run.config.precision.check(&inner(run.device))?;
    if run.corpus.rows.is_empty() {
        return Err(TrainError::Config("there are no cells to train on".into()));
    }
    let checkpoints = run.folder.join("checkpoints");
    fs::create_dir_all(&checkpoints)
        .map_err(|e| TrainError::file(&checkpoints, format!("cannot create the folder: {e}")))?;
    let mut model = match run.start {
        None => task.build(run.device)?,
        Some(start) => {
            let model = task.empty(run.device)?;
            let model = weights::load(model, start.weights.clone(), &task.names())?;
            weights::freeze(model, &task.names(), &start.frozen)
        }
    };
    let mut optimiser = AdamW::default();
    let mut done = 0;
    let fits = |tensors: &Tensors| Ok(weights::check(&model, tensors, &task.names())?);
    let (restored, damaged) =
        checkpoint::latest(&checkpoints, run.fingerprint, fits, &inner(run.device))?;
    damaged.iter().for_each(|line| (run.warn)(line));
    if let Some(restored) = restored {
        let step = restored.state.step;
        if step > run.config.steps {
            return Err(TrainError::Config(format!(
                "train.steps = {}, but {} has a checkpoint of step {step}; raise it, or choose another output \
                 folder",
                run.config.steps,
                checkpoints.display()
            )));
        }
        tracing::info!(step, "resuming from a checkpoint");
        model = weights::load(model, restored.model, &task.names())?;
        optimiser = restored.optimiser;
        done = restored.state.step;
    }
    let mut log = open_log(&run.folder.join("train.jsonl"), done)?;
    let mut events = Events::create(run.folder, done)?;
    let per_epoch = task.minibatches(run.corpus, run.config.minibatch, 0)?.len() as u64;
    let mut interrupted = false;
    let mut search = Search::resume(run, &checkpoints, done);
    let mut validated = Vec::new();
    let speed = Speed::begin();

    let model = std::thread::scope(|scope| {
        let mut model = model;
        let (send, receive) = sync_channel(AHEAD);
        let first = done + 1;
        scope.spawn(move || produce(task, run, first, per_epoch, &send));
        let receive: Receiver<Result<(T::Input, usize)>> = receive;
        let mut telling = Telling {
            run,
            checkpoints: &checkpoints,
            log: &mut log,
            events: &mut events,
            on_step: &mut on_step,
            last: Instant::now(),
        };
        // A device that computes beside this thread gets a step before the numbers of the one
        // before are read, so that it never waits.
        let beside = !is_host(run.device);
        let mut untold: Option<Untold> = None;
        if let (0, Some(search)) = (done, &mut search) {
            validated.push(search.validate(task, &model, run, 0)?);
            telling.validated(validated.last())?;
        }
        for step in first..=run.config.steps {
            if search.as_ref().is_some_and(|s| s.over(done)) {
                tracing::info!(step = done, "stopped early");
                break;
            }
            let Ok(input) = receive.recv() else { break };
            let (input, cells) = input?;
            let this = Step {
                number: step,
                seed: run.seed,
                config: run.config,
                device: run.device,
            };
            let stepped = step::step(task, model, &mut optimiser, input, &this)?;
            model = stepped.model;
            done = step;
            let now = Untold {
                step,
                cells,
                unread: stepped.unread,
            };
            if let Some(before) = untold.replace(now) {
                telling.tell(before)?;
            }
            let validate = search.as_mut().filter(|s| s.due(step, run.config.steps));
            let due = step % run.config.checkpoint_every == 0 || step == run.config.steps;
            if !beside || due || validate.is_some() {
                untold.take().map_or(Ok(()), |now| telling.tell(now))?;
            }
            let mut over = false;
            if let Some(search) = validate {
                validated.push(search.validate(task, &model, run, step)?);
                telling.validated(validated.last())?;
                over = search.over(step);
            }
            interrupted = run.stop.load(Ordering::Relaxed) && step < run.config.steps;
            if due || interrupted || over {
                untold.take().map_or(Ok(()), |now| telling.tell(now))?;
                let state = State {
                    step,
                    epoch: step / per_epoch,
                    position: step % per_epoch,
                    learning_rate: run.config.learning_rate_at(step),
                    seed: run.seed,
                    fingerprint: run.fingerprint.to_string(),
                };
                let tensors = weights::tensors(&model, &task.names());
                checkpoint::save(&checkpoints, &state, &tensors, &optimiser)?;
                tracing::info!(step, epoch = state.epoch, "wrote a checkpoint");
                // Writing is not part of the next step.
                telling.last = Instant::now();
            }
            if interrupted {
                break;
            }
        }
        Ok::<_, TrainError>(model)
    })?;
    speed.tell(Work::Train, &inner(run.device));
    // The weights of the best step, unless there is more to train.
    let (model, done) = match search.and_then(|s| s.best).filter(|_| !interrupted) {
        Some((best, weights)) => (weights::load(model, weights, &task.names())?, best.step),
        None => (model, done),
    };
    Ok(Trained {
        model,
        steps: done,
        interrupted,
        validated,
    })
}

/// A step whose numbers are not read yet.
struct Untold {
    step: u64,
    cells: usize,
    unread: Unread,
}

/// Where the numbers of a step go.
struct Telling<'a> {
    run: &'a Run<'a>,
    checkpoints: &'a Path,
    log: &'a mut File,
    events: &'a mut Events,
    on_step: &'a mut dyn FnMut(&StepReport),
    /// When the last step was told.
    last: Instant,
}

impl Telling<'_> {
    /// Tells the log of losses on the validation cells.
    fn validated(&mut self, now: Option<&Validated>) -> Result<()> {
        if let Some(Validated {
            step,
            losses,
            criterion,
        }) = now
        {
            let line = json!({
                "step": step,
                "validation": by_name(losses),
                "criterion": criterion,
            });
            write_line(self.log, self.run.folder, &line)?;
            self.events
                .scalars(*step, "validation", losses.iter().copied())?;
        }
        // It is not part of the next step.
        self.last = Instant::now();
        Ok(())
    }

    /// Reads the numbers of a step, refuses what is not finite, and tells the log and the caller.
    fn tell(&mut self, untold: Untold) -> Result<()> {
        let Untold {
            step,
            cells,
            unread,
        } = untold;
        let Numbers {
            losses,
            gradient_norm,
            left_out,
        } = unread.read();
        let config = self.run.config;
        let diverged = |term: &str, value: f64| TrainError::Diverged {
            step,
            term: term.to_string(),
            value,
            learning_rate: config.learning_rate,
            checkpoint: checkpoint::newest(self.checkpoints),
        };
        if let Some((name, value)) = losses.iter().rev().find(|(_, v)| !v.is_finite()) {
            return Err(diverged(name, *value));
        }
        if !gradient_norm.is_finite() {
            if !left_out {
                return Err(diverged("gradient", gradient_norm));
            }
            tracing::warn!(
                step,
                "the gradient left the range of f16: the step was left out, and the next one \
                 scales its loss less"
            );
        }
        let report = StepReport {
            step,
            steps: config.steps,
            losses,
            learning_rate: config.learning_rate_at(step),
            gradient_norm,
            cells,
            seconds: self.last.elapsed().as_secs_f64(),
        };
        self.last = Instant::now();
        write_log(self.log, self.run.folder, &report)?;
        let others = [
            ("learning_rate", report.learning_rate),
            ("gradient_norm", report.gradient_norm),
        ];
        let all = report.losses.iter().copied().chain(others);
        self.events.scalars(step, "train", all)?;
        (self.on_step)(&report);
        Ok(())
    }
}

/// Reads and prepares minibatches ahead of the steps, in order.
fn produce<T: Task>(
    task: &T,
    run: &Run<'_>,
    first: u64,
    per_epoch: u64,
    send: &SyncSender<Result<(T::Input, usize)>>,
) {
    let mut at = first - 1;
    while at < run.config.steps {
        let epoch = at / per_epoch;
        let minibatches = match task.minibatches(run.corpus, run.config.minibatch, epoch) {
            Ok(minibatches) => minibatches,
            Err(e) => {
                let _ = send.send(Err(e));
                return;
            }
        };
        tracing::debug!(epoch, minibatches = minibatches.len(), "epoch begins");
        let left = (run.config.steps - epoch * per_epoch).min(per_epoch);
        let due = &minibatches[(at % per_epoch) as usize..left as usize];
        for (rows, cells) in due.iter().zip(run.corpus.stream(due, run.corpus.mixed())) {
            let input = cells.and_then(|cells| task.prepare(cells, epoch));
            let input = input.map(|input| (input, rows.len()));
            let failed = input.is_err();
            // The receiver is dropped when training stops.
            if send.send(input).is_err() || failed {
                return;
            }
            at += 1;
        }
    }
}

fn inner(device: &Device) -> Device {
    device.clone().without_autodiff()
}

/// Opens the log for appending, after removing lines of steps that will be repeated.
fn open_log(path: &Path, done: u64) -> Result<File> {
    let fail = |e: std::io::Error| TrainError::file(path, format!("cannot write the log: {e}"));
    let mut kept = Vec::new();
    if let Ok(file) = File::open(path) {
        for line in BufReader::new(file).lines().map_while(|l| l.ok()) {
            // Losses before the first step are logged again.
            let step = serde_json::from_str::<serde_json::Value>(&line)
                .ok()
                .and_then(|v| v.get("step").and_then(serde_json::Value::as_u64));
            if step.is_some_and(|s| s <= done && done > 0) {
                kept.extend_from_slice(line.as_bytes());
                kept.push(b'\n');
            }
        }
    }
    fs::write(path, kept).map_err(fail)?;
    OpenOptions::new().append(true).open(path).map_err(fail)
}

fn by_name(losses: &[(&'static str, f64)]) -> serde_json::Map<String, serde_json::Value> {
    let pairs = losses.iter().map(|(n, v)| ((*n).to_string(), json!(v)));
    pairs.collect()
}

fn write_log(log: &mut File, folder: &Path, report: &StepReport) -> Result<()> {
    let line = json!({
        "step": report.step,
        "losses": by_name(&report.losses),
        "learning_rate": report.learning_rate,
        "gradient_norm": report.gradient_norm,
        "cells": report.cells,
        "seconds": report.seconds,
    });
    write_line(log, folder, &line)
}

fn write_line(log: &mut File, folder: &Path, line: &serde_json::Value) -> Result<()> {
    writeln!(log, "{line}").map_err(|e| {
        TrainError::file(
            folder.join("train.jsonl"),
            format!("cannot write the log: {e}"),
        )
    })
}

/// Reads the steps and losses on validation cells, those by which the best step is chosen, of a
/// `train.jsonl`.
///
/// # Errors
/// [`TrainError::File`] when the file cannot be read.
pub fn read_validation(path: &Path) -> Result<Vec<(u64, f64)>> {
    let text = fs::read_to_string(path).map_err(|e| TrainError::file(path, e))?;
    let point = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let criterion = value.get("criterion")?.as_str()?;
        let loss = value.get("validation")?.get(criterion)?.as_f64()?;
        Some((value.get("step")?.as_u64()?, loss))
    };
    Ok(text.lines().filter_map(point).collect())
}

/// Loss terms of a step, by name.
pub type LossTerms = BTreeMap<String, f64>;

/// Reads the steps and losses of a `train.jsonl`.
///
/// # Errors
/// [`TrainError::File`] when the file cannot be read.
pub fn read_log(path: &Path) -> Result<Vec<(u64, LossTerms)>> {
    let text = fs::read_to_string(path).map_err(|e| TrainError::file(path, e))?;
    let point = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let losses = value.get("losses")?.as_object()?;
        let losses = losses
            .iter()
            .filter_map(|(k, v)| Some((k.clone(), v.as_f64()?)))
            .collect();
        Some((value.get("step")?.as_u64()?, losses))
    };
    Ok(text.lines().filter_map(point).collect())
}
