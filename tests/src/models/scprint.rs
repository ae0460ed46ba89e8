//! scPRINT cases: training passes with any options, predictions, and networks from attention.

use super::tokens::exact;
use super::{Found, add, add_gradients, load};
use crate::case::{self, Array, Case};
use crate::row::Row;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use sc_data::CsrMatrix;
use sc_models::layers::observe::Record;
use sc_models::scprint::network::{QueriesKeys, Scores, Shape};
use sc_models::scprint::{
    CellDecoder, Class, GeneEmbeddings, Likelihood, NAMES, Normalisation, Output, Positions,
    Prediction, ScPrint, ScPrintConfig, Tokens, genome_positions, pool_embeddings,
};
use sc_train::losses::cross_entropy;
use sc_train::losses::expression::elastic_cell_similarity;
use sc_train::losses::scprint::{self as objective, Contrast, Hierarchy};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Our configuration for a reference constructor, or why there is none.
fn config(case: &Case, weights: &BTreeMap<String, Array>) -> Result<ScPrintConfig, String> {
    let size = |name: &str, axis: usize| {
        let found = weights.get(name);
        found.and_then(|w| w.shape.get(axis)).map_or(0, |&n| n)
    };
    let classes = case.config.get("classes").and_then(Value::as_array);
    let classes = classes.into_iter().flatten().filter_map(|pair| {
        let name = pair.get(0)?.as_str()?.to_string();
        let leaves = pair.get(1)?.as_u64()? as usize;
        Some(Class { name, leaves })
    });
    let classes: Vec<Class> = classes.collect();
    let class_layers = match classes.first() {
        // Linear layers of a decoder are four apart.
        Some(class) => (0..)
            .map_while(|i| {
                let name = format!("cls_decoders.{}.decoder.{}.weight", class.name, 4 * i);
                weights.get(&name).map(|w| w.shape[0])
            })
            .collect(),
        None => Vec::new(),
    };
    let value_layers = (0..)
        .take_while(|i| weights.contains_key(&format!("expr_encoder.encoder.{}.weight", 4 * i)))
        .count();
    let refuse = |what: &str, value: &str| Err(format!("{what} = {value} is not built"));
    Ok(ScPrintConfig {
        genes: size("gene_encoder.embedding.weight", 0),
        width: size("gene_encoder.embedding.weight", 1),
        layers: (0..)
            .take_while(|i| weights.contains_key(&format!("transformer.blocks.{i}.norm1.weight")))
            .count(),
        heads: case.usize("/nhead", 1),
        dropout: 0.0,
        normalisation: match case.str("/normalization", "sum") {
            "sum" => Normalisation::Sum,
            "log" => Normalisation::Log,
            other => return refuse("normalization", other),
        },
        value_layers,
        positions: match weights.contains_key("pos_encoder.pe") {
            true => Positions::Genome,
            false => Positions::None,
        },
        gene_embeddings: match case
            .outputs
            .contains_key("grad.gene_encoder.embedding.weight")
        {
            true => GeneEmbeddings::Learned,
            false => GeneEmbeddings::Frozen,
        },
        classes,
        class_layers,
        likelihood: match size("expr_decoder.pred_var_zero.weight", 0) {
            3 => Likelihood::Zinb,
            _ => Likelihood::Mean,
        },
        cell_decoder: match case.str("/mvc_decoder", "None") {
            "None" => CellDecoder::None,
            "inner product" => CellDecoder::InnerProduct,
            other => return refuse("mvc_decoder", other),
        },
        adversary_batches: size("grad_reverse_discriminator_loss.out_layer.bias", 0),
    })
}

/// Everything a pass needs of a case.
struct Setting<'a> {
    case: &'a Case,
    config: &'a ScPrintConfig,
    model: &'a ScPrint,
    device: &'a Device,
    genes: Tensor<2, Int>,
    counts: Arc<CsrMatrix>,
    depth: Tensor<1>,
    shape: [usize; 2],
    labels: Vec<Vec<Option<usize>>>,
    hierarchies: Vec<Hierarchy>,
}

