//! `scfm perturb`.

use crate::args::PerturbArgs;
use crate::error::{Result, message};
use crate::outputs::{check_ending, with_json};
use crate::progress::Cells;
use crate::verbs::load_model;
use sc_data::io::atomic::write_bytes_atomic;
use sc_run::perturb::{Measured, Near, Perturbation, compare, effects, named, perturbs};
use sc_train::embed::Embedder;
use sc_train::perturbation::Effects;
use sc_train::{Model, Role};
use std::fmt::Write as _;

pub(crate) fn run(args: &PerturbArgs) -> Result<()> {
    check_ending(&args.output, &[".tsv"])?;
    for output in [&args.output, &with_json(&args.output)] {
        args.replace
            .check_beside(output, &[&args.input.file], &args.model)?;
    }
    let device = sc_models::device::open(&args.device)?;
    let model = load_model(&args.model)?;
    let how = perturbs(&model).map_err(|e| crate::error::at(&args.model, e))?;
    let dataset = args.input.open()?;
    let of_model = model.spec.obs.get(&Role::Perturbation);
    let column = args
        .column
        .as_ref()
        .or(of_model)
        .cloned()
        .unwrap_or_default();
    if args.column.is_some() && !dataset.has_column(&column) {
        // The error lists the columns.
        dataset.shared_categories(&column)?;
    }
    if !dataset.has_column(&column) {
        note!(
            "{}: obs has no column '{column}', so every cell is taken for a control (--column COLUMN)",
            dataset.path().display()
        );
    }
    let measured = Measured::of(&dataset, &column, how.controls())?;
    let wanted = wanted(args, &model, &measured, how.controls())?;
    let matching = args.matching.with_batch(None);
    let embedder = Embedder::new(model, &dataset, &matching)?;
    let (all, wanted_cells) = (measured.controls.len(), args.cells as usize);
    let rows: Vec<usize> = (0..wanted_cells.min(all))
        .map(|k| measured.controls[k * all / wanted_cells.min(all)])
        .collect();
    if args.dry_run {
        println!("perturbations  {}", wanted.len());
        println!(
            "controls       {} of {} cells",
            rows.len(),
            measured.controls.len()
        );
        let genes = &embedder.corpus.genes;
        println!(
            "genes          {} of the model's {} are in the file",
            genes.matched, genes.vocabulary
        );
        println!("output         {}", args.output.display());
        return Ok(());
    }
    let mut provenance = embedder.provenance(&args.device, env!("SCFM_REVISION"))?;
    let bar = Cells::new(wanted.len(), "predicting");
    let found = effects(&embedder, &*how, &rows, &wanted, &device, &mut || {
        bar.add(1)
    });
    bar.finish();
    let found = found?;
    let near = compare(&embedder, &*how, &measured, &wanted, &found)?;
    provenance["controls"] = rows.len().into();
    provenance["measured"] = serde_json::to_value(&near)?;
    let table = table(&embedder.model, &wanted, &found, args.top);
    write_bytes_atomic(&args.output, table.as_bytes())?;
    write_bytes_atomic(
        &with_json(&args.output),
        &serde_json::to_vec_pretty(&provenance)?,
    )?;
    print(&near);
    println!(
        "predicted {} perturbations of {} control cells; wrote {}",
        wanted.len(),
        rows.len(),
        args.output.display()
    );
    Ok(())
}

/// The perturbations that were asked for, each once.
fn wanted(
    args: &PerturbArgs,
    model: &Model,
    measured: &Measured,
    controls: &[String],
) -> Result<Vec<Perturbation>> {
    let mut names = args.condition.clone();
    if args.screen {
        names.extend(
            model
                .data
                .levels
                .get(&Role::Perturbation)
                .into_iter()
                .flatten()
                .cloned(),
        );
        names.extend(measured.perturbed.iter().map(|(name, _)| name.clone()));
    }
    let mut out: Vec<Perturbation> = Vec::new();
    let mut unknown = Vec::new();
    for name in names {
        match named(&name, model, controls) {
            Ok(Some(found)) if !out.iter().any(|p| p.name == name) => out.push(found),
            Ok(_) => {}
            // A screen has genes that a vocabulary lacks.
            Err(_) if args.screen && unknown.contains(&name) => {}
            Err(_) if args.screen => unknown.push(name),
            Err(e) => return Err(e.into()),
        }
    }
    if !unknown.is_empty() {
        note!(
            "left out, of genes that the model does not have: {}",
            unknown.join(", ")
        );
    }
    match out.is_empty() {
        true => Err(message(
            "no perturbation to predict: give --condition GENE or GENE+GENE",
        )),
        false => Ok(out),
    }
}

fn table(model: &Model, wanted: &[Perturbation], found: &Effects, top: usize) -> String {
    let mut text = String::from("condition\tgene\tcontrol\tpredicted\tchange\n");
    for (perturbation, predicted) in wanted.iter().zip(&found.perturbed) {
        let change = |g: usize| predicted[g] - found.control[g];
        let mut genes: Vec<usize> = (0..predicted.len()).collect();
        genes.sort_by(|&a, &b| change(b).abs().total_cmp(&change(a).abs()).then(a.cmp(&b)));
        let kept = if top == 0 { genes.len() } else { top };
        for g in genes.into_iter().take(kept) {
            let _ = writeln!(
                text,
                "{}\t{}\t{:.5}\t{:.5}\t{:.5}",
                perturbation.name,
                model.data.genes[g],
                found.control[g],
                predicted[g],
                change(g)
            );
        }
    }
    text
}

fn print(near: &[Near]) {
    if near.is_empty() {
        return;
    }
    println!(
        "correlation of the change of expression with the measured one (squared error in brackets: model, no \
         change)"
    );
    let shown = |r: Option<f64>| r.map_or("-".to_owned(), |r| format!("{r:.3}"));
    println!(
        "{:<24} {:>6} {:>8} {:>16} {:>9} {:>12}",
        "perturbation", "cells", "model", "mean of others", "additive", "in training"
    );
    for n in near {
        println!(
            "{:<24} {:>6} {:>8.3} {:>16} {:>9} {:>12} ({:.4}, {:.4})",
            n.name,
            n.cells,
            n.correlation,
            shown(n.others),
            shown(n.additive),
            if n.in_training { "yes" } else { "no" },
            n.squared_error,
            n.no_change
        );
    }
    let beaten = near
        .iter()
        .filter(|n| n.others.is_some_and(|o| o > n.correlation))
        .count();
    if beaten * 2 > near.len() {
        println!(
            "for {beaten} of {} perturbations the mean of all others is nearer to what was measured than the model",
            near.len()
        );
    }
}
