//! Nicheformer: masked tokens, pooled embeddings, heads on the pooled output.

use super::{Found, add, add_gradients, load};
use crate::case::Case;
use crate::row::Row;
use burn::tensor::{Device, Int, Tensor, TensorData};
use sc_data::tokens::ranks::{self, MaskDraws};
use sc_models::layers::observe::Record;
use sc_models::nicheformer::{
    Combine, Context, HeadConfig, NAMES, NicheHead, Nicheformer, NicheformerConfig, Pooling, Tokens,
};
use sc_train::losses::cross_entropy;
use sc_train::losses::tokens::{Composition, composition_mse};
use serde_json::Value;

/// Context tokens before the genes.
const CONTEXT: usize = 3;

fn config(case: &Case) -> NicheformerConfig {
    let tokens = case.usize("/n_tokens", 0);
    NicheformerConfig {
        tokens,
        table: tokens + 5,
        context_length: case.usize("/context_length", 0),
        width: case.usize("/dim_model", 0),
        layers: case.usize("/nlayers", 0),
        heads: case.usize("/nheads", 0),
        feed_forward: case.usize("/dim_feedforward", 0),
        dropout: 0.0,
        pooling: Pooling::Released,
    }
}

/// Input ids of every cell, and how many cells there are.
fn ids(case: &Case) -> Result<(Vec<u32>, usize), String> {
    let genes = case.input("X")?;
    let (cells, width) = (genes.shape[0], genes.shape[1]);
    let length = case.usize("/context_length", 0);
    let context = ["specie", "assay", "modality"].map(|name| case.input(name).map(|a| a.ints()));
    let [species, assay, modality] = context;
    let (species, assay, modality) = (species?, assay?, modality?);
    let mut out = Vec::with_capacity(cells * length);
    for i in 0..cells {
        let row = genes.data[i * width..(i + 1) * width].iter();
        // Padding is 0 in the stored corpus.
        let tokens: Vec<u32> = row
            .map(|&t| if t == 0.0 { ranks::PAD } else { t as u32 })
            .collect();
        let context = [&species, &assay, &modality].map(|c| c[i] as u32);
        out.extend(ranks::input_ids(context, &tokens, length).0);
    }
    Ok((out, cells))
}

fn on_device(ids: &[u32], cells: usize, device: &Device) -> Tensor<2, Int> {
    let data: Vec<i64> = ids.iter().map(|&t| i64::from(t)).collect();
    let shape = [cells, ids.len() / cells.max(1)];
    Tensor::from_data(TensorData::new(data, shape), device)
}

/// The masked-token objective and the embeddings.
pub fn forward(case: &Case) -> Result<Vec<Row>, String> {
    let device = crate::device().autodiff();
    let config = config(case);
    let model = Nicheformer::new(&config, &device).map_err(|e| e.to_string())?;
    let model = load(model, &case.dir, &NAMES, &[])?;
    let (ids, cells) = ids(case)?;
    let draw = |name: &str| {
        case.input(name)
            .map(|a| a.data.iter().map(|v| *v != 0.0).collect())
    };
    let tokens = case.input("draw_random_tokens")?.data.iter();
    let draws = MaskDraws {
        select: draw("draw_select")?,
        random: draw("draw_random")?,
        token: tokens.map(|&t| t as u32).collect(),
        same: draw("draw_same")?,
    };
    let (shown, asked) = ranks::mask(&ids, &draws);
    let mut found = Found::new();
    let mut host = |name: &str, values: Vec<f32>| found.insert(name.to_string(), values);
    let floats = |v: &[u32]| v.iter().map(|&t| t as f32).collect::<Vec<_>>();
    host("input_ids", floats(&ids));
    host("masked_indices", floats(&shown));
    // The reference says "mask 0" where it asks, and writes 1 where a token is attended to.
    let flags = |v: Vec<bool>| v.into_iter().map(|b| f32::from(u8::from(b))).collect();
    host("mask", flags(asked.iter().map(|a| !a).collect()));
    host(
        "attention_mask",
        flags(ids.iter().map(|&t| t == ranks::PAD).collect()),
    );
    let targets = ids.iter().zip(&asked);
    let targets = targets.map(|(&t, &a)| if a { t as f32 } else { -100.0 });
    host("targets", targets.collect());

    let mut seen = Record::default();
    let tokens = Tokens {
        padding: Tokens::new(on_device(&ids, cells, &device)).padding,
        ids: on_device(&shown, cells, &device),
    };
    let last = model.last_observed(&tokens, &mut seen);
    found.extend(seen.0);
    let [b, l, d] = last.dims();
    let flat = last.reshape([b * l, d]);
    add(&mut found, "mlm_prediction", model.logits(flat.clone()));
    let (at, truth): (Vec<i64>, Vec<i64>) = (0i64..)
        .zip(ids.iter().zip(&asked))
        .filter(|(_, (_, a))| **a)
        .map(|(i, (&t, _))| (i, i64::from(t)))
        .unzip();
    let index = |v: Vec<i64>| {
        let n = v.len();
        Tensor::<1, Int>::from_data(TensorData::new(v, [n]), &device)
    };
    let logits = model.logits(flat.select(0, index(at)));
    let loss = cross_entropy(logits, index(truth));
    add(&mut found, "loss.mlm", loss.clone());
    add(&mut found, "loss.total", loss.clone());
    add_gradients(&mut found, loss.backward(), &model, &NAMES);

    let tokens = Tokens::new(on_device(&ids, cells, &device));
    let outputs = model.encode(&tokens);
    for name in case.outputs.keys() {
        let Some(rest) = name.strip_prefix("embedding.layer_") else {
            continue;
        };
        let (layer, context) = rest.split_once('.').unwrap_or((rest, ""));
        let layer = layer.parse().unwrap_or(outputs.len() - 1);
        let context = match context {
            "with_context" => Context::With,
            _ => Context::Without,
        };
        add(
            &mut found,
            name,
            model.pool(outputs[layer].clone(), &tokens, context),
        );
    }
    let last = outputs[outputs.len() - 1].clone();
    add(&mut found, "unmasked.transformer_output", last.clone());
    let masked = model.clone().with_pooling(Pooling::Masked);
    let pooled = masked.pool(last, &tokens, Context::Without);
    add(&mut found, "embedding.masked_pool", pooled);
    let mut rows = case.compare(&found);
    rows.push(not_in_the_minibatch(&masked, &ids, cells)?);
    Ok(rows)
}

