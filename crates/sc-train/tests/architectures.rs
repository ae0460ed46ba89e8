//! Every architecture, built as a configuration file builds it: it learns 64 cells by heart, embeds a
//! cell without regard to its company, and refuses what it cannot do with a way out.

#![cfg(feature = "flex")]

use burn::tensor::Device;
use sc_data::genes::{Across, Vocabulary, match_genes};
use sc_data::simulate::{SimConfig, simulate};
use sc_data::spatial::{Places, Within, composition};
use sc_data::{CsrMatrix, RawCounts};
use sc_models::weights::Tensors;
use sc_train::corpus::Order;
use sc_train::facts::Numbers;
use sc_train::registry::ARCHITECTURES;
use sc_train::timing::{Timing, Work};
use sc_train::trainer::{LossTerms, Run};
use sc_train::{Corpus, Facts, ModelSpec, Obs, Role, TrainConfig, Trainable, features};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const CELLS: usize = 64;
const GENES: usize = 60;
const TYPES: usize = 3;
/// The last features are peaks, for scCLIP; to the others they are genes.
const PEAKS: usize = 20;

fn names() -> Vec<String> {
    let name = |g: usize| match g < GENES - PEAKS {
        true => format!("GENE{g}"),
        false => format!("chr1:{}-{}", g * 1000, g * 1000 + 500),
    };
    (0..GENES).map(name).collect()
}

/// Cells of three types, two batches and two species; neighbours are mostly of one's own type.
fn data() -> (Corpus, Facts) {
    let config = SimConfig {
        cells: CELLS,
        genes: GENES,
        cell_types: TYPES,
        batches: 2,
        donors: 4,
        depth: 300.0,
        gene_sd: 0.5,
        dispersion: 200.0,
        marker_fold: 100.0,
        marker_fraction: 0.4,
        dropout_slope: 0.0,
        seed: 5,
        ..SimConfig::default()
    };
    let (counts, cells) = simulate(&config).unwrap();
    let vocabulary = Vocabulary::new(names()).unwrap();

    let place = |(cell, kind): (usize, &u32)| [10.0 * *kind as f32, (cell % 8) as f32];
    let places: Vec<f32> = cells.cell_type.iter().enumerate().flat_map(place).collect();
    let places = Places {
        coordinates: &places,
        dims: 2,
        section: &[0; CELLS],
    };
    let types = (cells.cell_type.as_slice(), TYPES);
    let mut obs = Obs::default();
    obs.set_numbers(
        Role::Niche,
        Numbers {
            width: TYPES,
            values: composition(&places, types, Within::Radius(1.5)).unwrap(),
        },
    );
    obs.set(Role::Label, cells.cell_type);
    obs.set(Role::Species, cells.donor.iter().map(|d| d % 2).collect());
    obs.set(
        Role::Perturbation,
        (0..CELLS as u32).map(|c| c % 4).collect(),
    );

    let levels = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
    let kinds = levels(&["B", "NK", "T"]);
    let mean = |(_, counts): (&[u32], &[f32])| counts.iter().sum::<f32>() / counts.len() as f32;
    let facts = Facts {
        genes: Arc::new(names()),
        means: Arc::new(counts.transpose().iter_rows().map(mean).collect()),
        largest: Arc::new(features::largest(&names(), &counts)),
        batches: 2,
        levels: BTreeMap::from([
            (Role::Label, kinds.clone()),
            (Role::Niche, kinds),
            (Role::Species, levels(&["human", "mouse"])),
            (
                Role::Perturbation,
                levels(&["ctrl", "GENE0", "GENE1+ctrl", "GENE2+GENE3"]),
            ),
        ]),
        seed: 1,
        ..Facts::default()
    };
    let corpus = Corpus {
        counts: Arc::new(RawCounts::new(counts).unwrap()),
        genes: Arc::new(match_genes(&names(), &vocabulary, Across::Same).unwrap()),
        batches: Arc::new(cells.batch),
        rows: Arc::new((0..CELLS).collect()),
        obs: Arc::new(obs),
        order: Order::Shuffled,
    };
    (corpus, facts)
}

