//! CellPLM cases: the whole model with any latent and head, and the Flowformer layer alone.

use super::{Found, add, add_gradients, load};
use crate::case::Case;
use crate::row::Row;
use burn::tensor::{Device, Int, Tensor, TensorData};
use sc_data::CsrMatrix;
use sc_models::cellplm::{
    CellPlm, CellPlmConfig, Covariates, HeadConfig, LatentConfig, LatentNoise, NAMES, NormConfig,
    Objective, Output, Sentence,
};
use sc_models::layers::flow::{FlowformerLayer, NAMES as FLOW_NAMES};
use sc_models::layers::norm::Phase;
use sc_models::layers::observe::Record;
use sc_train::losses::{self, cellplm as objective};
use std::path::Path;
use std::sync::Arc;

/// Runs one case; see [`super::run`].
pub fn run(dir: &Path) -> Result<Result<Vec<Row>, String>, String> {
    let case = Case::open(dir)?;
    if case.inputs.contains_key("cotangent") {
        return flow(&case).map(Ok);
    }
    let config = match config(&case) {
        Ok(config) => config,
        Err(reason) => return Ok(Err(reason)),
    };
    let device = crate::device().autodiff();
    let model = CellPlm::new(&config, &device).map_err(|e| e.to_string())?;
    let model = load(model, dir, &NAMES, &[])?;
    let mut found = Found::new();
    if case.inputs.contains_key("sentence") {
        sentences(&case, &model, &mut found)?;
    } else {
        whole(&case, &config, &model, &device, &mut found)?;
    }
    Ok(Ok(case.compare(&found)))
}

/// Our configuration for a reference constructor, or why there is none.
fn config(case: &Case) -> Result<CellPlmConfig, String> {
    let ctor = |key: &str| format!("/ctor/{key}");
    let refuse = |key: &str, value: &str| Err(format!("{key} = {value} is not built"));
    let encoder = case.str(&ctor("enc_mod"), "flowformer");
    if encoder != "flowformer" {
        return refuse("enc_mod", encoder);
    }
    for key in ["cat_pe", "dar", "ecs", "dsbn", "input_covariate"] {
        if case.flag(&ctor(key)) {
            return refuse(key, "true");
        }
    }
    let norm = match case.str(&ctor("norm"), "layernorm") {
        "groupnorm" => NormConfig::Group,
        "layernorm" => NormConfig::Layer,
        other => return refuse("norm", other),
    };
    let free_nats = case.f64(&ctor("lamda"), 1.0);
    let latent = match case.str(&ctor("latent_mod"), "vae") {
        "ae" => LatentConfig::Ae,
        "vae" => LatentConfig::Vae { free_nats },
        "gmvae" => LatentConfig::Gmvae {
            clusters: case.usize(&ctor("num_clusters"), 16),
            position_weight: case.f64(&ctor("w_li"), 1.0),
            cluster_weight: case.f64(&ctor("w_en"), 1.0),
            free_nats,
        },
        other => return refuse("latent_mod", other),
    };
    let (hidden, layers) = (
        case.usize(&ctor("dec_hid"), 16),
        case.usize(&ctor("dec_layers"), 2),
    );
    let head = match case.str(&ctor("head_type"), "") {
        "embedder" => HeadConfig::Embed,
        "annotation" | "imputation" => HeadConfig::Mlp {
            outputs: case.usize(&ctor("out_dim"), 1),
            hidden,
            layers,
        },
        "" if case.str(&ctor("dec_mod"), "nbmlp") != "nbmlp" => {
            return refuse("dec_mod", case.str(&ctor("dec_mod"), ""));
        }
        "" => HeadConfig::Decode {
            hidden,
            layers,
            batches: case.usize(&ctor("batch_num"), 0),
            datasets: case.usize(&ctor("dataset_num"), 0),
            objective: match case.str(&ctor("objective"), "nb") {
                "imputation" => Objective::Impute,
                "nb" => Objective::Denoise,
                other => return refuse("objective", other),
            },
        },
        other => return refuse("head_type", other),
    };
    let genes = case
        .config
        .get("gene_list")
        .and_then(|l| l.as_array())
        .map_or(0, Vec::len);
    Ok(CellPlmConfig {
        genes,
        hidden: case.usize(&ctor("enc_hid"), 16),
        layers: case.usize(&ctor("enc_layers"), 2),
        heads: case.usize(&ctor("enc_head"), 8),
        norm,
        dropout: 0.0,
        latent_dim: case.usize(&ctor("post_latent_dim"), 16),
        latent,
        head,
    })
}

/// The counts, and the same with the masked entries hidden.
struct Counts {
    counts: Arc<CsrMatrix>,
    genes: Vec<u32>,
    masked: objective::Masked,
}

