//! scGPT and scFormer cases: the masked model with any head, and value binning.

use super::{Found, add, add_gradients, load};
use crate::case::Case;
use crate::row::Row;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use sc_models::layers::lookup::unit;
use sc_models::layers::norm::Phase;
use sc_models::layers::observe::Record;
use sc_models::scgpt::{
    CellEmbedding, InputNorm, MvcStyle, NAMES, Outputs, PERTURB_NAMES, Perturb, Prediction, ScGpt,
    ScGptConfig, Scale, Targets, Tokens, ValueEncoderConfig,
};
use sc_models::weights;
use sc_train::losses::cross_entropy;
use sc_train::losses::expression::{
    elastic_cell_similarity, expressed_nll, masked_mse, masked_relative_error,
};
use serde_json::Value;
use std::path::Path;

/// Runs one case; see [`super::run`].
pub fn run(dir: &Path) -> Result<Result<Vec<Row>, String>, String> {
    let case = Case::open(dir)?;
    match case.str("/kind", "perceptual") {
        "binning" => super::binning::run(&case).map(Ok),
        "perceptual" => match config(&case) {
            Ok(config) => perceptual(&case, &config).map(Ok),
            Err(reason) => Ok(Err(reason)),
        },
        "generative" | "perturb" => match config(&case) {
            Ok(config) if case.inputs.contains_key("pert_flags") => perturb(&case, &config).map(Ok),
            Ok(config) => generative(&case, &config).map(Ok),
            Err(reason) => Ok(Err(reason)),
        },
        other => Ok(Err(format!("kind {other} is not built"))),
    }
}

/// Our configuration for a reference constructor, or why there is none.
fn config(case: &Case) -> Result<ScGptConfig, String> {
    let ctor = |key: &str| format!("/ctor/{key}");
    let refuse = |key: &str, value: &str| Err(format!("{key} = {value} is not built"));
    if case.flag(&ctor("pre_norm")) {
        return refuse("pre_norm", "true");
    }
    let scformer = case.str("/model", "scgpt") == "scformer";
    let batches = case.usize(&ctor("num_batch_labels"), 0);
    let epsilon = if scformer { 1e-5 } else { 6.1e-5 };
    let input_norm = input_norm(case, scformer, batches, epsilon);
    let d = case.usize(&ctor("d_model"), 32);
    let pad_token = case.str(&ctor("pad_token"), "<pad>");
    Ok(ScGptConfig {
        tokens: case.usize(&ctor("ntoken"), 0),
        pad: case.usize(
            &format!("/ctor/vocab/{pad_token}"),
            case.usize(&ctor("padding_idx"), 0),
        ),
        width: d,
        layers: case.usize(&ctor("nlayers"), 2),
        heads: case.usize(&ctor("nhead"), 4),
        feed_forward: case.usize(&ctor("d_hid"), d),
        dropout: 0.0,
        value_encoder: match case.str(&ctor("input_emb_style"), "continuous") {
            "continuous" => ValueEncoderConfig::Continuous,
            "category" => ValueEncoderConfig::Category {
                bins: case.usize(&ctor("n_input_bins"), 0),
                pad: case.f64(&ctor("pad_value"), 0.0) as i64,
            },
            "scaling" => ValueEncoderConfig::Scaling,
            other => return refuse("input_emb_style", other),
        },
        input_norm,
        cell_embedding: match case.str(&ctor("cell_emb_style"), "cls") {
            "cls" => CellEmbedding::Cls,
            "avg-pool" => CellEmbedding::AvgPool,
            "w-pool" => CellEmbedding::WeightedPool,
            other => return refuse("cell_emb_style", other),
        },
        explicit_zero_probability: case.flag(&ctor("explicit_zero_prob")),
        mvc: match (
            case.flag(&ctor("do_mvc")),
            case.str(&ctor("mvc_decoder_style"), "inner product"),
        ) {
            (false, _) => None,
            (true, "inner product") => Some(MvcStyle::InnerProduct),
            (true, "inner product, detach") => Some(MvcStyle::InnerProductDetach),
            (true, other) => return refuse("mvc_decoder_style", other),
        },
        // The generative branch has a classifier only for more than one class.
        classes: match case.usize(&ctor("n_cls"), 1) {
            1 if case.flag(&ctor("use_generative_training")) => 0,
            n => n,
        },
        class_layers: case.usize(&ctor("nlayers_cls"), 3),
        modalities: 0,
        generative: case.flag(&ctor("use_generative_training")),
        batch_labels: if case.flag(&ctor("use_batch_labels")) {
            batches
        } else {
            0
        },
        adversary_batches: if case.flag(&ctor("do_dab")) {
            batches
        } else {
            0
        },
    })
}