/// A tiny network of the architecture; a new architecture needs a line here.
fn tiny(architecture: &str) -> Value {
    let (network, input) = match architecture {
        "cellplm" => (
            json!({
                "hidden": 32, "layers": 1, "heads": 4, "dropout": 0.0, "latent_dim": 8,
                "latent": { "kind": "gmvae", "clusters": 3, "position_weight": 0.1,
                            "cluster_weight": 0.1, "free_nats": 0.1 },
                "head": { "kind": "decode", "hidden": 32, "layers": 2, "batches": 2, "datasets": 0 },
            }),
            json!({}),
        ),
        "scgpt" => (
            json!({ "width": 32, "layers": 1, "heads": 2, "feed_forward": 32, "dropout": 0.0 }),
            json!({ "length": 64, "bins": 6, "mask": 0.2 }),
        ),
        "scformer" => (
            json!({
                "width": 32, "layers": 1, "heads": 2, "feed_forward": 32, "dropout": 0.0,
                "explicit_zero_probability": true,
                "input_norm": { "kind": "batch-norm", "epsilon": 1e-5 },
            }),
            json!({ "length": 64, "bins": 6, "mask": 0.2, "ties": "highest" }),
        ),
        "uce" => (
            json!({
                "width": 32, "layers": 1, "heads": 2, "feed_forward": 32, "dropout": 0.0,
                "output": 32, "decoder_hidden": 32, "binary_hidden": [64, 32, 16], "max_length": 48,
            }),
            json!({
                "sample": 24, "proteins": { "kind": "random", "dim": 32 },
                "ask": { "hidden": 0.2, "positives": 8, "negatives": 8 }, "embed_minibatch": CELLS,
            }),
        ),
        "saturn" => (
            json!({
                "macrogenes": 16, "hidden": 32, "embedding": 8, "dropout": 0.0, "scale_dropout": 0.0,
            }),
            json!({ "proteins": { "kind": "random", "dim": 16 } }),
        ),
        "scprint" => (
            json!({
                "width": 32, "layers": 1, "heads": 2, "dropout": 0.0, "class_layers": [16],
                "normalisation": "log",
            }),
            json!({
                "proteins": { "kind": "random", "dim": 32 }, "noise": [0.3], "embed_minibatch": CELLS,
            }),
        ),
        "nicheformer" => (
            json!({
                "width": 32, "layers": 1, "heads": 2, "feed_forward": 64, "context_length": 32,
            }),
            json!({ "mask": 0.15 }),
        ),
        "schyena" => (
            json!({
                "width": 16, "layers": 1, "feed_forward": 32, "embedding_dropout": 0.0,
                "filter": { "width": 16, "features": 5 },
            }),
            json!({ "embed_minibatch": CELLS }),
        ),
        "scclip" => {
            let tower = json!({
                "patches": 4, "width": 16, "layers": 1, "heads": 2, "feed_forward": 32,
                "dropout": 0.0, "attention_dropout": 0.0,
            });
            (
                json!({
                    "projection": 16, "atac": tower, "rna": tower,
                    "temperature": { "kind": "learned", "log_scale": 2.6592 },
                }),
                json!({}),
            )
        }
        "composed" => (
            json!({ "width": 32, "layers": 1, "feed_forward": 32, "dropout": 0.0 }),
            json!({ "tokens": { "kind": "bins", "bins": 6 } }),
        ),
        "vae" => (
            json!({ "hidden": 32, "latent": 8, "dropout": 0.0 }),
            json!({ "kl_warmup": 1000 }),
        ),
        "autoencoder" | "mlp" | "islander" => (
            json!({ "hidden": [32], "latent": 16, "dropout": 0.0 }),
            json!({}),
        ),
        other => panic!("there is no tiny {other} here yet"),
    };
    json!({ "architecture": architecture, "network": network, "input": input })
}

