//! `scfm eval`: embeddings of a file against baselines and controls.

use crate::args::{DONOR, Eval, TEST_FRACTION};
use crate::error::{Result, at, message};
use crate::exposure::{by_cell, description, exposure, given_as_batches};
use crate::manifest::Manifest;
use crate::methods::{Bench, Picture, Who, describe, family, names, unknown};
use crate::progress::Rows;
use crate::study::{Design, Study};
use crate::verbs::report;
use ndarray::Array2;
use sc_data::atomic::write_bytes_atomic;
use sc_data::h5ad::H5ad;
use sc_data::identity::{Provenance, vector_key};
use sc_data::split::SavedSplit;
use sc_eval::protocol::Options;
use sc_eval::report::{csv, summary};
use sc_eval::results::{Cost, Exposure, Family, RunResult};

/// Cells of a picture.
const MAP_CELLS: usize = 2000;

pub(crate) fn run(args: &Eval) -> Result<()> {
    let methods = chosen(args)?;
    let columns = &args.columns;
    let mut design = Design {
        label: columns.label.clone(),
        batch: columns.batch.clone(),
        donor: columns.donor.clone().unwrap_or_else(|| DONOR.to_string()),
        test_fraction: columns.test_fraction.unwrap_or(TEST_FRACTION),
        test_donors: None,
        saved: None,
        seed: args.seed,
    };
    let file = H5ad::open(&args.input.file)?;
    let found = embeddings(args, &file)?;
    if found.is_empty() && methods.is_empty() {
        return Err(at(
            &args.input.file,
            "there is nothing to evaluate: it has no obsm['X_…'] of more than two columns, and --methods \
             names no baseline",
        ));
    }
    if let Some(saved) = split(args, &found)? {
        design.donor = saved.donor.clone();
        design.saved = Some(saved);
    }
    let study = Study::open(&args.input, &design)?;
    args.replace
        .check_folder(&args.output, &[args.input.file.as_path()])?;
    std::fs::create_dir_all(&args.output).map_err(|e| at(&args.output, e))?;
    let config = serde_json::json!({ "obsm": args.obsm, "methods": args.methods,
        "label": design.label, "batch": design.batch, "donor": design.donor,
        "test_fraction": design.test_fraction, "split": design.saved });
    let manifest = Manifest::new(&study.card.hash, config, args.seed, "cpu");
    let options = Options {
        seed: args.seed,
        ..Options::default()
    };
    for warning in &study.card.warnings {
        eprintln!("scfm: {warning}");
    }
    let mut bar = Rows::new(found.len() + methods.len(), "evaluating");
    let bench = Bench::new(
        &study,
        options,
        Picture::Umap(MAP_CELLS),
        crate::options::Options::default(),
    )?;
    let mut results = Vec::new();
    for given in &found {
        bar.next(&given.key);
        results.push(save(args, judge(&bench, given, args.seed)?)?);
    }
    for method in methods {
        bar.next(method);
        let (family, text) = describe(method).expect("invariant: the name was checked");
        let who = who(method, family, text, args.seed, Exposure::Nothing);
        results.push(save(args, bench.simple(who, method)?)?);
    }
    bar.finish();
    write_bytes_atomic(&args.output.join("manifest.json"), &manifest.close()?)?;
    write_bytes_atomic(&args.output.join("results.csv"), csv(&results).as_bytes())?;
    let title = format!("Evaluation of {}", study.card.file);
    let page = args.output.join("report.html");
    report::write(&page, &title, &results)?;
    println!("{}", summary(&results));
    println!("report  {}", page.display());
    Ok(())
}

