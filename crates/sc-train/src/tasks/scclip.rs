//! scCLIP: contrastive learning on RNA and open chromatin of the same cells.

mod import;

use crate::error::{Result, TrainError};
use crate::inputs::corpus::{CellBatch, Corpus};
use crate::inputs::data_spec::DataSpec;
use crate::inputs::features::{self, Kind};
use crate::losses::Losses;
use crate::losses::contrastive::contrast;
use crate::registry::{self, Architecture, Features, MinibatchDependence};
use crate::spec::{ModelSpec, Trainable};
use crate::task::Task;
use crate::tasks::annotation::{ANNOTATION, annotated};
use burn::tensor::{Device, Tensor, TensorData};
use rand::seq::index;
use sc_data::CsrMatrix;
use sc_data::io::atomic::hash_names;
use sc_data::rng::stream;
use sc_data::sampling::sampler;
use sc_data::tokens::PatchValue;
use sc_data::tokens::Tokenizer;
use sc_models::layers::lookup::unit;
use sc_models::ranges;
use sc_models::scclip::{Modality, ScClip, ScClipConfig};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// scCLIP in the registry.
pub const SCCLIP: Architecture = Architecture {
    name: "scclip",
    kind: registry::Kind::FoundationModel,
    paper: "Xiong et al., NeurIPS AI4Science 2023",
    tokens: "patches of genes and of peaks",
    objectives: &["contrastive", ANNOTATION],
    annotation: Some(ANNOTATION),
    annotation_network: None,
    decodes: false,
    weights: "scCLIP .ckpt",
    licence: "none published",
    needs: &[],
    features: Features::GenesAndPeaks,
    minibatch_dependence: MinibatchDependence::None,
    widen: None,
    import: Some(import::import),
    attention: None,
    gene_vectors: None,
    perturbs: None,
    task,
};

fn task(spec: &ModelSpec, data: &DataSpec) -> Result<Box<dyn Trainable>> {
    let task = ScClipTask::new(spec.network()?, spec.input()?, data)?;
    spec.settled(&task.network)?;
    match spec.objective()? {
        ANNOTATION => annotated(task, spec, data),
        _ => Ok(Box::new(task)),
    }
}

/// Input of both modalities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PairedInput {
    /// Genes whose names begin so are left out.
    pub leave_out: Vec<String>,
    /// Scaling of expression.
    pub scale: Scale,
    /// Share of the non-zero features that is masked in each tower in training.
    pub hide: f64,
    /// Modality of the embedding.
    pub embed: Half,
    /// Minibatch size for embedding.
    pub embed_minibatch: usize,
}

/// Scaling of expression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// `ln(1 + x)` over the maximum of the gene in the training cells.
    #[default]
    MaxAbs,
    /// `ln(1 + x)`.
    None,
}

/// Modality of the embedding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Half {
    /// The mean of both; for a cell with one only, that one.
    #[default]
    Both,
    /// Expression.
    Rna,
    /// Open chromatin.
    Atac,
}

impl Default for PairedInput {
    fn default() -> Self {
        Self {
            leave_out: ["ERCC", "MT-", "mt-"].map(String::from).to_vec(),
            scale: Scale::MaxAbs,
            hide: 0.0,
            embed: Half::Both,
            embed_minibatch: 256,
        }
    }
}

/// Position of a feature of the vocabulary in its tower.
type Place = Option<(Kind, u32)>;

/// scCLIP as a task.
#[derive(Clone, Debug, PartialEq)]
pub struct ScClipTask {
    /// The network; its features are those of the data.
    pub network: ScClipConfig,
    /// Input of the cells.
    pub input: PairedInput,
    /// Seed of every random stream.
    pub seed: u64,
    places: Arc<Vec<Place>>,
    /// Divisors of the values of every feature of the vocabulary.
    divisor: Arc<Vec<f32>>,
    /// Hash of the features in their order, which defines the patches.
    features: String,
}

/// Both modalities of a minibatch on the host.
pub struct Paired {
    atac: CsrMatrix,
    rna: CsrMatrix,
}

impl ScClipTask {
    /// The task for data with `data`: features named as genomic intervals are peaks.
    ///
    /// # Errors
    /// [`TrainError::Config`] when genes or peaks are missing.
    pub fn new(mut network: ScClipConfig, input: PairedInput, data: &DataSpec) -> Result<Self> {
        let mut counts = [0u32; 2];
        let place = |name: &String| {
            let kind = features::kind(name);
            let skipped = input.leave_out.iter().any(|p| name.starts_with(p));
            (kind == Kind::Peak || !skipped).then(|| {
                let slot = &mut counts[kind as usize];
                *slot += 1;
                (kind, *slot - 1)
            })
        };
        let places: Vec<Place> = data.genes.iter().map(place).collect();
        let [genes, peaks] = counts;
        if genes == 0 || peaks == 0 {
            return Err(TrainError::Config(format!(
                "scclip needs genes and peaks of the same cells; among the {} features there are \
                 {genes} genes and {peaks} peaks (named like chr1:100-200). Give a file that holds \
                 both, or two joined by a plus: rna.h5ad+atac.h5ad; and keep all features: \
                 vocabulary.genes = 0",
                data.genes.len()
            )));
        }
        const OF: &str = "scclip: input.";
        ranges::below_one(OF, &[("hide", input.hide)])?;
        ranges::sizes(OF, &[("embed_minibatch", input.embed_minibatch)])?;
        network.rna.features = genes as usize;
        network.atac.features = peaks as usize;
        network.check()?;
        let divisor = match input.scale {
            Scale::MaxAbs if data.largest.len() == places.len() => data.largest.to_vec(),
            _ => vec![1.0; places.len()],
        };
        Ok(Self {
            network,
            input,
            seed: data.seed,
            places: Arc::new(places),
            divisor: Arc::new(divisor),
            features: hash_names(data.genes.iter()),
        })
    }