fn spec(value: Value) -> ModelSpec {
    serde_json::from_value(value).unwrap()
}

/// With `objective` in place of the first.
fn with_objective(mut value: Value, objective: &str) -> Value {
    value["objective"] = json!(objective);
    value
}

/// A trained model and how its loss went.
struct Fitted {
    task: Box<dyn Trainable>,
    corpus: Corpus,
    weights: Tensors,
    log: Vec<(u64, LossTerms)>,
}

fn train(
    task: &dyn Trainable,
    corpus: &Corpus,
    steps: u64,
    learning_rate: f64,
) -> sc_train::Result<(Tensors, Vec<(u64, LossTerms)>)> {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        steps,
        minibatch: CELLS,
        learning_rate,
        warmup: 10,
        weight_decay: 0.0,
        checkpoint_every: 1000,
        ..TrainConfig::default()
    };
    let run = Run {
        corpus,
        config: &config,
        seed: 1,
        fingerprint: "",
        folder: folder.path(),
        device: &Device::flex().autodiff(),
        stop: &AtomicBool::new(false),
    };
    let outcome = task.train(&run, &mut |_| {})?;
    let log = sc_train::trainer::read_log(&folder.path().join("train.jsonl"))?;
    Ok((outcome.weights, log))
}

/// Highest learning rate, for networks this small.
const RATE: f64 = 5e-3;

fn fit(value: Value, steps: u64) -> Fitted {
    fit_at(RATE, value, steps)
}

fn fit_at(rate: f64, value: Value, steps: u64) -> Fitted {
    let (corpus, facts) = data();
    let task = spec(value).task(&facts).unwrap();
    let (weights, log) = train(&*task, &corpus, steps, rate).unwrap();
    Fitted {
        task,
        corpus,
        weights,
        log,
    }
}

impl Fitted {
    /// Asserts that a loss is below `share` of what it was: means of the first and last few steps.
    fn fell_below(&self, term: &str, share: f64) {
        let mean = |steps: &[(u64, LossTerms)]| {
            steps.iter().map(|(_, l)| l[term]).sum::<f64>() / steps.len() as f64
        };
        let (first, last) = (mean(&self.log[..2]), mean(&self.log[self.log.len() - 5..]));
        assert!(
            last < share * first,
            "{term} from {first} to {last}, {} of it",
            last / first
        );
    }

    /// The vector of `cell`, embedded among the cells at `rows`.
    fn embedded_among(&self, cell: usize, rows: Vec<usize>) -> Vec<f32> {
        let corpus = Corpus {
            rows: Arc::new(rows),
            ..self.corpus.clone()
        };
        let (width, mut vector) = (self.task.dims(), Vec::new());
        let sink = &mut |rows: &[usize], vectors: &[f32]| {
            if let Some(at) = rows.iter().position(|&r| r == cell) {
                vector = vectors[at * width..(at + 1) * width].to_vec();
            }
            Ok(())
        };
        let weights = self.weights.clone();
        self.task
            .embed(weights, &corpus, &Device::flex(), sink)
            .unwrap();
        vector
    }

    /// How far company moves the vector of a cell, as a share of the largest number in it; the most
    /// among a few cells.
    fn company_matters(&self) -> f32 {
        let of = |cell: usize| {
            let alone = self.embedded_among(cell, vec![cell]);
            let largest = alone.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(largest > 0.0);
            let company = [vec![40, cell, 17], (0..CELLS).collect()];
            let vectors = company.map(|rows| self.embedded_among(cell, rows));
            let differences = vectors.iter().flat_map(|v| v.iter().zip(&alone));
            differences.fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest
        };
        (5..9).map(of).fold(0.0, f32::max)
    }

