//! UCE: released model in both padding modes, its objective, and STATE0's model.

use super::{Found, add, add_gradients, load};
use crate::case::{self, Case};
use crate::row::Row;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use sc_models::layers::observe::Record;
use sc_models::uce::{
    NAMES, PaddingMode, STATE0_NAMES, Sentences, State0, State0Config, Uce, UceConfig,
};
use sc_train::losses::tokens::binary_cross_entropy;

/// Rows of every stored tensor, 0 of one that is not there.
fn stored_rows(case: &Case) -> Result<impl Fn(&str) -> usize, String> {
    let weights = case::read(&case.dir.join("weights.safetensors"))?;
    Ok(move |name: &str| weights.get(name).map_or(0, |w| w.shape[0]))
}

fn load_uce(case: &Case, device: &Device) -> Result<Uce, String> {
    let rows = stored_rows(case)?;
    let config = UceConfig {
        tokens: rows("pe_embedding.weight"),
        token_dim: case.usize("/token_dim", 0),
        max_length: rows("pos_encoder.pe"),
        width: case.usize("/d_model", 0),
        layers: case.usize("/nlayers", 0),
        heads: case.usize("/nhead", 0),
        feed_forward: case.usize("/d_hid", 0),
        dropout: 0.0,
        output: case.usize("/output_dim", 0),
        decoder_hidden: rows("decoder.0.0.weight"),
        binary_hidden: [0, 1, 2].map(|i| rows(&format!("binary_decoder.{i}.0.weight"))),
        padding: PaddingMode::Compat,
    };
    let model = Uce::new(&config, device).map_err(|e| e.to_string())?;
    load(model, &case.dir, &NAMES, &[])
}

fn ids(case: &Case, name: &str, device: &Device) -> Result<Tensor<2, Int>, String> {
    let array = case.input(name)?;
    let data = TensorData::new(array.ints(), array.shape.clone());
    Ok(Tensor::from_data(data, device))
}

/// Sentences; `mask` says 1 for tokens, `pad_mask` 1 for padding.
fn sentences(case: &Case, device: &Device) -> Result<Sentences, String> {
    let (array, padding) = match case.inputs.get("pad_mask") {
        Some(array) => (array, 1.0),
        None => (case.input("mask")?, 0.0),
    };
    let data: Vec<bool> = array.data.iter().map(|&v| v == padding).collect();
    let mask = TensorData::new(data, array.shape.clone());
    Ok(Sentences {
        ids: ids(case, "tokens", device)?,
        padding: Some(Tensor::<2, Bool>::from_data(mask, device)),
    })
}

fn labels(case: &Case, device: &Device) -> Result<Tensor<2>, String> {
    let array = case.input("target_labels")?;
    let data = TensorData::new(array.f32(), array.shape.clone());
    Ok(Tensor::from_data(data, device))
}

/// Every stage in both modes, and a cell by itself.
pub fn forward(case: &Case) -> Result<Vec<Row>, String> {
    let device = crate::device();
    let model = load_uce(case, &device)?;
    let sentences = sentences(case, &device)?;
    let genes = model.genes(ids(case, "query_gene_tokens", &device)?);
    let mut found = Found::new();
    add(&mut found, "gene_embedding", genes.clone());
    for (prefix, mode) in [
        ("released", PaddingMode::Compat),
        ("clean", PaddingMode::Strict),
    ] {
        let model = model.clone().with_padding(mode);
        let mut seen = Record::default();
        let outputs = model.decode(model.encode_observed(&sentences, &mut seen));
        let embedding = model.embed(&sentences);
        let named = seen.0.into_iter();
        found.extend(named.map(|(n, v)| (format!("{prefix}.{n}"), v)));
        add(&mut found, format!("{prefix}.gene_output"), outputs);
        add(&mut found, format!("{prefix}.embedding"), embedding.clone());
        let logits = model.expressed(embedding, genes.clone());
        add(&mut found, format!("{prefix}.binary_logits"), logits);
    }
    let length = case.usize("/lengths/0", 1);
    let alone = Sentences {
        ids: sentences.ids.narrow(0, 0, 1).narrow(1, 0, length),
        padding: None,
    };
    add(&mut found, "alone.embedding", model.embed(&alone));
    Ok(case.compare(&found))
}

/// The binary objective on the released model, in both modes.
pub fn loss(case: &Case) -> Result<Vec<Row>, String> {
    let device = crate::device().autodiff();
    let model = load_uce(case, &device)?;
    let sentences = sentences(case, &device)?;
    let mut found = Found::new();
    for (prefix, mode) in [("", PaddingMode::Compat), ("clean.", PaddingMode::Strict)] {
        let model = model.clone().with_padding(mode);
        let embedding = model.embed(&sentences);
        let genes = model.genes(ids(case, "target_gene_tokens", &device)?);
        let logits = model.expressed(embedding.clone(), genes);
        let loss = binary_cross_entropy(logits.clone(), labels(case, &device)?);
        let mut ours = Found::new();
        add(&mut ours, "embedding", embedding);
        add(&mut ours, "binary_logits", logits);
        add(&mut ours, "loss.bce", loss.clone());
        add(&mut ours, "loss.total", loss.clone());
        add_gradients(&mut ours, loss.backward(), &model, &NAMES);
        found.extend(ours.into_iter().map(|(n, v)| (format!("{prefix}{n}"), v)));
    }
    Ok(case.compare(&found))
}

/// STATE0's training step.
pub fn state0(case: &Case) -> Result<Vec<Row>, String> {
    let device = crate::device().autodiff();
    let rows = stored_rows(case)?;
    let config = State0Config {
        tokens: rows("pe_embedding.weight"),
        token_dim: case.usize("/token_dim", 0),
        max_length: rows("pos_encoder.pe"),
        width: case.usize("/d_model", 0),
        layers: case.usize("/nlayers", 0),
        heads: case.usize("/nhead", 0),
        feed_forward: case.usize("/d_hid", 0),
        output: case.usize("/output_dim", 0),
        datasets: case.usize("/num_datasets", 0),
    };
    let model = load(State0::new(&config, &device), &case.dir, &STATE0_NAMES, &[])?;
    let sentences = sentences(case, &device)?;
    let mut seen = Record::default();
    let outputs = model.outputs_observed(&sentences, &mut seen);
    let mut found = seen.0;
    add(&mut found, "gene_output", outputs.clone());
    let embedding = model.cell(outputs);
    add(&mut found, "embedding", embedding.clone());
    let datasets = case.input("dataset_nums")?;
    let datasets = TensorData::new(datasets.ints(), datasets.shape.clone());
    let logits = model.expressed(
        embedding,
        ids(case, "target_gene_tokens", &device)?,
        Tensor::from_data(datasets, &device),
    );
    add(&mut found, "binary_logits", logits.clone());
    let loss = binary_cross_entropy(logits, labels(case, &device)?);
    add(&mut found, "loss.bce", loss.clone());
    add(&mut found, "loss.total", loss.clone());
    add_gradients(&mut found, loss.backward(), &model, &STATE0_NAMES);
    Ok(case.compare(&found))
}