impl Counts {
    fn read(case: &Case) -> Result<Self, String> {
        let dense = case.input("x_dense")?;
        let cols = dense.shape[1];
        let mask = case.inputs.get("input_mask");
        let masked = (0..dense.shape[0]).map(|i| {
            let hidden = |j: &u32| mask.is_some_and(|m| m.data[i * cols + *j as usize] != 0.0);
            Arc::new((0..cols as u32).filter(hidden).collect::<Vec<_>>())
        });
        Ok(Self {
            counts: Arc::new(CsrMatrix::from_dense(cols, &dense.f32())),
            genes: case
                .input("gene_idx")?
                .ints()
                .iter()
                .map(|&g| g as u32)
                .collect(),
            masked: masked.collect(),
        })
    }

    fn input(&self, phase: Phase) -> Arc<CsrMatrix> {
        let cols = self.counts.cols();
        let mut dense = self.counts.to_dense();
        if phase == Phase::Train {
            for (row, masked) in dense.chunks_exact_mut(cols).zip(&self.masked) {
                masked.iter().for_each(|&j| row[j as usize] = 0.0);
            }
        }
        Arc::new(CsrMatrix::from_dense(cols, &dense).map_values(f32::ln_1p))
    }
}

fn whole(
    case: &Case,
    config: &CellPlmConfig,
    model: &CellPlm,
    device: &Device,
    found: &mut Found,
) -> Result<(), String> {
    let counts = Counts::read(case)?;
    let float = |name: &str| {
        case.inputs
            .get(name)
            .map(|a| Tensor::<2>::from_data(TensorData::new(a.f32(), a.shape.clone()), device))
    };
    let codes = |name: &str| {
        case.inputs.get(name).map(|a| {
            Tensor::<1, Int>::from_data(TensorData::new(a.ints(), a.shape.clone()), device)
        })
    };
    let phases = match (case.str("/mode", "eval"), case.flag("/also_eval")) {
        ("eval", _) => vec![("", Phase::Eval)],
        (_, true) => vec![("eval.", Phase::Eval), ("", Phase::Train)],
        (_, false) => vec![("", Phase::Train)],
    };
    for (prefix, phase) in phases {
        // The VAE samples in training only; the mixture's noise is used in evaluation too.
        let noise = float("normal_eps").map(|normal| LatentNoise {
            normal,
            uniform: float("gumbel_u"),
        });
        let sentence = Sentence {
            log_counts: counts.input(phase),
            genes: Some(counts.genes.clone()),
            covariates: Covariates {
                batch: codes("batch"),
                dataset: codes("dataset"),
            },
            noise,
            kl_weight: case.f64("/vae_kl_weight", 1.0),
        };
        let mut seen = Record::default();
        let output = model.forward_observed(&sentence, phase, &mut seen);
        let mut ours = seen.0;
        let loss = score(case, config, &counts, &output, device, &mut ours)?;
        if phase == Phase::Train {
            add_gradients(&mut ours, loss.backward(), model, &NAMES);
        }
        found.extend(ours.into_iter().map(|(k, v)| (format!("{prefix}{k}"), v)));
    }
    Ok(())
}

/// Adds the losses and predictions of the case's head to `ours`; returns the total loss.
fn score(
    case: &Case,
    config: &CellPlmConfig,
    counts: &Counts,
    output: &Output,
    device: &Device,
    ours: &mut Found,
) -> Result<Tensor<1>, String> {
    let zero = || Tensor::<1>::zeros([1], device);
    for (name, term) in &output.latent.terms {
        add(ours, format!("loss.{name}"), term.clone());
    }
    let latent = output.latent.loss.clone().unwrap_or_else(zero);
    add(ours, "loss.latent", latent.clone());
    let chosen = |name: &str| -> Result<Vec<i64>, String> {
        let mask = case.input(name)?;
        Ok((0..mask.data.len())
            .filter(|&i| mask.data[i] != 0.0)
            .map(|i| i as i64)
            .collect())
    };
    let index = |rows: &[i64]| {
        Tensor::<1, Int>::from_data(TensorData::new(rows.to_vec(), [rows.len()]), device)
    };
    let target = match (&config.head, &output.counts, &output.logits) {
        (
            HeadConfig::Decode {
                objective: Objective::Denoise,
                ..
            },
            Some(decoded),
            _,
        ) => {
            let loss = objective::denoise(decoded, &counts.counts, &counts.masked);
            add(ours, "loss.recon_all_genes", loss.all_genes.clone());
            add(
                ours,
                "loss.recon_masked_entries",
                loss.masked_entries.clone(),
            );
            loss.all_genes + loss.masked_entries
        }
        (HeadConfig::Decode { .. }, Some(decoded), _) => {
            let measured: Vec<u32> = chosen("gene_mask")?.iter().map(|&g| g as u32).collect();
            let measured = Arc::new(measured);
            let genes: Vec<i64> = counts.genes.iter().map(|&g| i64::from(g)).collect();
            let mean = decoded.mean.clone().select(1, index(&genes));
            add(
                ours,
                "pred",
                scaled(mean, &counts.counts, &measured, device),
            );
            objective::impute(decoded, &counts.genes, &counts.counts, &measured)
        }
        (_, _, Some(logits)) if case.inputs.contains_key("loss_mask") => {
            let rows = index(&chosen("loss_mask")?);
            let labels = case.input("label")?;
            let labels = Tensor::<1, Int>::from_data(
                TensorData::new(labels.ints(), labels.shape.clone()),
                device,
            );
            let logits = logits.clone().select(0, rows.clone());
            add(ours, "head.out", logits.clone());
            add(ours, "pred", logits.clone().argmax(1).float());
            losses::cross_entropy(logits, labels.select(0, rows))
        }
        (_, _, Some(out)) => {
            add(ours, "head.out", out.clone());
            let genes = index(&chosen("gene_mask")?);
            let label = case.input("label")?;
            let label = TensorData::new(label.f32(), label.shape.clone());
            let label = Tensor::<2>::from_data(label, device).select(1, genes.clone());
            let predicted = out.clone().select(1, genes);
            add(ours, "pred", predicted.clone());
            (predicted - label).square().mean()
        }
        _ => {
            add(ours, "pred", output.latent.z.clone());
            add(ours, "loss.target", zero());
            add(ours, "loss.total", zero());
            return Ok(zero());
        }
    };
    add(ours, "loss.target", target.clone());
    let total = target + latent;
    add(ours, "loss.total", total.clone());
    Ok(total)
}