    fn is_embedded_cell_by_cell(&self) {
        let moved = self.company_matters();
        assert!(moved < 1e-5, "{moved}");
        // Nor may that be because all cells look the same: they differ by ten times as much.
        let first = self.embedded_among(0, vec![0]);
        let largest = first.iter().fold(0f32, |m, v| m.max(v.abs()));
        let others: Vec<f32> = (1..9)
            .flat_map(|cell| self.embedded_among(cell, vec![cell]))
            .collect();
        let pairs = others.iter().zip(first.iter().cycle());
        let apart = pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(apart > 1e-4 * largest, "{apart} of {largest}");
    }
}

/// A file that spreads the genes over six chromosomes, so that sentences differ in length.
fn chromosomes() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "species,gene_symbol,chromosome,start").unwrap();
    for (g, name) in names().iter().enumerate() {
        writeln!(file, "human,{name},{},{g}", g % 6).unwrap();
    }
    file
}

#[test]
fn cellplm_learns_and_embeds_sentences() {
    let fitted = fit(tiny("cellplm"), 100);
    fitted.fell_below("total", 0.8);
    // A sentence is its minibatch: cells attend to each other, by design.
    assert!(fitted.company_matters() > 1e-3);
}

#[test]
fn scgpt_learns_and_embeds_cell_by_cell() {
    let fitted = fit(tiny("scgpt"), 100);
    fitted.is_embedded_cell_by_cell();
    fitted.fell_below("total", 0.2);
}

#[test]
fn scgpt_brings_batches_together_cell_by_cell() {
    for norm in ["none", "domain-specific"] {
        let mut value = with_objective(tiny("scgpt"), "integration");
        value["network"]["explicit_zero_probability"] = json!(true);
        value["network"]["input_norm"] = match norm {
            "none" => json!({ "kind": norm }),
            _ => json!({ "kind": norm, "epsilon": 6.1e-5 }),
        };
        value["input"]["shown"] = json!("all");
        value["input"]["ecs_threshold"] = json!(0.8);
        let fitted = fit(value, 150);
        fitted.is_embedded_cell_by_cell();
        for (term, share) in [("gep", 0.4), ("gepc", 0.5), ("zero_log_prob", 0.7)] {
            fitted.fell_below(term, share);
        }
        assert!(fitted.log[0].1.contains_key("dab"));
    }
}

#[test]
fn scgpt_learns_genes_and_peaks_together() {
    let fitted = fit(with_objective(tiny("scgpt"), "multiomic"), 100);
    fitted.is_embedded_cell_by_cell();
    fitted.fell_below("gep", 0.2);
    fitted.fell_below("gepc", 0.4);
    let (_, mut facts) = data();
    facts.genes = Arc::new(names().into_iter().take(GENES - PEAKS).collect());
    let error = refusal(with_objective(tiny("scgpt"), "multiomic"), &facts);
    assert!(error.contains("rna.h5ad+atac.h5ad"), "{error}");
}

#[test]
fn scgpt_learns_perturbations() {
    let fitted = fit(with_objective(tiny("scgpt"), "perturbation"), 100);
    fitted.is_embedded_cell_by_cell();
    fitted.fell_below("mse", 0.5);
}

#[test]
fn scgpt_learns_labels() {
    let fitted = fit(with_objective(tiny("scgpt"), "annotation"), 50);
    fitted.is_embedded_cell_by_cell();
    fitted.fell_below("cls", 0.05);
}

#[test]
fn scgpt_learns_to_generate() {
    let mut value = with_objective(tiny("scgpt"), "generative");
    value["input"]["cls_value"] = json!(-2.0);
    value["input"]["generative"] = json!({ "prompt_after": 10 });
    let fitted = fit(value, 100);
    fitted.is_embedded_cell_by_cell();
    fitted.fell_below("gep", 0.3);
    fitted.fell_below("gepc", 0.3);
    let prompted = |(_, terms): &(u64, LossTerms)| terms.contains_key("prompted");
    assert!(!prompted(&fitted.log[9]) && prompted(&fitted.log[10]));
}