impl<'a> Setting<'a> {
    fn read(
        case: &'a Case,
        config: &'a ScPrintConfig,
        model: &'a ScPrint,
        device: &'a Device,
    ) -> Result<Self, String> {
        let genes = case.input("genes")?;
        let shape = [genes.shape[0], genes.shape[1]];
        let depth = case.input("depth")?;
        let classes = config.classes.len();
        let all = case
            .inputs
            .get("class")
            .map(Array::ints)
            .unwrap_or_default();
        let labels = (0..classes).map(|c| {
            let column = all.iter().skip(c).step_by(classes.max(1));
            column.map(|&l| usize::try_from(l).ok()).collect()
        });
        let hierarchies = config.classes.iter().map(|class| Hierarchy {
            leaves: class.leaves,
            inner: inner(case, class),
        });
        Ok(Self {
            case,
            config,
            model,
            device,
            genes: Tensor::from_data(TensorData::new(genes.ints(), shape), device),
            counts: Arc::new(CsrMatrix::from_dense(shape[1], &case.input("x")?.f32())),
            depth: Tensor::from_data(TensorData::new(depth.f32(), depth.shape.clone()), device),
            shape,
            labels: labels.collect(),
            hierarchies: hierarchies.collect(),
        })
    }

    fn matrix(&self, values: Vec<f32>) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values, self.shape), self.device)
    }

    fn counts(&self) -> Tensor<2> {
        self.matrix(self.counts.to_dense())
    }

    fn totals(&self) -> Tensor<1> {
        self.counts().sum_dim(1).squeeze_dim::<1>(1)
    }

    /// The cells as they are.
    fn tokens(&self) -> Tokens {
        Tokens {
            genes: self.genes.clone(),
            counts: Some(self.counts()),
            hidden: None,
            depth: Some(self.depth.clone()),
            cells: None,
            total: self.totals(),
        }
    }

    /// The cells to be generated from cell tokens.
    fn generate(&self, cells: Tensor<3>) -> Tokens {
        Tokens {
            counts: None,
            depth: None,
            cells: Some(cells),
            ..self.tokens()
        }
    }

    fn classification(&self, index: usize, logits: Tensor<2>) -> Tensor<1> {
        objective::classification(logits, &self.labels[index], &self.hierarchies[index])
    }
}

/// Leaves below every label above the leaves.
fn inner(case: &Case, class: &Class) -> Vec<Vec<usize>> {
    let labels = case
        .config
        .pointer(&format!("/labels_hierarchy/{}", class.name));
    let Some(labels) = labels.and_then(Value::as_object) else {
        return Vec::new();
    };
    let mut found = vec![Vec::new(); labels.len()];
    for (label, leaves) in labels {
        let at = label.parse::<usize>().ok();
        let at = at.and_then(|l| l.checked_sub(class.leaves));
        if let Some(slot) = at.and_then(|i| found.get_mut(i)) {
            let leaves = leaves.as_array().into_iter().flatten();
            *slot = leaves
                .filter_map(|l| l.as_u64().map(|l| l as usize))
                .collect();
        }
    }
    found
}

/// Training passes, their losses and gradients, and predictions.
pub fn passes(case: &Case) -> Result<Vec<Row>, String> {
    let device = crate::device().autodiff();
    let weights = case::read(&case.dir.join("weights.safetensors"))?;
    let config = config(case, &weights)?;
    let model = ScPrint::new(&config, &device).map_err(|e| e.to_string())?;
    let model = load(model, &case.dir, &NAMES, &[])?;
    let setting = Setting::read(case, &config, &model, &device)?;
    let mut found = Found::new();
    if let Some(table) = case.inputs.get("precpt_gene_emb") {
        let pooled = pool_embeddings(&table.f32(), table.shape[1], config.width);
        found.insert("pooled_gene_emb".into(), pooled);
    }
    let total = train(&setting, &mut found)?;
    add(&mut found, "loss.total", total.clone());
    add_gradients(&mut found, total.backward(), &model, &NAMES);
    let mut rows = predict(&setting, &mut found)?;
    rows.extend(positions(case, &weights, &config));
    let compared = case.compare(&found).into_iter();
    let by_hand = |name: &str| name.starts_with("predict.") && name.ends_with(".class");
    rows.extend(compared.filter(|r| !by_hand(r.name.split(' ').next().unwrap_or_default())));
    Ok(rows)
}

/// Our table of places in the genome is the one of the weights.
fn positions(
    case: &Case,
    weights: &BTreeMap<String, Array>,
    config: &ScPrintConfig,
) -> Option<Row> {
    let places = case.config.get("gene_pos_enc")?.as_array()?;
    let places: Vec<usize> = places
        .iter()
        .filter_map(|p| p.as_u64().map(|p| p as usize))
        .collect();
    let expected = weights.get("pos_encoder.pe")?;
    let found = genome_positions(&places, config.width);
    let error = expected.data.iter().zip(&found);
    let error = error
        .map(|(a, b)| (a - f64::from(*b)).abs())
        .fold(0.0, f64::max);
    let tolerance = case::MULTIPLE * case::HALF_ULP;
    Some(Row::check("weights.pos_encoder.pe", error, tolerance))
}