/// What `domain_spec_batchnorm` means to the constructors. scGPT knows `True`, `"dsbn"` and
/// `"batchnorm"`, and has no norm for anything else: its test for `"do_affine"` comes behind one that
/// excludes it. scFormer takes whatever Python holds for true as a norm per domain, with a learned
/// scale for `"do_affine"`, and has one norm otherwise.
fn input_norm(case: &Case, scformer: bool, domains: usize, epsilon: f64) -> InputNorm {
    let path = "/ctor/domain_spec_batchnorm";
    let word = case.config.pointer(path).and_then(Value::as_str);
    let set = match word {
        Some(word) => !word.is_empty(),
        None => case.flag(path),
    };
    let per_domain = |scale| InputNorm::DomainSpecific {
        domains,
        epsilon,
        scale,
    };
    match (scformer, word) {
        (true, Some("do_affine")) => per_domain(Scale::Learned),
        (true, _) if set => per_domain(Scale::Fixed),
        (true, _) => InputNorm::BatchNorm { epsilon },
        (false, Some("dsbn")) => per_domain(Scale::Fixed),
        (false, Some("batchnorm")) => InputNorm::BatchNorm { epsilon },
        (false, Some(_)) => InputNorm::None,
        (false, None) if set => per_domain(Scale::Fixed),
        (false, None) => InputNorm::None,
    }
}

fn perceptual(case: &Case, config: &ScGptConfig) -> Result<Vec<Row>, String> {
    let device = crate::device().autodiff();
    let model = ScGpt::new(config, &device).map_err(|e| e.to_string())?;
    let model = load(model, &case.dir, &NAMES, &[])?;
    let tokens = tokens(case, config, &device)?;
    let phase = if case.str("/mode", "eval") == "eval" {
        Phase::Eval
    } else {
        Phase::Train
    };
    let mut found = Found::new();
    if case.flag("/also_eval") {
        let mut seen = Record::default();
        let outputs = model.forward_observed(&tokens, Phase::Eval, &mut seen);
        let mut ours = seen.0;
        predictions(&outputs, &mut ours);
        add(&mut ours, "loss_ecs", ecs(case, &outputs));
        found.extend(ours.into_iter().map(|(k, v)| (format!("eval.{k}"), v)));
    }
    let mut seen = Record::default();
    let outputs = model.forward_observed(&tokens, phase, &mut seen);
    found.extend(seen.0);
    predictions(&outputs, &mut found);
    let total = losses(case, config, &outputs, &device, &mut found)?;
    add_gradients(&mut found, total.backward(), &model, &NAMES);
    for (name, tensor) in weights::tensors(&model, &NAMES) {
        found.insert(format!("buffer_after.{name}"), tensor.data);
    }
    let mut rows = case.compare(&found);
    rows.extend(flash_names(case, config, &device)?);
    Ok(rows)
}

/// The same weights under the names of flash attention load as the same tensors.
fn flash_names(case: &Case, config: &ScGptConfig, device: &Device) -> Result<Option<Row>, String> {
    let path = case.dir.join("weights_flash_names.safetensors");
    if !path.is_file() {
        return Ok(None);
    }
    let load = |path: &Path| {
        let model = ScGpt::new(config, device).map_err(|e| e.to_string())?;
        let tensors = weights::read_safetensors(path).map_err(|e| e.to_string())?;
        let model = weights::load(model, tensors, &NAMES).map_err(|e| e.to_string())?;
        Ok::<_, String>(weights::tensors(&model, &NAMES))
    };
    let same = load(&path)? == load(&case.dir.join("weights.safetensors"))?;
    Ok(Some(Row::check(
        "weights_flash_names",
        f64::from(u8::from(!same)),
        0.0,
    )))
}

fn tokens(case: &Case, config: &ScGptConfig, device: &Device) -> Result<Tokens, String> {
    let genes = case.input("gene_ids")?;
    let shape = genes.shape.clone();
    let mask = |data: Vec<bool>| {
        Tensor::<2, Bool>::from_data(TensorData::new(data, shape.clone()), device)
    };
    let padding: Vec<bool> = case
        .input("src_key_padding_mask")?
        .data
        .iter()
        .map(|&v| v != 0.0)
        .collect();
    let frozen: Vec<bool> = genes.data.iter().map(|&g| g == config.pad as f64).collect();
    let any = |v: &[bool]| v.iter().any(|&b| b);
    let batches = case.inputs.get("batch_labels").map(|a| a.ints());
    Ok(Tokens {
        genes: Tensor::from_data(TensorData::new(genes.ints(), shape.clone()), device),
        values: Tensor::from_data(
            TensorData::new(case.input("values")?.f32(), shape.clone()),
            device,
        ),
        padding: any(&padding).then(|| mask(padding)),
        frozen: any(&frozen).then(|| mask(frozen)),
        domain: batches
            .as_ref()
            .and_then(|b| b.first())
            .map_or(0, |&b| b as usize),
        modalities: None,
        batches: batches.map(|b| {
            let n = b.len();
            Tensor::<1, Int>::from_data(TensorData::new(b, [n]), device)
        }),
    })
}