/// The split to score on: the one that is named, or else the one that every model held out.
fn split(args: &Eval, found: &[Given]) -> Result<Option<SavedSplit>> {
    if let Some(path) = &args.split {
        let saved = SavedSplit::load(path)?;
        return match &args.columns.donor {
            Some(donor) if *donor != saved.donor => Err(at(
                path,
                format!(
                    "it holds out by '{}', --donor says '{donor}'; leave one of the two away",
                    saved.donor
                ),
            )),
            _ => Ok(Some(saved)),
        };
    }
    let mut of_models = found
        .iter()
        .filter_map(|g| g.provenance.trained_on.get()?.split.as_ref());
    let Some(first) = of_models.next() else {
        return Ok(None);
    };
    let other_donor = args
        .columns
        .donor
        .as_ref()
        .is_some_and(|d| *d != first.donor);
    if args.columns.test_fraction.is_some() || other_donor {
        return Ok(None);
    }
    if of_models.any(|other| other != first) {
        eprintln!(
            "the models of this file held out different cells, so the split is drawn anew; name one with \
             --split"
        );
        return Ok(None);
    }
    eprintln!(
        "scored on what the model held out ({} donors of obs['{}']); --test-fraction draws another split",
        first.test_donors.len(),
        first.donor
    );
    Ok(Some(first.clone()))
}

/// The baselines and controls asked for, each once.
fn chosen(args: &Eval) -> Result<Vec<&str>> {
    let known = names();
    let mut out: Vec<&str> = Vec::new();
    for method in args
        .methods
        .iter()
        .map(|m| m.trim())
        .filter(|m| !m.is_empty())
    {
        if !known.contains(&method) {
            return Err(message(format!("--methods: {}", unknown(method))));
        }
        if !out.contains(&method) {
            out.push(method);
        }
    }
    Ok(out)
}

/// An embedding of the file, and what it says of its model.
struct Given {
    key: String,
    values: Array2<f32>,
    provenance: Provenance,
}

/// The embeddings to judge, read and checked before any work is done.
fn embeddings(args: &Eval, file: &H5ad) -> Result<Vec<Given>> {
    let keys = file.obsm_keys();
    let named = !args.obsm.is_empty();
    let mut wanted = if named {
        args.obsm.clone()
    } else {
        keys.to_vec()
    };
    if !named {
        wanted.retain(|k| k.starts_with("X_"));
    }
    let mut out: Vec<Given> = Vec::new();
    for key in wanted {
        if out.iter().any(|g| g.key == key) {
            continue;
        }
        if !keys.contains(&key) {
            return Err(message(format!(
                "--obsm: {} has no obsm['{key}']; it has: {}",
                args.input.file.display(),
                match keys {
                    [] => "none".to_owned(),
                    _ => keys.join(", "),
                }
            )));
        }
        let values = match file
            .embedding(&key)
            .map_err(|e| e.to_string())
            .and_then(usable)
        {
            Ok(values) => values,
            Err(why) if named => {
                return Err(at(&args.input.file, format!("obsm['{key}']: {why}")));
            }
            Err(why) => {
                eprintln!("obsm['{key}'] is left out: {why}");
                continue;
            }
        };
        // Pictures are not embeddings.
        if named || values.ncols() > 2 {
            let provenance = Provenance::of(file, &key)?;
            out.push(Given {
                key,
                values,
                provenance,
            });
        }
    }
    Ok(out)
}

/// Refuses what cannot be judged.
fn usable(values: Array2<f32>) -> std::result::Result<Array2<f32>, String> {
    if values.ncols() == 0 {
        return Err("it has no columns".to_owned());
    }
    match values.indexed_iter().find(|(_, v)| !v.is_finite()) {
        Some(((row, column), v)) => Err(format!(
            "cell {row}, column {column} holds {v}; an embedding must be finite"
        )),
        None => Ok(values),
    }
}