/// Our own pooling gives a cell the same vector without its padding and its neighbours.
fn not_in_the_minibatch(model: &Nicheformer, ids: &[u32], cells: usize) -> Result<Row, String> {
    let length = ids.len() / cells;
    let alone = |ids: &[u32]| {
        let device = crate::device().autodiff();
        let tokens = Tokens::new(on_device(ids, 1, &device));
        let pooled = model.pool(model.last(&tokens), &tokens, Context::Without);
        sc_models::weights::host(pooled)
    };
    let mut worst = 0f64;
    for i in 0..cells {
        let row = &ids[i * length..(i + 1) * length];
        let cut = row.iter().position(|&t| t == ranks::PAD).unwrap_or(length);
        if cut <= CONTEXT {
            continue;
        }
        let pairs = alone(row).into_iter().zip(alone(&row[..cut]));
        worst = pairs.fold(worst, |w, (a, b)| w.max(f64::from((a - b).abs())));
    }
    Ok(Row::check("embedding without padding", worst, 1e-5))
}

/// Composition of the niche, for every variant of the head.
pub fn head(case: &Case) -> Result<Vec<Row>, String> {
    let mut found = Found::new();
    let variants = case.config.get("variants").and_then(Value::as_array);
    for (k, variant) in variants.into_iter().flatten().enumerate() {
        let ours = head_variant(case, variant)?;
        let name = variant.get("name").and_then(Value::as_str).unwrap_or("");
        let prefixed = ours.iter().map(|(n, v)| (format!("{name}.{n}"), v.clone()));
        found.extend(prefixed);
        if k == 0 {
            found.extend(ours);
        }
    }
    Ok(case.compare(&found))
}

fn head_variant(case: &Case, variant: &Value) -> Result<Found, String> {
    let device = crate::device().autodiff();
    let config = config(case);
    let flag = |name: &str| variant.get(name).and_then(Value::as_bool).unwrap_or(false);
    let layers = variant.get("extract_layers").and_then(Value::as_array);
    let layers = layers.into_iter().flatten().filter_map(Value::as_u64);
    let head = HeadConfig {
        outputs: case.usize("/dim_prediction", 1),
        layers: layers.map(|k| k as usize).collect(),
        combine: match variant.get("function_layers").and_then(Value::as_str) {
            Some("sum") => Combine::Sum,
            Some("concat") => Combine::Concat,
            _ => Combine::Mean,
        },
        context: if flag("without_context") {
            Context::Without
        } else {
            Context::With
        },
        extractor: flag("extractor"),
    };
    let backbone = Nicheformer::new(&config, &device).map_err(|e| e.to_string())?;
    let sizes = (config.width, config.layers);
    let model = NicheHead::new(backbone, sizes, &head, &device).map_err(|e| e.to_string())?;
    let names = sc_models::weights::Names {
        alias: str::to_string,
        ..NAMES
    };
    // The dense layer of the head and that of the backbone share a name but for the prefix.
    let extra: &[&str] = if head.extractor {
        &["backbone.pooler_head."]
    } else {
        &["backbone.pooler_head.", "pooler_head."]
    };
    let model = load(model, &case.dir, &names, extra)?;
    let (ids, cells) = ids(case)?;
    let predicted = model.forward(&Tokens::new(on_device(&ids, cells, &device)));
    let mut found = Found::new();
    add(&mut found, "linear_output", predicted.output.clone());
    add(
        &mut found,
        "prediction",
        burn::tensor::activation::softmax(predicted.output.clone(), 1),
    );
    add(&mut found, "representation", predicted.representation);
    let counts = case.input("X_niche_0")?;
    let counts = TensorData::new(counts.f32(), counts.shape.clone());
    let counts = Tensor::<2>::from_data(counts, &device);
    let loss = composition_mse(predicted.output, counts, Composition::Released);
    add(&mut found, "loss.total", loss.clone());
    add_gradients(&mut found, loss.backward(), &model, &names);
    Ok(found)
}