/// Runs every pass of the case; returns the total loss.
fn train(s: &Setting<'_>, found: &mut Found) -> Result<Tensor<1>, String> {
    let case = s.case;
    let passes = case.config.get("passes").and_then(Value::as_array);
    let passes: Vec<&str> = passes
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let ratios: Vec<f64> = case
        .config
        .get("mask_ratio")
        .map_or(Vec::new(), |r| match r {
            Value::Array(list) => list.iter().filter_map(Value::as_f64).collect(),
            one => one.as_f64().into_iter().collect(),
        });
    let noise = case.f64("/noise", 0.6);
    let percent = |share: f64| format!("{}pct", (share * 100.0) as i64);
    let mut total = Tensor::<1>::zeros([1], s.device);
    let mut outputs: Vec<Output> = Vec::new();
    let mut full = None;
    let mut masks = ratios.iter();
    for (i, pass) in passes.iter().enumerate() {
        let mut tokens = s.tokens();
        let mut expression = Expression::Counted;
        let name = match *pass {
            "full" => {
                expression = Expression::Left;
                "full_forward_".to_string()
            }
            "gen" => {
                let from = full.as_ref().or(outputs.last());
                let from = from.ok_or("a generation pass needs a pass before it")?;
                tokens = s.generate(from.cells.clone());
                "gen_".to_string()
            }
            mask if mask.starts_with("mask") => {
                let ratio = *masks.next().ok_or("more masking passes than ratios")?;
                let uniform = case.inputs.get(&format!("{mask}_uniform"));
                let uniform = uniform.map_or_else(|| case.input("mask_uniform"), Ok)?;
                let hidden: Vec<bool> = uniform.data.iter().map(|&u| u < ratio).collect();
                let hidden = TensorData::new(hidden, s.shape);
                tokens.hidden = Some(Tensor::<2, Bool>::from_data(hidden, s.device));
                format!("mask_{}_", percent(ratio))
            }
            _ => {
                let noisy = objective::downsample(
                    &s.counts.to_dense(),
                    &case.input("downsample_poisson")?.f32(),
                    &case.input("downsample_uniform")?.f32(),
                    objective::noise_share(noise),
                );
                found.insert("x_downsampled".into(), noisy.clone());
                tokens.counts = Some(s.matrix(noisy));
                format!("denoise_{}_", percent(noise))
            }
        };
        let mut seen = Record::default();
        let output = s.model.forward_observed(&tokens, &mut seen);
        let first = i == 0;
        let extra = Extra {
            first,
            expression,
            name: &name,
        };
        let loss = losses(s, &output, &extra, &mut seen, found)?;
        add(found, format!("loss.{pass}.total"), loss.clone());
        let named = seen.0.into_iter();
        found.extend(named.map(|(k, v)| (format!("{pass}.{k}"), v)));
        total = total + loss;
        if *pass == "full" {
            full = Some(output.clone());
        }
        outputs.push(output);
    }
    if case.flag("/do_cce") {
        let mut sum = Tensor::<1>::zeros([1], s.device);
        for (i, a) in outputs.iter().enumerate() {
            for b in &outputs[i + 1..] {
                sum = sum
                    + objective::contrast(
                        a.cell.clone(),
                        b.cell.clone(),
                        case.f64("/cce_sim", 0.5),
                        Contrast::Published,
                    );
            }
        }
        let factorial: f64 = (1..=outputs.len()).map(|n| n as f64).product();
        let mean = sum / factorial;
        add(found, "loss.cce", mean.clone());
        total = total + mean * case.f64("/cce_scale", 0.002);
    }
    Ok(total)
}

/// Whether the likelihood of the counts is part of a pass's loss.
#[derive(PartialEq)]
enum Expression {
    Counted,
    /// The reference removes it from the pass on the cells as they are.
    Left,
}

/// What is special about a pass.
struct Extra<'a> {
    /// Classes and the cell decoder are asked for in the first pass only.
    first: bool,
    expression: Expression,
    name: &'a str,
}

