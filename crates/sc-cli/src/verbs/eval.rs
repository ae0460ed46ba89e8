//! `scfm eval`: embeddings of a file against baselines and controls.

use crate::args::Eval;
use crate::error::{Result, at, message};
use crate::progress::Rows;
use crate::verbs::report;
use sc_data::DataError;
use sc_data::io::atomic::write_bytes_atomic;
use sc_data::io::manifest::Manifest;
use sc_data::sampling::split::SavedSplit;
use sc_eval::benchmark::{
    Benchmark, BenchmarkError, Design, EvalData, MethodInfo, MethodOptions, describe, unknown,
};
use sc_eval::protocol::Options;
use sc_eval::report::{csv, summary};
use sc_eval::results::RunResult;
use sc_experiment::run::MAP_CELLS;
use sc_run::evaluate::{FoundEmbedding, HeldOut, embeddings, held_out, score, seen};
use sc_run::reference::reference;

pub(crate) fn run(args: &Eval) -> Result<()> {
    let methods = chosen(args)?;
    let dataset = args.input.open()?;
    let found = embeddings(dataset.file(), &args.obsm)?;
    for (key, why) in &found.left_out {
        eprintln!("obsm['{key}'] is left out: {why}");
    }
    let found = found.usable;
    if found.is_empty() && methods.is_empty() {
        return Err(at(
            &args.input.file,
            "there is nothing to evaluate: it has no obsm['X_…'] of more than two columns, and --methods \
             names no baseline",
        ));
    }
    let design = design(args, &found)?;
    dataset.donors_other_than_labels(&design.donor, &design.label)?;
    let data = EvalData::open(&dataset, &design).map_err(|e| match e {
        // A split that does not fit, which may lie beside another model.
        BenchmarkError::Data(e) => e.in_file(args.split.as_deref().unwrap_or(&args.input.file)),
        BenchmarkError::Eval(e) => DataError::file(&args.input.file, e.to_string()),
        other => DataError::file(&args.input.file, other.to_string()),
    })?;
    args.replace
        .check_folder(&args.output, &[args.input.file.as_path()])?;
    std::fs::create_dir_all(&args.output).map_err(|e| at(&args.output, e))?;
    let config = serde_json::json!({ "obsm": args.obsm, "methods": args.methods,
        "label": design.label, "batch": design.batch, "donor": design.donor,
        "test_fraction": design.test_fraction, "split": design.saved });
    let revision = env!("SCFM_REVISION");
    let manifest = Manifest::new(revision, &data.card.hash, config, (args.seed, "cpu"));
    let options = Options {
        seed: args.seed,
        ..Options::default()
    };
    for warning in &data.card.warnings {
        eprintln!("scfm: {warning}");
    }
    let mut bar = Rows::new(found.len() + methods.len(), "evaluating");
    let (shared, none) = (reference(&data)?, MethodOptions::default());
    let benchmark = Benchmark::with_reference(&data, shared, options, MAP_CELLS, none)?;
    let mut results = Vec::new();
    for embedding in &found {
        bar.next(&embedding.key);
        let (exposure, why) = seen(&data, &dataset, embedding)?;
        if let Some(why) = why {
            eprintln!("{why}");
        }
        let result = score(&benchmark, embedding, exposure, args.seed)?;
        results.push(save(args, result)?);
    }
    for method in methods {
        bar.next(method);
        let (family, about) = describe(method).expect("invariant: the name was checked");
        let info = MethodInfo::new(method, family, about, args.seed);
        results.push(save(args, benchmark.baseline(info, method)?)?);
    }
    bar.finish();
    write_bytes_atomic(&args.output.join("manifest.json"), &manifest.close()?)?;
    write_bytes_atomic(&args.output.join("results.csv"), csv(&results).as_bytes())?;
    let title = format!("Evaluation of {}", data.card.file);
    let page = args.output.join("report.html");
    report::write(&page, &title, &results)?;
    println!("{}", summary(&results));
    println!("report  {}", page.display());
    Ok(())
}

/// Columns and split: as given, or else those of the models in the file.
fn design(args: &Eval, found: &[FoundEmbedding]) -> Result<Design> {
    let columns = &args.columns;
    let usual = Design::default();
    let mut design = Design {
        label: columns.label.clone(),
        batch: columns.batch.clone(),
        donor: columns.donor.clone().unwrap_or(usual.donor),
        test_fraction: columns.test_fraction.unwrap_or(usual.test_fraction),
        seed: args.seed,
        ..usual
    };
    if let Some(saved) = split(args, found)? {
        design.donor = saved.donor.clone();
        design.saved = Some(saved);
    }
    Ok(design)
}

/// The split to score on: as given, or else that of the models.
fn split(args: &Eval, found: &[FoundEmbedding]) -> Result<Option<SavedSplit>> {
    let donor = args.columns.donor.as_ref();
    if let Some(path) = &args.split {
        let saved = SavedSplit::load(path)?;
        return match donor {
            Some(donor) if *donor != saved.donor => Err(at(
                path,
                format!(
                    "it holds out by '{}', but --donor is '{donor}'; remove one of the two",
                    saved.donor
                ),
            )),
            _ => Ok(Some(saved)),
        };
    }
    let held_out = held_out(found);
    let first = found
        .iter()
        .find_map(|e| e.provenance.trained_on.get()?.split.as_ref());
    let other_donor = first.is_some_and(|s| donor.is_some_and(|d| *d != s.donor));
    if args.columns.test_fraction.is_some() || other_donor {
        return Ok(None);
    }
    match held_out {
        HeldOut::Unknown => Ok(None),
        HeldOut::Different => {
            eprintln!(
                "the models of this file held out different cells, so a new split is drawn; choose \
                 one with --split"
            );
            Ok(None)
        }
        HeldOut::Same(saved) => {
            note!(
                "scored on the held-out donors of the model ({} donors of obs['{}']); use \
                 --test-fraction for another split",
                saved.test_donors.len(),
                saved.donor
            );
            Ok(Some(saved))
        }
    }
}

/// The requested baselines and controls, each once.
fn chosen(args: &Eval) -> Result<Vec<&str>> {
    let mut out: Vec<&str> = Vec::new();
    let asked = args.methods.iter().map(|m| m.trim());
    for method in asked.filter(|m| !m.is_empty()) {
        if describe(method).is_none() {
            return Err(message(format!("--methods: {}", unknown(method))));
        }
        if !out.contains(&method) {
            out.push(method);
        }
    }
    Ok(out)
}

/// Writes one result as soon as there is one.
fn save(args: &Eval, result: RunResult) -> Result<RunResult> {
    // Keys that are not valid folder names get a number.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_+".contains(c);
    let mut name: String = result.method.replace(|c| !plain(c), "_");
    if name != result.method {
        let hash = blake3::hash(result.method.as_bytes()).to_hex();
        name.push_str(&format!("-{}", &hash[..6]));
    }
    let folder = args.output.join(name);
    std::fs::create_dir_all(&folder).map_err(|e| at(&folder, e))?;
    write_bytes_atomic(&folder.join("result.json"), &serde_json::to_vec(&result)?)?;
    Ok(result)
}