/// What an embedding saw of the scored cells; nobody knows where vectors or batches are no longer those
/// that were noted.
fn seen(bench: &Bench<'_>, given: &Given) -> Result<Exposure> {
    let study = bench.study;
    let (test, said) = (&study.dataset.test, &given.provenance);
    let trained = exposure(&said.trained_on, &study.keys, test);
    if matches!(trained, Exposure::Labels { .. }) {
        return Ok(trained);
    }
    let Some(vectors) = &said.vectors else {
        return Ok(Exposure::Unknown);
    };
    let ours = |row: &usize| vectors.contains(vector_key(&given.values.row(*row).to_vec()));
    if !test.iter().all(ours) {
        eprintln!(
            "obsm['{}'] was changed since scfm wrote it, so nobody knows what it saw",
            given.key
        );
        return Ok(Exposure::Unknown);
    }
    let Some(batch) = &said.batch else {
        return Ok(trained);
    };
    if study.source.has(&batch.column) {
        let (codes, names) = study.source.values(&batch.column)?;
        if batch.hold(&study.keys, &by_cell(&codes, &names), test) {
            let labels = study.dataset.labels.codes();
            let leak = given_as_batches(&batch.column, &codes, labels, test);
            return Ok(leak.unwrap_or(trained));
        }
    }
    eprintln!(
        "obsm['{}'] was embedded with other batches than obs['{}'] holds now, so nobody knows what \
         it saw of labels",
        given.key, batch.column
    );
    Ok(Exposure::Unknown)
}

fn judge(bench: &Bench<'_>, given: &Given, seed: u64) -> Result<RunResult> {
    let on = given.provenance.trained_on.get();
    let exposure = seen(bench, given)?;
    let (kind, text) = match on {
        Some(on) => (family(&on.architecture), description(on)),
        None => found(&given.key),
    };
    // A key may be the name of a baseline that runs beside it.
    let name = match describe(&given.key) {
        Some(_) => format!("obsm-{}", given.key),
        None => given.key.clone(),
    };
    let mut who = who(&name, kind, &text, seed, exposure);
    who.preset = on.map(|on| on.architecture.clone());
    let cost = Cost {
        parameters: on.map(|on| on.parameters),
        steps: on.map(|on| on.steps),
        training_cells: on.map(|on| on.cells as u64),
        ..Cost::default()
    };
    bench.embedding(
        who,
        given.values.view(),
        &bench.study.dataset,
        cost,
        Vec::new(),
    )
}

/// What an embedding of unknown origin is taken for: by the name that scanpy and scvi-tools give it, or
/// for what somebody claims to be a foundation model.
fn found(key: &str) -> (Family, String) {
    const CLASSICAL: [&str; 12] = [
        "pca",
        "pca_harmony",
        "harmony",
        "lsi",
        "svd",
        "mnn",
        "scanorama",
        "bbknn",
        "diffmap",
        "umap",
        "tsne",
        "draw_graph_fa",
    ];
    const NEURAL: [&str; 7] = [
        "scvi",
        "scanvi",
        "linear_scvi",
        "totalvi",
        "peakvi",
        "multivi",
        "vae",
    ];
    let lower = key.to_lowercase();
    let name = lower.strip_prefix("x_").unwrap_or(&lower);
    let (family, by) = if CLASSICAL.contains(&name) {
        (Family::Baseline, ", by its name of a classical method")
    } else if NEURAL.contains(&name) {
        (Family::Neural, ", by its name of a small network")
    } else {
        (Family::Model, "")
    };
    (family, format!("an embedding found in the file{by}"))
}

fn who(method: &str, family: Family, description: &str, seed: u64, exposure: Exposure) -> Who {
    Who {
        method: method.to_string(),
        family,
        description: description.to_string(),
        preset: None,
        same_size_as: None,
        exposure,
        objective: None,
        seed,
        device: "cpu".into(),
    }
}

/// Writes one result as soon as there is one.
fn save(args: &Eval, result: RunResult) -> Result<RunResult> {
    // Keys may hold what no folder can be called; those get a number of their own.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedding_of_unknown_origin_is_what_its_name_says() {
        for (key, family) in [
            ("X_pca", Family::Baseline),
            ("X_PCA_harmony", Family::Baseline),
            ("X_scVI", Family::Neural),
            ("X_scGPT", Family::Model),
            ("latent", Family::Model),
        ] {
            assert_eq!(found(key).0, family, "{key}");
        }
    }
}