/// A matrix of the inputs.
fn matrix(case: &Case, name: &str, device: &Device) -> Result<Tensor<2>, String> {
    let a = case.input(name)?;
    let data = TensorData::new(a.f32(), a.shape.clone());
    Ok(Tensor::from_data(data, device))
}

fn whole(case: &Case, name: &str, device: &Device) -> Result<Tensor<2, Int>, String> {
    let a = case.input(name)?;
    let data = TensorData::new(a.ints(), a.shape.clone());
    Ok(Tensor::from_data(data, device))
}

/// Values of perturbed cells.
fn perturb(case: &Case, config: &ScGptConfig) -> Result<Vec<Row>, String> {
    let device = crate::device().autodiff();
    let pad = case.usize("/ctor/pert_pad_id", 2);
    let model = Perturb::new(config, pad, &device).map_err(|e| e.to_string())?;
    let model = load(model, &case.dir, &PERTURB_NAMES, &[])?;
    let mut seen = Record::default();
    let flags = whole(case, "pert_flags", &device)?;
    let predicted = model.forward_observed(&tokens(case, config, &device)?, flags, &mut seen);
    let mut found = seen.0;
    let target = matrix(case, "target_values", &device)?;
    let everywhere = target.ones_like();
    let loss = masked_mse(predicted.clone(), target, everywhere);
    add(&mut found, "mlm_output", predicted);
    add(&mut found, "loss.mse", loss.clone());
    add(&mut found, "loss.total", loss.clone());
    add_gradients(&mut found, loss.backward(), &model, &PERTURB_NAMES);
    Ok(case.compare(&found))
}

/// Both passes of generative pretraining.
fn generative(case: &Case, config: &ScGptConfig) -> Result<Vec<Row>, String> {
    let device = crate::device().autodiff();
    let model = ScGpt::new(config, &device).map_err(|e| e.to_string())?;
    let model = load(model, &case.dir, &NAMES, &[])?;
    let mask = |name: &str| -> Result<Tensor<2, Bool>, String> {
        Ok(whole(case, name, &device)?.not_equal_elem(0))
    };
    let genes = whole(case, "pcpt_gene", &device)?;
    let pad = config.pad as i64;
    let known = Tokens {
        frozen: Some(genes.clone().equal_elem(pad)),
        genes,
        values: matrix(case, "pcpt_expr", &device)?,
        padding: Some(mask("pcpt_key_padding_mask")?),
        batches: None,
        modalities: None,
        domain: 0,
    };
    let genes = whole(case, "gen_gene", &device)?;
    let targets = Targets {
        frozen: Some(genes.clone().equal_elem(pad)),
        padding: Some(mask("gen_key_padding_mask")?),
        genes,
    };
    let mut found = Found::new();
    let mut pass = |prefix: &str, targets: Option<&Targets>, prompt| {
        let mut seen = Record::default();
        let outputs = model.generate_observed(&known, targets, prompt, &mut seen);
        add(&mut seen.0, "pcpt_preds", outputs.known.value.clone());
        if let Some(targets) = &outputs.targets {
            add(&mut seen.0, "gen_preds", targets.value.clone());
        }
        if let Some(from_cell) = &outputs.from_cell {
            add(&mut seen.0, "mvc_output", from_cell.value.clone());
        }
        found.extend(
            seen.0
                .into_iter()
                .map(|(n, v)| (format!("{prefix}.{n}"), v)),
        );
        outputs
    };
    pass("pcpt_only", None, None);
    let first = pass("pass1", Some(&targets), None);
    let second = pass("pass2", Some(&targets), Some(first.cell.clone().detach()));
    let target = matrix(case, "gen_expr_target", &device)?;
    let [_, count] = target.dims();
    let kept = mask("gen_key_padding_mask")?.bool_not().float();
    let term = |p: Tensor<2>| masked_mse(p, target.clone(), kept.clone());
    let missing = || "the generative stream is missing".to_string();
    let values = first.targets.ok_or_else(missing)?.value;
    let mre = masked_relative_error(values.clone(), target.clone(), kept.clone());
    let mut total = term(values);
    add(&mut found, "loss.mse", total.clone());
    add(&mut found, "metric.mre", mre);
    if let Some(from_cell) = first.from_cell {
        let [_, all] = from_cell.value.dims();
        let mvc = term(from_cell.value.narrow(1, all - count, count));
        add(&mut found, "loss.mvc", mvc.clone());
        total = total + mvc;
    }
    let prompted = term(second.targets.ok_or_else(missing)?.value);
    add(&mut found, "loss.gen", prompted.clone());
    total = total + prompted;
    add(&mut found, "loss.total", total.clone());
    add_gradients(&mut found, total.backward(), &model, &NAMES);
    // The generative branch is made of flash attention and names the joint projection after it.
    let flash = found.iter().filter_map(|(name, value)| {
        let flash = name.replace("self_attn.in_proj_", "self_attn.Wqkv.");
        (flash != *name).then(|| (flash, value.clone()))
    });
    found.extend(flash.collect::<Vec<_>>());
    Ok(case.compare(&found))
}

