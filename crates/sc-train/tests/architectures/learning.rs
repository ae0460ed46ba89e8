//! Every architecture learns 64 cells by heart and embeds a cell without regard to its company.

use crate::common::{
    CELLS, GENES, PEAKS, TYPES, chromosomes, data, fit, fit_at, names, ranked, refusal, spec, tiny,
    with_objective,
};
use crate::predictors::{by_detection_rate, by_gene_means, by_label_share, by_token_frequency};
use burn::tensor::Device;
use sc_train::Role;
use sc_train::training::trainer::LossTerms;
use serde_json::json;
use std::sync::Arc;

#[test]
fn cellplm_learns_and_embeds_sentences() {
    let fitted = fit(tiny("cellplm"), 100);
    fitted.beats("all_genes", by_gene_means(&fitted.counts()));
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
        value["input"]["genes"] = json!("all");
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
    let (_, mut data) = data();
    data.genes = Arc::new(names().into_iter().take(GENES - PEAKS).collect());
    let error = refusal(with_objective(tiny("scgpt"), "multiomic"), &data);
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
    fitted.beats("bce", by_detection_rate(&fitted.counts()));
    // Sentences so short that many miss a chromosome, and are padded.
    value["input"]["sample"] = json!(6);
    fitted.task = spec(value.clone()).task(&data().1).unwrap();
    fitted.is_embedded_cell_by_cell();
    // As published, padding is attended to, and there is as much of it as the longest sentence asks.
    value["network"]["padding"] = json!("compat");
    fitted.task = spec(value).task(&data().1).unwrap();
    fitted.weights = fitted.task.initial(&Device::flex()).unwrap();
    let moved = fitted.company_matters();
    assert!(moved > 1e-4, "{moved}");
}

#[test]
fn saturn_learns_and_embeds_cell_by_cell() {
    let fitted = fit(tiny("saturn"), 100);
    fitted.is_embedded_cell_by_cell();
    let species = fitted.corpus.obs.codes(Role::Species, &fitted.corpus.rows);
    let cells = |of: u32| (0..CELLS).filter(|&c| species[c] == of).collect::<Vec<_>>();
    let means = [0, 1].map(|of| by_gene_means(&fitted.counts().select_rows(&cells(of))));
    fitted.beats("nll", means.iter().sum());
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
    fitted.beats("denoise", by_gene_means(&fitted.counts()) / GENES as f64);
    // Its class tokens begin as means over all genes, and beside the other losses they learn slowly.
    let mut classes = with_objective(tiny("scprint"), "denoise-classes");
    classes["input"]["class_weight"] = json!(20.0);
    classes["input"]["similarity_weight"] = json!(0.0);
    classes["input"]["generation"] = json!("none");
    let fitted = fit(classes, 200);
    fitted.beats("classes", 0.8 * by_label_share(&fitted.labels()));
}

#[test]
fn nicheformer_learns_and_embeds_cell_by_cell() {
    let fitted = fit(tiny("nicheformer"), 150);
    fitted.is_embedded_cell_by_cell();
    fitted.beats("mlm", by_token_frequency(&ranked(29)));
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
    // To know the type of a cell is not enough: both halves of it are found among those of its type.
    for term in ["atac_to_rna", "rna_to_atac"] {
        fitted.beats(term, (CELLS as f64 / TYPES as f64).ln());
    }
}

#[test]
fn composed_learns_and_embeds_cell_by_cell() {
    let fitted = fit(tiny("composed"), 100);
    fitted.is_embedded_cell_by_cell();
    fitted.fell_below("total", 0.3);
}

#[test]
fn vae_learns_and_embeds_cell_by_cell() {
    for objective in ["nb", "zinb"] {
        let fitted = fit(with_objective(tiny("vae"), objective), 200);
        fitted.is_embedded_cell_by_cell();
        fitted.beats("nll", by_gene_means(&fitted.counts()));
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

#[test]
fn geneformer_learns_and_embeds_cell_by_cell() {
    let fitted = fit(tiny("geneformer"), 200);
    fitted.is_embedded_cell_by_cell();
    fitted.beats("mlm", by_token_frequency(&ranked(GENES)));
}