fn losses(
    s: &Setting<'_>,
    output: &Output,
    pass: &Extra<'_>,
    seen: &mut Record,
    found: &mut Found,
) -> Result<Tensor<1>, String> {
    let case = s.case;
    let mut total = Tensor::<1>::zeros([1], s.device);
    let mut term = |found: &mut Found, name: &str, loss: Tensor<1>, scale: f64| {
        add(found, format!("loss.{}{name}", pass.name), loss.clone());
        total = total.clone() + loss * scale;
    };
    let expr = match pass.expression {
        Expression::Counted => objective::expression(&output.counts, &s.counts),
        Expression::Left => Tensor::<1>::zeros([1], s.device),
    };
    term(found, "expr", expr, 1.0);
    let class_scale = case.f64("/class_scale", 1.5);
    if !s.config.classes.is_empty() {
        let similarity = objective::token_similarity(output.cells.clone());
        let scale = case.f64("/class_embd_diss_scale", 0.2);
        term(found, "class_emb_sim", similarity, scale);
    }
    if pass.first && !s.config.classes.is_empty() {
        let mut sum = Tensor::<1>::zeros([1], s.device);
        for (i, (name, logits)) in s.model.classes(output).into_iter().enumerate() {
            add(&mut seen.0, format!("cls_output_{name}"), logits.clone());
            let loss = s.classification(i, logits);
            add(found, format!("loss.cls.{name}"), loss.clone());
            sum = sum + loss;
        }
        term(found, "cls", sum, class_scale);
        if case.flag("/do_adv_cls") {
            let mut sum = Tensor::<1>::zeros([1], s.device);
            let logits = s.model.adversarial_classes(output).into_iter();
            for (i, (name, logits)) in logits.enumerate() {
                let loss = s.classification(i, logits);
                add(found, format!("loss.adv_cls.{name}"), loss.clone());
                sum = sum + loss;
            }
            term(found, "adv_cls", sum, case.f64("/adv_class_scale", 0.1));
        }
        if case.flag("/do_adv_batch")
            && let Some(logits) = s.model.adversarial_batches(output)
        {
            let batches = case.input("batch_label")?;
            let batches = TensorData::new(batches.ints(), batches.shape.clone());
            let batches = Tensor::<1, Int>::from_data(batches, s.device);
            let loss = cross_entropy(logits, batches);
            term(found, "adv_batch", loss, class_scale / 16.0);
        }
    }
    if pass.first
        && case.flag("/do_mvc")
        && let Some(prediction) = s.model.counts_from_cell_observed(output, seen)
    {
        let loss = objective::expression(&prediction, &s.counts);
        term(found, "expr_mvc", loss, case.f64("/mvc_scale", 1.0));
    }
    if case.flag("/do_ecs") {
        let threshold = case.f64("/ecs_threshold", 0.3);
        let loss = elastic_cell_similarity(output.cell.clone(), threshold);
        term(found, "ecs", loss, case.f64("/ecs_scale", 0.05));
    }
    Ok(total)
}

/// Predictions on the cells as they are, for deeper cells, and generated ones.
fn predict(s: &Setting<'_>, found: &mut Found) -> Result<Vec<Row>, String> {
    let deeper = s.case.f64("/predict_depth_mult", 3.0);
    let classes = s
        .case
        .config
        .get("pred_embedding")
        .and_then(Value::as_array);
    let classes = classes.into_iter().flatten().filter_map(Value::as_str);
    let at = |name| s.config.classes.iter().position(|c| c.name == name);
    let classes: Vec<usize> = classes.filter_map(at).collect();
    let mut rows = Vec::new();
    for mode in ["none", "denoise", "generate"] {
        let prefix = format!("predict.{mode}");
        if !s.case.outputs.keys().any(|k| k.starts_with(&prefix)) {
            continue;
        }
        let mut tokens = s.tokens();
        if mode == "denoise" {
            tokens.total = tokens.total * deeper;
            tokens.depth = tokens.depth.map(|d| d * deeper);
        }
        let mut seen = Record::default();
        let output = s.model.forward_observed(&tokens, &mut seen);
        add(
            found,
            format!("{prefix}.embs"),
            s.model.embedding(&output, &classes),
        );
        if mode == "none" {
            let layers = seen.0.into_iter().filter(|(k, _)| k.starts_with("qk."));
            found.extend(layers.map(|(k, v)| (format!("predict.{k}"), v)));
        }
        let output = match mode {
            "generate" => s.model.forward(&s.generate(output.cells)),
            _ => output,
        };
        let Prediction { mean, spread } = output.counts.clone();
        add(found, format!("{prefix}.mean"), mean);
        if let Some([dispersion, zero]) = spread {
            add(found, format!("{prefix}.disp"), dispersion);
            add(found, format!("{prefix}.zero_logits"), zero);
        }
        let logits = s.model.classes(&output).into_iter();
        let best: Vec<Vec<f32>> = logits
            .map(|(_, l)| sc_models::weights::host(l.argmax(1).float()))
            .collect();
        let cells = s.shape[0];
        let best: Vec<f64> = (0..cells)
            .flat_map(|i| best.iter().map(move |column| f64::from(column[i])))
            .collect();
        if s.case.outputs.contains_key(&format!("{prefix}.class")) {
            rows.push(exact(s.case, &format!("{prefix}.class"), &best));
        }
    }
    Ok(rows)
}

