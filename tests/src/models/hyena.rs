//! Hyena operators of every direction, and scHyena with its masked loss.

use super::{add, add_gradients, load};
use crate::case::Case;
use crate::row::Row;
use burn::tensor::{Device, Int, Tensor, TensorData};
use sc_models::hyena::{
    Activation, Direction, FilterConfig, HyenaOperator, NAMES, OperatorConfig, Profiles, ScHyena,
    ScHyenaConfig, Training,
};
use sc_models::layers::observe::Record;
use sc_models::weights::{self, Tensors};
use sc_train::losses::expression::masked_mse;

/// Runs one case; see [`super::run`].
pub fn run(case: &Case) -> Result<Result<Vec<Row>, String>, String> {
    let path = case.dir.join("weights.safetensors");
    let tensors = weights::read_safetensors(&path).map_err(|e| e.to_string())?;
    if case.inputs.contains_key("expression") {
        return masked(case, &tensors).map(Ok);
    }
    for (key, only) in [("num_heads", 1), ("inner_factor", 1)] {
        let value = case.usize(&format!("/{key}"), only);
        if value != only {
            // safari's own constructor or forward pass fails there.
            return Ok(Err(format!("{key} = {value} is not built")));
        }
    }
    operator(case, &tensors).map(Ok)
}

/// The sizes of the operator whose tensors begin with `prefix`, and what the weights do not tell.
fn config(case: &Case, tensors: &Tensors, prefix: &str) -> Result<OperatorConfig, String> {
    let dims = |name: &str| {
        let tensor = tensors.get(&format!("{prefix}{name}"));
        tensor
            .map(|t| t.shape.clone())
            .ok_or(format!("weight {prefix}{name} is missing"))
    };
    let projection = dims("in_proj.weight")?;
    let (width, order) = (projection[1], projection[0] / projection[1] - 1);
    let first = dims("filter_fn.implicit_filter.0.weight")?;
    let layers = (0..)
        .take_while(|i| dims(&format!("filter_fn.implicit_filter.{}.weight", 2 * i)).is_ok())
        .count();
    let last = dims(&format!(
        "filter_fn.implicit_filter.{}.weight",
        2 * (layers - 1)
    ))?;
    let rows = dims("filter_fn.pos_emb.t")?[1];
    let length = case.usize("/l_max", rows);
    let direction = if rows == 2 * length - 1 && length > 1 {
        Direction::CellPainTr
    } else if last[0] == 2 * width * (order - 1) {
        Direction::Both
    } else {
        Direction::Causal
    };
    let learned = |key: &str, default: f64| {
        if case.f64(key, default) == 0.0 {
            Training::Fixed
        } else {
            Training::Learned
        }
    };
    let short_filter = dims("short_filter.weight")?[2];
    let padding = match direction {
        Direction::Both => (short_filter - 1) / 2,
        Direction::Causal | Direction::CellPainTr => short_filter - 1,
    };
    Ok(OperatorConfig {
        width,
        length,
        order,
        direction,
        short_filter,
        short_padding: Some(case.usize("/short_filter_padding", padding)),
        blocks: case.usize("/num_blocks", 1),
        factors: dims("ord_proj_w").is_ok(),
        activation: match case.str("/activation", "id") {
            "id" | "identity" | "linear" => Activation::Identity,
            "tanh" => Activation::Tanh,
            "relu" => Activation::Relu,
            "gelu" => Activation::Gelu,
            "swish" | "silu" => Activation::Silu,
            "sigmoid" => Activation::Sigmoid,
            other => return Err(format!("activation = {other} is not built")),
        },
        dropout: 0.0,
        filter: FilterConfig {
            width: first[0],
            features: first[1],
            inner_layers: layers - 2,
            shift: case.f64(
                "/shift",
                if direction == Direction::CellPainTr {
                    0.05
                } else {
                    0.0
                },
            ),
            // CellPainTR has the switch and does not use it.
            normalized: case.flag("/normalized") && direction != Direction::CellPainTr,
            positions: match direction {
                Direction::CellPainTr => Training::Fixed,
                _ => learned("/lr_pos_emb", 1e-5),
            },
            decays: learned("/modulation_lr", 0.0),
            skip: case.config.get("bias").is_none_or(|b| b != false),
            ..FilterConfig::default()
        },
    })
}

fn float<const D: usize>(case: &Case, name: &str, device: &Device) -> Result<Tensor<D>, String> {
    let a = case.input(name)?;
    Ok(Tensor::from_data(
        TensorData::new(a.f32(), a.shape.clone()),
        device,
    ))
}