fn predictions(outputs: &Outputs, ours: &mut Found) {
    let mut prediction = |name: &str, p: &Prediction| {
        add(ours, format!("{name}_output"), p.value.clone());
        if let Some(expressed) = &p.expressed {
            add(ours, format!("{name}_zero_probs"), expressed.clone());
        }
    };
    prediction("mlm", &outputs.expression);
    if let Some(from_cell) = &outputs.from_cell {
        prediction("mvc", from_cell);
    }
    if let Some(classes) = &outputs.classes {
        add(ours, "cls_output", classes.clone());
    }
    if let Some(batches) = &outputs.batches {
        add(ours, "dab_output", batches.clone());
    }
    add(ours, "cell_emb_l2", unit(outputs.encoded.cell.clone()));
}

fn ecs(case: &Case, outputs: &Outputs) -> Tensor<1> {
    elastic_cell_similarity(
        outputs.encoded.cell.clone(),
        case.f64("/ctor/ecs_threshold", 0.3),
    )
}

/// Adds every loss term to `found`; returns the total.
fn losses(
    case: &Case,
    config: &ScGptConfig,
    outputs: &Outputs,
    device: &Device,
    found: &mut Found,
) -> Result<Tensor<1>, String> {
    let float = |name: &str| -> Result<Tensor<2>, String> {
        let a = case.input(name)?;
        Ok(Tensor::from_data(
            TensorData::new(a.f32(), a.shape.clone()),
            device,
        ))
    };
    let labels = |name: &str| -> Result<Tensor<1, Int>, String> {
        let a = case.input(name)?;
        Ok(Tensor::from_data(
            TensorData::new(a.ints(), a.shape.clone()),
            device,
        ))
    };
    let (target, mask) = (float("target_values")?, float("masked_positions")?);
    let mut terms: Vec<(&str, Tensor<1>, f64)> = Vec::new();
    if case.flag("/forward/GEP") {
        let p = &outputs.expression;
        terms.push((
            "gep",
            masked_mse(p.value.clone(), target.clone(), mask.clone()),
            1.0,
        ));
        if let Some(e) = &p.expressed {
            terms.push((
                "zero_log_prob",
                expressed_nll(e.clone(), target.clone(), mask.clone()),
                1.0,
            ));
        }
        let mre = masked_relative_error(p.value.clone(), target.clone(), mask.clone());
        add(found, "metric.mre", mre);
    }
    if let (true, Some(p)) = (case.flag("/forward/MVC"), &outputs.from_cell) {
        terms.push((
            "gepc",
            masked_mse(p.value.clone(), target.clone(), mask.clone()),
            1.0,
        ));
        if let Some(e) = &p.expressed {
            terms.push((
                "gepc_zero_log_prob",
                expressed_nll(e.clone(), target, mask),
                1.0,
            ));
        }
    }
    if case.flag("/forward/ECS") {
        let raw = ecs(case, outputs);
        add(found, "loss.ecs_raw", raw.clone());
        terms.push(("ecs", raw * 10.0, 1.0));
    }
    if let (true, Some(logits)) = (case.flag("/forward/CLS"), &outputs.classes) {
        let truth = labels("celltype_labels")?;
        let wrong = logits
            .clone()
            .argmax(1)
            .squeeze_dim::<1>(1)
            .not_equal(truth.clone());
        add(found, "metric.error_rate", wrong.float().mean());
        terms.push(("cls", cross_entropy(logits.clone(), truth), 1.0));
    }
    if let (true, Some(logits)) = (config.adversary_batches > 0, &outputs.batches) {
        let weight = case.f64("/forward/dab_weight", 1.0);
        terms.push((
            "dab",
            cross_entropy(logits.clone(), labels("batch_labels")?),
            weight,
        ));
    }
    let mut total = Tensor::<1>::zeros([1], device);
    for (name, term, weight) in terms {
        add(found, format!("loss.{name}"), term.clone());
        total = total + term * weight;
    }
    add(found, "loss.total", total.clone());
    Ok(total)
}
