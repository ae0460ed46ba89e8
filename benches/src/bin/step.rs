//! `step cellplm|scgpt|schyena|scclip train|embed [key=value …]`: seconds of a step.
//!
//! Prints one JSON line with the same fields as its peers in `benches/peers/`. Sizes: cellplm
//! `cells genes density hidden layers latent`; scgpt `minibatch tokens vocabulary width layers`;
//! schyena `minibatch genes width layers`; scclip `minibatch genes peaks density patches width layers`;
//! all `steps threads`. The first two default to the published size, the others to `small`.

// Figures on standard output are what this program is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use sc_data::genes::{Across, Vocabulary, match_genes};
use sc_data::{CsrMatrix, RawCounts};
use sc_models::cellplm::{CellPlmConfig, HeadConfig, LatentConfig, NormConfig, Objective};
use sc_models::hyena::ScHyenaConfig;
use sc_models::scclip::{ScClipConfig, Temperature, TowerConfig};
use sc_models::scgpt::{CellEmbedding, InputNorm, MvcStyle, ScGptConfig, ValueEncoderConfig};
use sc_train::adamw::AdamW;
use sc_train::task::Task;
use sc_train::tasks::cellplm::{CellPlmTask, SentenceConfig};
use sc_train::tasks::scclip::{PairedInput, ScClipTask};
use sc_train::tasks::scgpt::{Goal, SPECIAL_TOKENS, ScGptTask, TokenConfig};
use sc_train::tasks::schyena::{ProfileInput, ScHyenaTask};
use sc_train::{Corpus, Facts, TrainConfig};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let sizes: HashMap<&str, f64> = args
        .iter()
        .filter_map(|a| a.split_once('='))
        .filter_map(|(k, v)| Some((k, v.parse().ok()?)))
        .collect();
    let size = |key: &str, default: usize| sizes.get(key).map_or(default, |&v| v as usize);
    let threads = size("threads", 2);
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()?;
    let mode = args.get(1).map_or("train", String::as_str);
    let steps = size("steps", 3);
    match args.first().map(String::as_str) {
        Some("cellplm") => {
            let (cells, genes) = (size("cells", 2000), size("genes", 19_374));
            let density = sizes.get("density").copied().unwrap_or(0.08);
            let hidden = size("hidden", 1024);
            let task = CellPlmTask {
                network: CellPlmConfig {
                    genes,
                    hidden,
                    layers: size("layers", 4),
                    heads: 8,
                    norm: NormConfig::Group,
                    dropout: 0.2,
                    latent_dim: size("latent", 512),
                    latent: LatentConfig::default(),
                    head: HeadConfig::Decode {
                        hidden,
                        layers: 2,
                        batches: 8,
                        datasets: 0,
                        objective: Objective::Denoise,
                    },
                },
                input: SentenceConfig::default(),
                seed: 0,
            };
            run(
                "cellplm_step",
                &task,
                scfm_benches::counts(cells, genes, density),
                &gene_names(genes),
                mode,
                steps,
            )
        }
        Some("scgpt") => {
            let (cells, genes) = (size("minibatch", 8), size("vocabulary", 20_000));
            let (length, width) = (size("tokens", 1200), size("width", 512));
            let task = ScGptTask {
                network: ScGptConfig {
                    tokens: genes + SPECIAL_TOKENS,
                    pad: genes,
                    width,
                    layers: size("layers", 12),
                    heads: 8,
                    feed_forward: width,
                    dropout: 0.2,
                    value_encoder: ValueEncoderConfig::Continuous,
                    input_norm: InputNorm::None,
                    cell_embedding: CellEmbedding::Cls,
                    explicit_zero_probability: false,
                    mvc: Some(MvcStyle::InnerProduct),
                    classes: 0,
                    class_layers: 3,
                    batch_labels: 0,
                    modalities: 0,
                    generative: false,
                    adversary_batches: 0,
                },
                input: TokenConfig {
                    length,
                    embed_minibatch: cells,
                    ..Default::default()
                },
                genes,
                modalities: Default::default(),
                goal: Goal::Values,
                seed: 0,
            };
            // Dense enough that every cell fills all its tokens.
            let density = (1.3 * length as f64 / genes as f64).min(1.0);
            run(
                "scgpt_step",
                &task,
                scfm_benches::counts(cells, genes, density),
                &gene_names(genes),
                mode,
                steps,
            )
        }
        Some("schyena") => {
            let (cells, genes) = (size("minibatch", 4), size("genes", 8000));
            let width = size("width", 128);
            let network = ScHyenaConfig {
                genes,
                width,
                layers: size("layers", 4),
                feed_forward: size("feed_forward", 4 * width),
                embedding_dropout: 0.0,
                ..ScHyenaConfig::default()
            };
            let task = ScHyenaTask::new(network, ProfileInput::default(), 0);
            let counts = scfm_benches::counts(cells, genes, 0.1);
            run(
                "schyena_step",
                &task,
                counts,
                &gene_names(genes),
                mode,
                steps,
            )
        }
        Some("scclip") => {
            let (cells, genes, peaks) = (
                size("minibatch", 64),
                size("genes", 20_000),
                size("peaks", 100_000),
            );
            let width = size("width", 128);
            let tower = TowerConfig {
                patches: size("patches", 128),
                width,
                layers: size("layers", 4),
                feed_forward: size("feed_forward", 2 * width),
                ..TowerConfig::default()
            };
            let network = ScClipConfig {
                atac: tower.clone(),
                rna: tower,
                temperature: Temperature::Learned {
                    log_scale: 2.6592,
                    largest: None,
                },
                ..ScClipConfig::default()
            };
            let mut names = gene_names(genes);
            names.extend((0..peaks).map(|p| format!("chr1:{p}-{}", p + 1)));
            let facts = Facts {
                genes: Arc::new(names.clone()),
                ..Facts::default()
            };
            let task = ScClipTask::new(network, PairedInput::default(), &facts)?;
            let density = sizes.get("density").copied().unwrap_or(0.05);
            let counts = scfm_benches::counts(cells, names.len(), density);
            run("scclip_step", &task, counts, &names, mode, steps)
        }
        _ => Err("usage: step cellplm|scgpt|schyena|scclip train|embed [key=value ...]".into()),
    }
}

