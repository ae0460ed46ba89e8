//! `scfm eval`: embeddings of a file against baselines and controls.

use crate::args::Eval;
use crate::error::{Result, at, message};
use crate::manifest::Manifest;
use crate::methods::{Bench, Picture, Who, cost, describe};
use crate::study::{Design, Study};
use crate::verbs::report;
use sc_data::atomic::write_bytes_atomic;
use sc_eval::protocol::Options;
use sc_eval::results::{Family, RunResult};

/// Cells of a picture.
const MAP_CELLS: usize = 2000;

pub(crate) fn run(args: &Eval) -> Result<()> {
    std::fs::create_dir_all(&args.output).map_err(|e| at(&args.output, e))?;
    let columns = &args.columns;
    let design = Design {
        label: columns.label.clone(),
        batch: columns.batch.clone(),
        donor: columns.donor.clone(),
        test_fraction: columns.test_fraction,
        test_donors: None,
        seed: args.seed,
    };
    let study = Study::open(&args.input, &design)?;
    let config = serde_json::json!({ "obsm": args.obsm, "methods": args.methods,
        "label": design.label, "batch": design.batch, "donor": design.donor,
        "test_fraction": design.test_fraction, "bootstrap": args.bootstrap });
    let manifest = Manifest::new(&study.card.hash, config, args.seed, "cpu");
    let options = Options {
        replicates: args.bootstrap,
        seed: args.seed,
        ..Options::default()
    };
    let bench = Bench::new(&study, options, Picture::Umap(MAP_CELLS))?;
    let mut results = Vec::new();
    for key in embeddings(args, &study)? {
        let embedding = study.source.file().embedding(&key)?;
        let who = who(
            &key,
            Family::Model,
            "an embedding found in the file",
            args.seed,
        );
        let cost = cost(0.0, 0.0, 0.0, 0, 0);
        results.push(bench.embedding(who, embedding.view(), &study.dataset, cost, Vec::new())?);
    }
    for method in &args.methods {
        let (family, text) = describe(method).unwrap_or((Family::Baseline, ""));
        results.push(bench.simple(who(method, family, text, args.seed), method)?);
    }
    for result in &results {
        save(args, result)?;
    }
    write_bytes_atomic(&args.output.join("manifest.json"), &manifest.close()?)?;
    let page = args.output.join("report.html");
    report::write(
        &page,
        &format!("Evaluation of {}", study.card.file),
        &results,
    )?;
    println!("{}", page.display());
    Ok(())
}

fn embeddings(args: &Eval, study: &Study) -> Result<Vec<String>> {
    let keys = study.source.file().obsm_keys();
    if args.obsm.is_empty() {
        let mut found = Vec::new();
        for key in keys.iter().filter(|k| k.starts_with("X_")) {
            match study.source.file().embedding(key) {
                // Pictures are not embeddings.
                Ok(values) if values.ncols() > 2 => found.push(key.clone()),
                Ok(_) => {}
                Err(e) => eprintln!("scfm: left out: {e}"),
            }
        }
        return Ok(found);
    }
    for key in &args.obsm {
        if !keys.contains(key) {
            return Err(message(format!(
                "--obsm: {} has no obsm['{key}']; it has: {}",
                args.input.file.display(),
                keys.join(", ")
            )));
        }
    }
    Ok(args.obsm.clone())
}

fn who(method: &str, family: Family, description: &str, seed: u64) -> Who {
    Who {
        method: method.to_string(),
        family,
        description: description.to_string(),
        objective: None,
        seed,
        device: "cpu".into(),
    }
}

fn save(args: &Eval, result: &RunResult) -> Result<()> {
    let folder = args.output.join(&result.method);
    std::fs::create_dir_all(&folder).map_err(|e| at(&folder, e))?;
    Ok(write_bytes_atomic(
        &folder.join("result.json"),
        &serde_json::to_vec(result)?,
    )?)
}
