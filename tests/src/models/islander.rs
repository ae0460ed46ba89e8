//! Islander: one training step of a perceptron that is classifier and autoencoder at once.

use super::{Found, add, add_gradients, load};
use crate::case::Case;
use crate::row::Row;
use burn::tensor::{Int, Tensor, TensorData};
use sc_data::CsrMatrix;
use sc_models::layers::norm::Phase;
use sc_models::layers::observe::Record;
use sc_models::perceptron::{NAMES, Perceptron, PerceptronConfig};
use sc_models::weights;
use sc_train::losses::supervised::{Mixup, mixup};
use sc_train::losses::tokens::mean_squared_error;
use serde_json::Value;
use std::sync::Arc;

/// Runs one case; see [`super::run`].
pub fn run(case: &Case) -> Result<Vec<Row>, String> {
    let device = crate::device().autodiff();
    let sizes = case.config.get("mlp_size").and_then(Value::as_array);
    let sizes: Vec<usize> = sizes
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_u64().map(|v| v as usize))
        .collect();
    let dropout_layer = case.flag("/dropout_layer");
    let config = PerceptronConfig {
        genes: case.usize("/n_gene", 0),
        // The list is that of encoder and decoder together, the latent in its middle.
        hidden: sizes[..sizes.len() / 2].to_vec(),
        latent: case.usize("/leak_dim", 16),
        decoder: true,
        classes: case.usize("/n_celltypes", 0),
        // A layer that drops next to nothing holds the place that the numbering knows.
        dropout: if dropout_layer { 1e-12 } else { 0.0 },
        epsilon: case.f64("/bn_eps", 1e-5),
        momentum: case.f64("/bn_momentum", 0.1),
    };
    let model = Perceptron::new(&config, &device).map_err(|e| e.to_string())?;
    let model = load(model, &case.dir, &NAMES, &[])?;
    let phase = match case.str("/mode", "eval") {
        "eval" => Phase::Eval,
        _ => Phase::Train,
    };
    let counts = case.input("counts")?;
    let counts = CsrMatrix::from_dense(counts.shape[1], &counts.f32());
    let labels = case.input("cell_type")?.ints();
    let step = Mixup {
        share: case.input("lam")?.data[0],
        partner: case.input("perm")?.ints(),
    };

    let mut seen = Record::default();
    let cells = Arc::new(counts);
    let latent = model.encode_observed(&cells, phase, &mut seen);
    let reconstruction = model.decode(latent.clone(), phase);
    let reconstruction = reconstruction.ok_or("there is no decoder")?;
    let mut found = seen.0;
    buffers(&model, "buffer_after_first_encoder_pass", &mut found);
    // The original runs the encoder once more for the classifier.
    let latent = model.encode(&cells, phase);
    buffers(&model, "buffer_after", &mut found);
    add(&mut found, "embedding", latent.clone());
    add(&mut found, "reconstruction", reconstruction.clone());
    let logits = model.classify(latent.clone()).ok_or("no classifier")?;
    add(&mut found, "logits", logits.clone());
    let prediction = logits.clone().argmax(1).squeeze_dim::<1>(1).float();
    add(&mut found, "prediction", prediction);
    let labels =
        Tensor::<1, Int>::from_data(TensorData::new(labels.clone(), [labels.len()]), &device);
    let classify = |z| model.classify(z).unwrap_or(logits.clone());
    let terms = mixup(latent, labels, &step, classify);
    let dense = TensorData::new(cells.to_dense(), [cells.rows(), cells.cols()]);
    let mse = mean_squared_error(reconstruction, Tensor::from_data(dense, &device));
    let mut total = mse.clone() * case.f64("/w_rec", 0.0);
    let classes = if case.flag("/mixup") {
        terms.plain.clone() + terms.mixed.clone()
    } else {
        terms.plain.clone()
    };
    total = total + classes * case.f64("/w_cet", 1.0);
    for (name, term) in [
        ("rec_mse", mse),
        ("cet", terms.plain),
        ("mixup", terms.mixed),
        ("mixup_a", terms.own),
        ("mixup_b", terms.partner),
        ("total", total.clone()),
    ] {
        add(&mut found, format!("loss.{name}"), term);
    }
    add(&mut found, "mixed_embedding", terms.embedding);
    add(&mut found, "mixed_logits", terms.logits);
    add_gradients(&mut found, total.backward(), &model, &NAMES);
    Ok(case.compare(&found))
}

fn buffers(model: &Perceptron, prefix: &str, found: &mut Found) {
    for (name, tensor) in weights::tensors(model, &NAMES) {
        found.insert(format!("{prefix}.{name}"), tensor.data);
    }
}
