//! scCLIP: both towers, the loss, and the matching of a minibatch.

use super::{Found, add, add_gradients, load};
use crate::case::Case;
use crate::row::Row;
use ndarray::ArrayView2;
use sc_data::CsrMatrix;
use sc_eval::metrics::matching::matching_of;
use sc_eval::results::Mode;
use sc_models::layers::observe::Record;
use sc_models::scclip::{Modality, NAMES, ScClip, ScClipConfig, Temperature, TowerConfig};
use sc_models::weights;
use sc_train::losses::contrastive::contrast;

/// Runs one case; see [`super::run`].
pub fn run(case: &Case) -> Result<Result<Vec<Row>, String>, String> {
    for tower in ["atac_config", "rna_config"] {
        let activation = case.str(&format!("/{tower}/hidden_act"), "gelu");
        if activation != "gelu" {
            return Ok(Err(format!("hidden_act = {activation} is not built")));
        }
    }
    forward(case).map(Ok)
}

fn tower(case: &Case, name: &str) -> TowerConfig {
    let at = |key: &str| format!("/{name}/{key}");
    TowerConfig {
        features: case.usize(&at("feature_size"), 0),
        patches: case.usize(&at("num_patches"), 128),
        width: case.usize(&at("hidden_size"), 768),
        layers: case.usize(&at("num_hidden_layers"), 12),
        heads: case.usize(&at("num_attention_heads"), 12),
        feed_forward: case.usize(&at("intermediate_size"), 3072),
        dropout: 0.0,
        attention_dropout: 0.0,
        epsilon: case.f64(&at("layer_norm_eps"), 1e-12),
        qkv_bias: case
            .config
            .pointer(&at("qkv_bias"))
            .is_none_or(|b| b != false),
    }
}

fn cells(case: &Case, modality: Modality) -> Result<CsrMatrix, String> {
    let values = case.input(&format!("{}_values", modality.name()))?;
    Ok(CsrMatrix::from_dense(values.shape[1], &values.f32()))
}

fn forward(case: &Case) -> Result<Vec<Row>, String> {
    let device = crate::device().autodiff();
    let log_scale = case.f64("/logit_scale", 1.0);
    let config = ScClipConfig {
        atac: tower(case, "atac_config"),
        rna: tower(case, "rna_config"),
        projection: case.usize("/projection_dim", 128),
        temperature: if case.flag("/requires_grad") {
            Temperature::Learned {
                log_scale,
                largest: None,
            }
        } else {
            Temperature::Fixed { log_scale }
        },
        normalize: case.config.get("normalize").is_none_or(|n| n != false),
    };
    let model = ScClip::new(&config, &device).map_err(|e| e.to_string())?;
    let model = load(model, &case.dir, &NAMES, &[])?;
    let mut seen = Record::default();
    let mut embed = |modality| {
        let cells = cells(case, modality)?;
        Ok::<_, String>(model.embed_observed(&cells, modality, &mut seen))
    };
    let (atac, rna) = (embed(Modality::Atac)?, embed(Modality::Rna)?);
    let similarity = model.similarity(atac, rna);
    let loss = contrast(similarity.clone());
    let mut found = seen.0;
    let [n, _] = similarity.dims();
    let values = weights::host(similarity.clone());
    matches(n, &values, &mut found)?;
    add(&mut found, "similarity", similarity);
    add(&mut found, "loss.atac_to_rna", loss.rows);
    add(&mut found, "loss.rna_to_atac", loss.columns);
    add(&mut found, "loss.total", loss.total.clone());
    add_gradients(&mut found, loss.total.backward(), &model, &NAMES);
    Ok(case.compare(&found))
}

/// The reference's metrics of one minibatch, from its similarities.
fn matches(cells: usize, similarity: &[f32], found: &mut Found) -> Result<(), String> {
    let view = ArrayView2::from_shape((cells, cells), similarity).map_err(|e| e.to_string())?;
    let m = matching_of(view).map_err(|e| e.to_string())?;
    let value = |outcome: sc_eval::Outcome| outcome.map_err(|e| e.to_string());
    let rows = value(m.forward.foscttm(Mode::Compat))?;
    let columns = value(m.backward.foscttm(Mode::Compat))?;
    let accuracy = (value(m.forward.recall(1))? + value(m.backward.recall(1))?) / 2.0;
    for (name, value) in [
        ("acc", accuracy),
        ("matchscore", value(m.forward.match_score())?),
        ("foscttm_correct_rows", rows),
        ("foscttm_correct_columns", columns),
        // Both of its directions compare with the columns' own cells.
        ("foscttm_reference", columns),
    ] {
        found.insert(format!("metric.{name}"), vec![value as f32]);
    }
    Ok(())
}