    /// Genes and peaks of the cells: peaks as 1, genes scaled.
    fn halves(&self, counts: &CsrMatrix) -> Paired {
        let mut out = Paired {
            atac: CsrMatrix::empty(0, self.network.atac.features),
            rna: CsrMatrix::empty(0, self.network.rna.features),
        };
        for (features, values) in counts.iter_rows() {
            let (mut genes, mut peaks) = ((vec![], vec![]), vec![]);
            let mut total = 0f64;
            for (&f, &v) in features.iter().zip(values).filter(|(_, v)| **v > 0.0) {
                match self.places.get(f as usize).copied().flatten() {
                    Some((Kind::Gene, at)) => {
                        genes.0.push(at);
                        genes.1.push((v, self.divisor[f as usize]));
                        total += f64::from(v);
                    }
                    Some((Kind::Peak, at)) => peaks.push(at),
                    None => {}
                }
            }
            let scaled = |(v, by): (f32, f32)| {
                let value = (f64::from(v) * features::TARGET / total).ln_1p() as f32;
                if by > 0.0 { value / by } else { value }
            };
            let values: Vec<f32> = genes.1.into_iter().map(scaled).collect();
            out.rna.push_row(&genes.0, &values);
            out.atac.push_row(&peaks, &vec![1.0; peaks.len()]);
        }
        out
    }

    /// Masks a share of the non-zero features of every cell.
    fn hide(&self, cells: CsrMatrix, keys: &[u64], purpose: &str, epoch: u64) -> CsrMatrix {
        if self.input.hide == 0.0 {
            return cells;
        }
        let mut out = CsrMatrix::empty(0, cells.cols());
        for ((features, values), &key) in cells.iter_rows().zip(keys) {
            let n = features.len();
            let left = n - (n as f64 * self.input.hide) as usize;
            let mut rng = stream(self.seed, purpose, key, epoch);
            let mut kept = index::sample(&mut rng, n, left).into_vec();
            kept.sort_unstable();
            let features: Vec<u32> = kept.iter().map(|&k| features[k]).collect();
            let values: Vec<f32> = kept.iter().map(|&k| values[k]).collect();
            out.push_row(&features, &values);
        }
        out
    }

    /// One modality of the cells in the shared space, `[cells, projection]`.
    pub fn embed_half(&self, model: &ScClip, cells: &CellBatch, modality: Modality) -> Tensor<2> {
        let halves = self.halves(&cells.counts);
        let half = match modality {
            Modality::Atac => &halves.atac,
            Modality::Rna => &halves.rna,
        };
        model.embed(half, modality)
    }
}

/// 1 for every non-empty cell, `[cells, 1]`.
fn present(cells: &CsrMatrix, device: &Device) -> Tensor<2> {
    let has: Vec<f32> = cells
        .iter_rows()
        .map(|(f, _)| f32::from(u8::from(!f.is_empty())))
        .collect();
    let n = has.len();
    Tensor::from_data(TensorData::new(has, [n, 1]), device)
}

impl Task for ScClipTask {
    type Model = ScClip;
    type Input = Paired;
    type Cells = Paired;

    fn network(&self) -> &ScClipConfig {
        &self.network
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        corpus.minibatches(size, self.seed, epoch)
    }

    fn prepare(&self, cells: CellBatch, epoch: u64) -> Result<Paired> {
        let Paired { atac, rna } = self.halves(&cells.counts);
        Ok(Paired {
            atac: self.hide(atac, &cells.keys, "hide-atac", epoch),
            rna: self.hide(rna, &cells.keys, "hide-rna", epoch),
        })
    }

    fn losses(&self, model: &ScClip, input: Paired, _: u64, _: &Device) -> Losses {
        let atac = model.embed(&input.atac, Modality::Atac);
        let rna = model.embed(&input.rna, Modality::Rna);
        let contrast = contrast(model.similarity(atac, rna));
        Losses {
            total: contrast.total,
            terms: vec![
                ("atac_to_rna", contrast.rows),
                ("rna_to_atac", contrast.columns),
            ],
        }
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        sampler::sequential(&corpus.rows, |_| 0, self.input.embed_minibatch)
    }

    fn cells(&self, cells: CellBatch) -> Result<Paired> {
        Ok(self.halves(&cells.counts))
    }

    fn encode(&self, model: &ScClip, halves: Paired, device: &Device) -> Tensor<2> {
        let atac = || model.embed(&halves.atac, Modality::Atac);
        let rna = || model.embed(&halves.rna, Modality::Rna);
        match self.input.embed {
            Half::Atac => atac(),
            Half::Rna => rna(),
            Half::Both => {
                let has = [present(&halves.atac, device), present(&halves.rna, device)];
                let [a, r] = has;
                unit(atac() * a + rna() * r)
            }
        }
    }

    fn dims(&self) -> usize {
        self.network.projection
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::Patches {
            patches: self.network.rna.patches,
            value: match self.input.scale {
                Scale::MaxAbs => PatchValue::MaxAbs,
                Scale::None => PatchValue::Log1p,
            },
            table: Some(self.features.clone()),
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests;