#[test]
fn scformer_learns_and_embeds_cell_by_cell() {
    let fitted = fit(tiny("scformer"), 100);
    fitted.is_embedded_cell_by_cell();
    fitted.fell_below("total", 0.15);
}

#[test]
fn uce_learns_and_embeds_cell_by_cell_unless_compat() {
    let file = chromosomes();
    let mut value = tiny("uce");
    value["input"]["chromosomes"] = json!(file.path());
    let mut fitted = fit_at(2e-3, value.clone(), 150);
    fitted.fell_below("total", 0.6);
    // Sentences so short that many miss a chromosome, and are padded.
    value["input"]["sample"] = json!(6);
    fitted.task = spec(value.clone()).task(&data().1).unwrap();
    fitted.is_embedded_cell_by_cell();
    // As published, padding is attended to, and there is as much of it as the longest sentence asks.
    value["network"]["padding"] = json!("compat");
    fitted.task = spec(value).task(&data().1).unwrap();
    fitted.weights = fitted.task.initial(&Device::flex()).unwrap();
    let moved = fitted.company_matters();
    assert!(moved > 1e-2, "{moved}");
}

#[test]
fn saturn_learns_and_embeds_cell_by_cell() {
    let fitted = fit(tiny("saturn"), 100);
    fitted.is_embedded_cell_by_cell();
    fitted.fell_below("total", 0.8);
}

#[test]
fn saturn_brings_species_together() {
    let mut value = with_objective(tiny("saturn"), "cross-species");
    value["train"] = json!({ "steps": 60 });
    value["input"]["reconstruct_share"] = json!(0.0);
    let fitted = fit(value, 60);
    fitted.is_embedded_cell_by_cell();
    fitted.fell_below("total", 0.2);
}

#[test]
fn scprint_learns_and_embeds_cell_by_cell() {
    let fitted = fit_at(2e-3, with_objective(tiny("scprint"), "denoise-classes"), 60);
    fitted.is_embedded_cell_by_cell();
    fitted.fell_below("total", 0.85);
}

#[test]
fn nicheformer_learns_and_embeds_cell_by_cell() {
    let fitted = fit(tiny("nicheformer"), 150);
    fitted.is_embedded_cell_by_cell();
    fitted.fell_below("total", 0.7);
}

#[test]
fn nicheformer_learns_what_surrounds_a_cell() {
    for (objective, share) in [
        ("niche-composition", 0.05),
        ("niche-density", 0.1),
        ("niche-label", 0.1),
    ] {
        let mut value = with_objective(tiny("nicheformer"), objective);
        value["input"]["head"] = json!({ "extractor": true });
        let fitted = fit(value, 50);
        fitted.is_embedded_cell_by_cell();
        fitted.fell_below("total", share);
    }
}

#[test]
fn schyena_learns_and_embeds_cell_by_cell() {
    let fitted = fit(tiny("schyena"), 100);
    fitted.is_embedded_cell_by_cell();
    fitted.fell_below("total", 0.1);
}

#[test]
fn scclip_learns_and_embeds_cell_by_cell() {
    let fitted = fit(tiny("scclip"), 250);
    fitted.is_embedded_cell_by_cell();
    fitted.fell_below("total", 0.6);
}

#[test]
fn composed_learns_and_embeds_cell_by_cell() {
    let fitted = fit(tiny("composed"), 100);
    fitted.is_embedded_cell_by_cell();
    fitted.fell_below("total", 0.3);
}

#[test]
fn vae_learns_and_embeds_cell_by_cell() {
    for (objective, share) in [("nb", 0.75), ("zinb", 0.75)] {
        let fitted = fit(with_objective(tiny("vae"), objective), 200);
        fitted.is_embedded_cell_by_cell();
        fitted.fell_below("total", share);
    }
}