/// Means scaled to the cell's total over the measured genes.
fn scaled(mean: Tensor<2>, counts: &CsrMatrix, measured: &[u32], device: &Device) -> Tensor<2> {
    let [n, g] = mean.dims();
    let mut mask = vec![0f32; g];
    measured.iter().for_each(|&j| mask[j as usize] = 1.0);
    let mask = Tensor::<2>::from_data(TensorData::new(mask, [1, g]), device);
    let x = Tensor::<2>::from_data(TensorData::new(counts.to_dense(), [n, g]), device);
    let factor = (x * mask.clone()).sum_dim(1) / (mean.clone() * mask).sum_dim(1);
    mean * factor
}

/// Embeddings of several sentences, whole and cut into chunks.
fn sentences(case: &Case, model: &CellPlm, found: &mut Found) -> Result<(), String> {
    let counts = Counts::read(case)?;
    let input = counts.input(Phase::Eval);
    let sentence_of = case.input("sentence")?.ints();
    let cells = sentence_of.len();
    let d = case.usize("/ctor/post_latent_dim", 0);
    let last = sentence_of.iter().copied().max().unwrap_or(0);
    for name in case.outputs.keys().filter(|k| k.starts_with("emb.")) {
        let chunk = name
            .trim_start_matches("emb.chunk")
            .parse::<usize>()
            .unwrap_or(cells);
        let mut all = vec![0f32; cells * d];
        for id in 0..=last {
            let rows: Vec<usize> = (0..cells).filter(|&i| sentence_of[i] == id).collect();
            for rows in rows.chunks(chunk) {
                let sentence = Sentence {
                    log_counts: Arc::new(input.select_rows(rows)),
                    genes: Some(counts.genes.clone()),
                    covariates: Covariates::default(),
                    noise: None,
                    kl_weight: 1.0,
                };
                let mut seen = Record::default();
                let z = model.encode_observed(&sentence, Phase::Eval, &mut seen).z;
                let z = sc_models::weights::host(z);
                for (k, &row) in rows.iter().enumerate() {
                    all[row * d..(row + 1) * d].copy_from_slice(&z[k * d..(k + 1) * d]);
                }
                if id == 0 && chunk == cells {
                    found.extend(
                        seen.0
                            .into_iter()
                            .map(|(k, v)| (format!("sentence0.{k}"), v)),
                    );
                }
            }
        }
        found.insert(name.clone(), all);
    }
    Ok(())
}

/// The Flowformer layer alone.
fn flow(case: &Case) -> Result<Vec<Row>, String> {
    let x = case.input("x")?;
    let d = x.shape[1];
    let heads = case.usize("/ctor/num_heads", 4);
    let device = crate::device().autodiff();
    let layer = FlowformerLayer::new(d, heads, 0.0, &device);
    let layer = load(layer, &case.dir, &FLOW_NAMES, &[])?;
    let tensor = |a: &crate::case::Array| {
        Tensor::<2>::from_data(TensorData::new(a.f32(), a.shape.clone()), &device)
    };
    let input = tensor(x).require_grad();
    let mut seen = Record::default();
    let out = layer.forward_observed(input.clone(), &mut seen);
    let mut found = seen.0;
    add(&mut found, "out", out.clone());
    let loss = losses::total(out * tensor(case.input("cotangent")?));
    add(&mut found, "loss.total", loss.clone());
    let grads = loss.backward();
    if let Some(grad) = input.grad(&grads) {
        add(&mut found, "grad_input.x", grad);
    }
    add_gradients(&mut found, grads, &layer, &FLOW_NAMES);
    Ok(case.compare(&found))
}