/// Networks from queries and keys.
pub fn network(case: &Case) -> Result<Vec<Row>, String> {
    let genes = case.input("genes")?;
    let (cells, context) = (genes.shape[0], genes.shape[1]);
    let layers: Vec<&Array> = (0..)
        .map_while(|i| case.inputs.get(&format!("qk.{i}")))
        .collect();
    let first = layers.first().ok_or("input qk.0 is missing")?;
    let [_, tokens, _, heads, head] = first.shape.as_slice() else {
        return Err(format!("qk.0: shape {:?}", first.shape));
    };
    let shape = Shape {
        layers: layers.len(),
        heads: *heads,
        head: *head,
        cell_tokens: tokens - context,
        genes: case.usize("/n_genes", 0),
    };
    let mut sums = QueriesKeys::new(shape);
    let values: Vec<Vec<f32>> = layers.iter().map(|l| l.f32()).collect();
    let ids = genes.ints();
    for cell in 0..cells {
        let width = tokens * 2 * heads * head;
        let of: Vec<&[f32]> = values
            .iter()
            .map(|l| &l[cell * width..(cell + 1) * width])
            .collect();
        let genes = &ids[cell * context..(cell + 1) * context];
        let genes: Vec<usize> = genes.iter().map(|&g| g as usize).collect();
        sums.add(&of, &genes);
    }
    let averages = sums.average();
    let mut found = Found::new();
    let kept = &averages.genes;
    let seen = (0..shape.genes).map(|g| f64::from(u8::from(kept.contains(&g))));
    let kept: Vec<f64> = kept.iter().map(|&g| g as f64).collect();
    let mut rows = vec![
        exact(case, "gene_seen", &seen.collect::<Vec<_>>()),
        exact(case, "kept_genes", &kept),
    ];
    let n = averages.tokens();
    let mut per_head = vec![0f32; n * n * averages.heads()];
    for h in 0..averages.heads() {
        let weights = averages.head(h, Scores::Softmax).weights;
        for (k, w) in weights.into_iter().enumerate() {
            per_head[k * averages.heads() + h] = w;
        }
    }
    let mean = averages.mean(None, Scores::Softmax);
    let first = averages.cell_tokens;
    let thresh = mean.clone().above_even().without_first(first);
    let top = mean
        .clone()
        .strongest(case.usize("/k", 5))
        .without_first(first);
    let chosen = case.input("selected_heads")?.data.iter().enumerate();
    let chosen: Vec<usize> = chosen.filter(|(_, v)| **v != 0.0).map(|(h, _)| h).collect();
    let selected = averages
        .mean(Some(&chosen), Scores::Softmax)
        .without_first(first);
    for (name, network) in [("grn_thresh", &thresh), ("grn_topk", &top)] {
        let kept = network
            .weights
            .iter()
            .map(|w| f64::from(u8::from(*w != 0.0)));
        rows.push(exact(
            case,
            &format!("{name}_nonzero"),
            &kept.collect::<Vec<_>>(),
        ));
    }
    let rest = [
        ("qk_average", averages.values.clone()),
        ("per_head", per_head),
        ("mean", mean.weights),
        ("max", averages.max(Scores::Softmax).weights),
        (
            "mean_symmetrized",
            averages.mean(None, Scores::Symmetric).weights,
        ),
        ("mean_no_softmax", averages.mean(None, Scores::Raw).weights),
        ("grn_thresh", thresh.weights),
        ("grn_topk", top.weights),
        ("selected_mean_T", selected.transpose().weights),
        ("selected_mean", selected.weights),
    ];
    found.extend(rest.map(|(name, values)| (name.to_string(), values)));
    let by_hand: Vec<String> = rows.iter().map(|r| stem(&r.name)).collect();
    let compared = case.compare(&found).into_iter();
    rows.extend(compared.filter(|r| !by_hand.contains(&stem(&r.name))));
    Ok(rows)
}

/// The name of an output, without what a row says of its shape.
fn stem(name: &str) -> String {
    name.split(' ').next().unwrap_or_default().to_string()
}