#[test]
fn autoencoder_learns_and_embeds_cell_by_cell() {
    let fitted = fit(tiny("autoencoder"), 150);
    fitted.is_embedded_cell_by_cell();
    fitted.fell_below("total", 0.25);
}

#[test]
fn mlp_learns_and_embeds_cell_by_cell() {
    let fitted = fit(tiny("mlp"), 50);
    fitted.is_embedded_cell_by_cell();
    fitted.fell_below("total", 0.05);
}

#[test]
fn islander_learns_and_embeds_cell_by_cell() {
    for (objective, share) in [("classify-mixup", 0.3), ("classify-mixup-reconstruct", 0.2)] {
        let fitted = fit(with_objective(tiny("islander"), objective), 150);
        fitted.is_embedded_cell_by_cell();
        fitted.fell_below("total", share);
    }
}

/// Why a model cannot be built for data with `facts`.
fn refusal(value: Value, facts: &Facts) -> String {
    match spec(value).task(facts) {
        Ok(_) => "it was built".into(),
        Err(e) => e.to_string(),
    }
}

#[test]
fn an_unknown_architecture_is_told_those_that_exist() {
    let error = refusal(json!({ "architecture": "scbert" }), &data().1);
    for known in ARCHITECTURES {
        assert!(error.contains(known.name), "{error}");
    }
}

#[test]
fn a_wrong_objective_is_told_those_that_fit() {
    let (_, facts) = data();
    for known in ARCHITECTURES {
        let error = refusal(with_objective(tiny(known.name), "dream"), &facts);
        assert!(error.contains("objective = 'dream'"), "{error}");
        assert!(error.contains(known.name), "{error}");
        assert!(error.contains(&known.objectives.join(", ")), "{error}");
    }
}

#[test]
fn an_unknown_setting_is_told_those_that_exist() {
    let (_, facts) = data();
    for known in ARCHITECTURES {
        for part in ["network", "input"] {
            let mut value = tiny(known.name);
            value[part]["dream"] = json!(1);
            let error = refusal(value, &facts);
            let begins = format!("{}: {part}: unknown field `dream`", known.name);
            assert!(error.starts_with(&begins), "{error}");
            assert!(error.contains("expected"), "{error}");
        }
    }
}

/// What an objective cannot do without, as its refusal puts it.
fn needed(architecture: &str, objective: &str) -> Option<&'static str> {
    match (architecture, objective) {
        ("mlp" | "islander", _)
        | ("composed", "classify")
        | ("scgpt" | "scformer", "annotation")
        | ("saturn", "cross-species")
        | ("scprint", "denoise-classes")
        | ("nicheformer", "niche-label") => Some("[obs] label = \"COLUMN\""),
        ("scgpt", "perturbation") => Some("[obs] perturbation = \"COLUMN\""),
        ("nicheformer", "niche-composition" | "niche-density") => Some("within = { nearest = 20 }"),
        _ => None,
    }
}

#[test]
fn a_missing_column_is_refused_with_the_way_out() {
    let (_, full) = data();
    let bare = Facts {
        levels: BTreeMap::new(),
        ..full.clone()
    };
    for known in ARCHITECTURES {
        for objective in known.objectives {
            let value = with_objective(tiny(known.name), objective);
            let built = spec(value.clone()).task(&full);
            assert!(built.is_ok(), "{} {objective}", known.name);
            let error = refusal(value, &bare);
            let expected = needed(known.name, objective).unwrap_or("it was built");
            assert!(
                error.contains(expected),
                "{} {objective}: {error}",
                known.name
            );
        }
    }
}

