//! Golden cases of the architectures.

pub mod binning;
pub mod cellplm;
pub mod hyena;
pub mod islander;
pub mod nicheformer;
pub mod saturn;
pub mod scclip;
pub mod scgpt;
pub mod scprint;
pub mod tokens;
pub mod uce;

use crate::case::Case;
use crate::row::Row;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Gradients, Tensor};
use sc_models::weights::{self, Names};
use std::collections::BTreeMap;
use std::path::Path;

/// Values by the name the reference gives them.
pub type Found = BTreeMap<String, Vec<f32>>;

/// Runs the case in `dir`; `Ok(None)` when nothing here builds it, with the reason.
pub fn run(model: &str, dir: &Path) -> Result<Result<Vec<Row>, String>, String> {
    match model {
        "cellplm" => cellplm::run(dir),
        "scgpt" | "scformer" => scgpt::run(dir),
        "hyena" => hyena::run(&Case::open(dir)?),
        "scclip" => scclip::run(&Case::open(dir)?),
        "islander" => islander::run(&Case::open(dir)?).map(Ok),
        other => by_inputs(other, dir),
    }
}

/// Cases told by what they are given.
fn by_inputs(model: &str, dir: &Path) -> Result<Result<Vec<Row>, String>, String> {
    let case = Case::open(dir)?;
    let has = |name: &str| case.inputs.contains_key(name);
    match model {
        "uce" if has("dropped_genes") => tokens::uce::sampling(&case).map(Ok),
        "uce" if has("sampled_genes") => tokens::uce::tokenise(&case).map(Ok),
        "uce" if has("dataset_nums") => uce::state0(&case).map(Ok),
        "uce" if has("target_labels") => uce::loss(&case).map(Ok),
        "uce" if has("query_gene_tokens") => uce::forward(&case).map(Ok),
        "nicheformer" if has("draw_select") => nicheformer::forward(&case).map(Ok),
        "nicheformer" if has("X_niche_0") => nicheformer::head(&case).map(Ok),
        "saturn" if has("rank_idx") => saturn::pretrain(&case).map(Ok),
        "saturn" if has("triplets") => saturn::triplets(&case).map(Ok),
        "saturn" if has("centroids") => tokens::saturn::macrogenes(&case).map(Ok),
        "nicheformer" if has("technology_mean") => tokens::nicheformer::tokenise(&case).map(Ok),
        "scprint" if has("qk.0") => scprint::network(&case).map(Ok),
        "scprint" if has("depth") => scprint::passes(&case).map(Ok),
        other => Ok(Err(format!("the network of {other} is not built yet"))),
    }
}

/// Loads the reference's weights into `module`, leaving out heads we do not build.
fn load<M: Module>(module: M, dir: &Path, names: &Names, left_out: &[&str]) -> Result<M, String> {
    let mut tensors =
        weights::read_safetensors(&dir.join("weights.safetensors")).map_err(|e| e.to_string())?;
    tensors.retain(|name, _| !left_out.iter().any(|l| name.starts_with(l)));
    weights::load(module, tensors, names).map_err(|e| e.to_string())
}

/// Adds the gradient of every parameter of `module` to `found`.
fn add_gradients<M: Module>(found: &mut Found, grads: Gradients, module: &M, names: &Names) {
    let grads = GradientsParams::from_grads(grads, module);
    for (name, grad) in weights::gradients(module, &grads, names) {
        found.insert(format!("grad.{name}"), grad.data);
    }
}

/// Adds a tensor to `found`.
fn add<const D: usize>(found: &mut Found, name: impl Into<String>, tensor: Tensor<D>) {
    found.insert(name.into(), weights::host(tensor));
}