fn gene_names(genes: usize) -> Vec<String> {
    (0..genes).map(|g| format!("GENE{g}")).collect()
}

fn run<T: Task>(
    name: &str,
    task: &T,
    counts: CsrMatrix,
    names: &[String],
    mode: &str,
    steps: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let (cells, genes) = (counts.rows(), counts.cols());
    let rows: Vec<usize> = (0..cells).collect();
    let corpus = Corpus {
        order: sc_train::corpus::Order::Shuffled,
        counts: Arc::new(RawCounts::new(counts)?),
        genes: Arc::new(match_genes(
            names,
            &Vocabulary::new(names.to_vec())?,
            Across::Same,
        )?),
        batches: Arc::new(vec![0; cells]),
        rows: Arc::new(rows.clone()),
        obs: Arc::default(),
    };
    let config = TrainConfig {
        warmup: 1,
        ..Default::default()
    };
    let mut seconds = Vec::new();
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let mut parameters = 0;
    if mode == "embed" {
        let model = task.build(&plain)?;
        for _ in 0..steps + 1 {
            let batch = corpus.read(&rows)?;
            let started = Instant::now();
            let z = task.embed(&model, batch, &plain)?;
            let _ = sc_models::weights::host(z);
            seconds.push(started.elapsed().as_secs_f64());
        }
    } else {
        let mut model = task.build(&device)?;
        parameters = model.num_params();
        let mut optimiser = AdamW::default();
        for step in 1..=steps as u64 + 1 {
            // Reading and masking run beside the step in training; only the step is timed.
            let input = task.prepare(corpus.read(&rows)?, step)?;
            let started = Instant::now();
            let losses = task.losses(&model, input, step, &device);
            let forward = started.elapsed().as_secs_f64();
            let grads = GradientsParams::from_grads(losses.total.backward(), &model);
            let backward = started.elapsed().as_secs_f64() - forward;
            (model, _) = optimiser.step(model, grads, &config, step);
            seconds.push(started.elapsed().as_secs_f64());
            let rest = started.elapsed().as_secs_f64() - forward - backward;
            eprintln!("step {step}: forward {forward:.3} backward {backward:.3} update {rest:.3}");
        }
    }
    // The first pass warms caches and allocators.
    let mut timed = seconds.split_off(1);
    timed.sort_by(f64::total_cmp);
    let median = timed[timed.len() / 2];
    let line = json!({
        "name": name,
        "side": "scfm",
        "mode": mode,
        "cells": cells,
        "genes": genes,
        "parameters": parameters,
        "seconds_per_step": median,
        "cells_per_second": cells as f64 / median,
        "peak_memory_bytes": scfm_benches::peak_memory(),
        "threads": rayon::current_num_threads(),
    });
    println!("{line}");
    Ok(())
}