#[test]
fn one_species_or_one_label_is_refused_with_the_way_out() {
    let (_, full) = data();
    let with_one = |role: Role, name: &str| {
        let mut facts = full.clone();
        facts.levels.insert(role, vec![name.to_string()]);
        facts
    };
    let saturn = with_objective(tiny("saturn"), "cross-species");
    let error = refusal(saturn.clone(), &with_one(Role::Species, "human"));
    assert!(error.contains("take objective = 'reconstruct'"), "{error}");
    let mut bare = full.clone();
    bare.levels.remove(&Role::Species);
    let error = refusal(saturn, &bare);
    assert!(error.contains("[obs] species = \"COLUMN\""), "{error}");
    let error = refusal(tiny("mlp"), &with_one(Role::Label, "T"));
    assert!(error.contains("nothing to tell apart"), "{error}");
    let annotation = with_objective(tiny("scgpt"), "annotation");
    let error = refusal(annotation, &with_one(Role::Label, "T"));
    assert!(error.contains("nothing to tell apart"), "{error}");
    let error = refusal(tiny("nicheformer"), &with_one(Role::Species, "frog"));
    assert!(error.contains("there are human and mouse"), "{error}");
}

#[test]
fn cells_without_what_the_model_was_built_for_stop_training_with_the_way_out() {
    let (mut corpus, facts) = data();
    corpus.obs = Arc::default();
    for (value, way_out) in [
        (tiny("saturn"), "the column of obs that tells them apart"),
        (
            with_objective(tiny("scgpt"), "perturbation"),
            "[obs] perturbation = \"COLUMN\"",
        ),
        (
            with_objective(tiny("nicheformer"), "niche-density"),
            "within = { nearest = 20 }",
        ),
    ] {
        let task = spec(value).task(&facts).unwrap();
        let error = train(&*task, &corpus, 1, RATE).unwrap_err().to_string();
        assert!(error.contains(way_out), "{error}");
    }
}

#[test]
fn the_way_out_that_a_niche_objective_names_is_a_configuration() {
    for within in [json!({ "nearest": 20 }), json!({ "radius": 50.0 })] {
        let mut value = with_objective(tiny("nicheformer"), "niche-composition");
        value["niche"] = json!({ "coordinates": "spatial", "label": "TYPE", "within": within });
        assert!(spec(value).niche.is_some());
    }
}

#[test]
fn every_objective_of_a_cell_without_counts_is_finite() {
    let (mut corpus, facts) = data();
    let mut dense = corpus.counts.read(&corpus.rows).unwrap().to_dense();
    dense[..GENES].fill(0.0);
    let counts = RawCounts::new(CsrMatrix::from_dense(GENES, &dense)).unwrap();
    corpus.counts = Arc::new(counts);
    for known in ARCHITECTURES {
        for objective in known.objectives {
            let value = with_objective(tiny(known.name), objective);
            let task = spec(value).task(&facts).unwrap();
            // Two steps: the first must leave weights that give a number again.
            let trained = train(&*task, &corpus, 2, RATE);
            assert!(
                trained.is_ok(),
                "{} {objective}: {:?}",
                known.name,
                trained.err()
            );
        }
    }
}

#[test]
fn timing_takes_every_step_and_counts_what_is_trained() {
    let (corpus, facts) = data();
    let task = spec(tiny("vae")).task(&facts).unwrap();
    let timing = Timing {
        corpus: &corpus,
        config: &TrainConfig::default(),
        steps: 2,
        device: &Device::flex(),
    };
    let timed = task.time(Work::Train, &timing).unwrap();
    assert_eq!(timed.steps.len(), 2);
    assert!(
        timed
            .steps
            .iter()
            .all(|s| s.forward > 0.0 && s.update > 0.0)
    );
    // Encoder and decoder have a batch norm each: 32 running means, as many variances, a counter.
    let all = task.parameters(&Device::flex()).unwrap();
    assert_eq!(all - timed.trained, 2 * (2 * 32 + 1));
    let timed = task.time(Work::Embed, &timing).unwrap();
    assert!(
        timed
            .steps
            .iter()
            .all(|s| s.forward > 0.0 && s.backward == 0.0)
    );
}