fn operator(case: &Case, tensors: &Tensors) -> Result<Vec<Row>, String> {
    let device = crate::device().autodiff();
    let config = config(case, tensors, "")?;
    let model = HyenaOperator::new(&config, &device).map_err(|e| e.to_string())?;
    let model = load(model, &case.dir, &NAMES, &[])?;
    let u = float::<3>(case, "u", &device)?.require_grad();
    let cotangent = float::<3>(case, "cotangent", &device)?;
    let [_, l, _] = u.dims();
    let length = l.min(config.length);

    let mut seen = Record::default();
    let out = model.forward_observed(u.clone(), &mut seen);
    let mut found = seen.0;
    for side in ["input", "output"] {
        if let Some(first) = found.get(&format!("conv.0.{side}")).cloned() {
            found.insert(format!("conv_{side}"), first);
        }
    }
    let loss = (out * cotangent.clone()).sum();
    add(&mut found, "loss.total", loss.clone());
    let grads = loss.backward();
    let input = u.grad(&grads).ok_or("the input has no gradient")?;
    add(&mut found, "grad_input.u", input);
    add_gradients(&mut found, grads, &model, &NAMES);
    if let Some(projected) = found.get("in_proj").cloned() {
        let [b, l, _] = u.dims();
        let shape = [b, l, (config.order + 1) * config.width];
        let projected = Tensor::<3>::from_data(TensorData::new(projected, shape), &device);
        let all = l + 2 * config.padding() - config.short_filter + 1;
        let short = model.short_filter().forward(projected, all);
        add(&mut found, "short_filter_uncropped", short.swap_dims(1, 2));
    }

    // The gradient of the filter: the same pass with the filter as a leaf.
    let filter = model.filter(length).detach().require_grad();
    let out = model.forward_with(u.clone(), &filter);
    let grads = (out * cotangent.clone()).sum().backward();
    let d_filter = filter.grad(&grads).ok_or("the filter has no gradient")?;
    add(&mut found, "grad_filter", d_filter.clone());
    let [_, channels] = filter.dims();
    let halves = [filter.clone().detach(), d_filter].map(|f| f.swap_dims(0, 1));
    for (name, x) in ["k", "grad_k"].into_iter().zip(halves) {
        for half in 0..2 {
            let part = x.clone().narrow(0, half * channels / 2, channels / 2);
            add(&mut found, format!("{name}{half}"), part);
        }
    }
    // And that of the convolution's input, with one convolution.
    if config.order == 2 {
        let x = model.project(u.detach());
        let v = (x[2].clone() * x[1].clone()).detach().require_grad();
        let y = model.convolve(v.clone(), &filter, 0);
        let out = model.output(y, x[0].clone());
        let grads = (out * cotangent).sum().backward();
        let d_input = v
            .grad(&grads)
            .ok_or("the convolution's input has no gradient")?;
        add(&mut found, "grad_conv_input", d_input.swap_dims(1, 2));
    }
    Ok(case.compare(&found))
}

fn masked(case: &Case, tensors: &Tensors) -> Result<Vec<Row>, String> {
    let device = crate::device().autodiff();
    let operator = config(case, tensors, "backbone.layers.0.mixer.")?;
    let dims = |name: &str| tensors.get(name).map(|t| t.shape.clone());
    let layers = (0..)
        .take_while(|i| dims(&format!("backbone.layers.{i}.norm1.weight")).is_some())
        .count();
    let values = float::<2>(case, "expression", &device)?;
    let [_, genes] = values.dims();
    let first = |name: &str| dims(name).map(|d| d[0]);
    let config = ScHyenaConfig {
        genes,
        vocabulary: first("backbone.embeddings.gene_embeddings.weight"),
        length: Some(operator.length),
        width: operator.width,
        layers,
        feed_forward: first("backbone.layers.0.mlp.fc1.weight").unwrap_or(0),
        order: operator.order,
        direction: operator.direction,
        short_filter: operator.short_filter,
        short_padding: operator.short_padding,
        filter: operator.filter,
        embedding_dropout: 0.0,
        dropout: 0.0,
        epsilon: case.f64("/layer_norm_eps", 1e-5),
    };
    let model = ScHyena::new(&config, &device).map_err(|e| e.to_string())?;
    let model = load(model, &case.dir, &NAMES, &[])?;
    let ids = case.input("gene_ids")?;
    let mask = float::<2>(case, "mask", &device)?;
    let profiles = Profiles {
        genes: Tensor::<2, Int>::from_data(TensorData::new(ids.ints(), ids.shape.clone()), &device),
        values: values.clone(),
        mask: Some(mask.clone()),
    };
    let mut seen = Record::default();
    let encoded = model.encode_observed(&profiles, &mut seen);
    let prediction = model.predict(&encoded);
    let mut found = seen.0;
    add(&mut found, "prediction", prediction.clone());
    let all = masked_mse(prediction.clone(), values.clone(), mask.ones_like());
    add(&mut found, "loss.mse_all_reported_only", all);
    let loss = masked_mse(prediction, values, mask);
    add(&mut found, "loss.mse_masked", loss.clone());
    add(&mut found, "loss.total", loss.clone());
    add_gradients(&mut found, loss.backward(), &model, &NAMES);
    Ok(case.compare(&found))
}
