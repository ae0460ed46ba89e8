//! What is asked of a minibatch, and how the answer is judged.

use super::arrange::Arranged;
use super::tokens::CellTokens;
use super::{ComposedBatch, ComposedTask, Objective};
use crate::error::{Result, TrainError};
use crate::inputs::corpus::CellBatch;
use crate::losses::contrastive::contrast;
use crate::losses::expression::masked_mse;
use crate::losses::tokens::binary_cross_entropy;
use crate::losses::{Losses, cross_entropy, total};
use crate::task::whole;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::seq::index;
use rand::{Rng, RngExt as _};
use rand_distr::{Binomial, Distribution as _};
use sc_data::CsrMatrix;
use sc_data::rng::stream;
use sc_data::tokens::profile::masked;
use sc_models::composed::{Composed, special};
use sc_models::layers::lookup::unit;
use sc_models::layers::zinb::nb_nll;
use std::sync::Arc;

/// What is asked, with the truth.
pub(super) enum Question {
    /// Values of the hidden places, `[cells, length]`.
    Values(Vec<f32>),
    /// Genes at places of the flat array.
    Genes { at: Vec<i64>, truth: Vec<i64> },
    /// Genes of every cell, and 1 where it expresses them, `[cells, asked]`.
    Expressed { genes: Vec<i64>, truth: Vec<f32> },
    /// All counts.
    Counts(Arc<CsrMatrix>),
    /// The same cells once more.
    Again(Arranged),
    /// Labels of those cells that have one.
    Labels { at: Vec<i64>, truth: Vec<i64> },
}

/// A cell's genes and counts.
type Cell = (Vec<u32>, Vec<f32>);

impl ComposedTask {
    /// Tokens of a minibatch and a question about them; every draw depends on the cell and the epoch
    /// only.
    pub(super) fn ask(&self, cells: &CellBatch, epoch: u64) -> Result<ComposedBatch> {
        let key = |i: usize| [self.seed, cells.keys[i], epoch];
        let each = 0..cells.rows.len();
        // Tokens of cells as `change` leaves them.
        let shown = |change: &dyn Fn(usize) -> Result<Cell>| -> Result<Vec<CellTokens>> {
            let tokens = |i: usize| {
                let (genes, counts) = change(i)?;
                self.tokens.of((&genes, &counts), key(i))
            };
            each.clone().map(tokens).collect()
        };
        let complete = |i: usize| {
            let (genes, counts) = cells.counts.row(i);
            Ok((genes.to_vec(), counts.to_vec()))
        };
        let thinned = |view: &'static str| {
            let noise = self.input.noise;
            move |i: usize| thin(cells.counts.row(i), noise, view, key(i))
        };
        let (shown, question) = match self.objective {
            Objective::MaskedValue | Objective::MaskedValueFromCell => {
                let mut shown = self.arrange(&shown(&complete)?);
                let truth = shown.values.clone().unwrap_or_default();
                let mut hidden = vec![0.0; truth.len()];
                for i in each {
                    let row = &truth[shown.place(i, 0)..(i + 1) * shown.length];
                    for k in masked(row, self.input.mask, key(i)) {
                        hidden[shown.place(i, k as usize)] = 1.0;
                    }
                }
                shown.hidden = Some(hidden);
                (shown, Question::Values(truth))
            }
            Objective::MaskedGene => {
                let tokens = shown(&complete)?;
                let mut shown = self.arrange(&tokens);
                let mask = i64::from(self.tokens.special(special::MASK));
                let (mut at, mut truth) = (Vec::new(), Vec::new());
                for (i, cell) in tokens.iter().enumerate() {
                    let [seed, key, epoch] = key(i);
                    let count = (self.input.mask * cell.ids.len() as f64) as usize;
                    let mut rng = stream(seed, "mask", key, epoch);
                    for k in index::sample(&mut rng, cell.ids.len(), count) {
                        let place = shown.place(i, k);
                        at.push(place as i64);
                        truth.push(std::mem::replace(&mut shown.ids[place], mask));
                    }
                }
                (shown, Question::Genes { at, truth })
            }
            Objective::Expressed => {
                let (mut genes, mut truth) = (Vec::new(), Vec::new());
                let mut kept = Vec::new();
                for i in each.clone() {
                    let asked = self.leave_out(cells.counts.row(i), key(i));
                    genes.extend(asked.genes);
                    truth.extend(asked.truth);
                    kept.push(asked.kept);
                }
                let shown = self.arrange(&shown(&|i| Ok(kept[i].clone()))?);
                (shown, Question::Expressed { genes, truth })
            }
            Objective::Denoise => {
                let shown = self.arrange(&shown(&thinned("thin"))?);
                (shown, Question::Counts(Arc::new(cells.counts.clone())))
            }
            Objective::Contrast => {
                let [a, b] = [thinned("thin"), thinned("thin again")];
                let [a, b] = [shown(&a)?, shown(&b)?];
                (self.arrange(&a), Question::Again(self.arrange(&b)))
            }
            Objective::Classify => {
                let (at, truth) = cells.labelled();
                let shown = self.arrange(&shown(&complete)?);
                (shown, Question::Labels { at, truth })
            }
        };
        Ok(ComposedBatch { shown, question })
    }

    /// Leaves out a share of the expressed genes, and asks for some of them and for as many that the
    /// cell does not express; with replacement where there are fewer, of one kind where there is none
    /// of the other.
    fn leave_out(
        &self,
        (genes, counts): (&[u32], &[f32]),
        [seed, key, epoch]: [u64; 3],
    ) -> LeftOut {
        let mut rng = stream(seed, "left out", key, epoch);
        let n = (self.input.left_out * genes.len() as f64).ceil() as usize;
        let mut left_out = vec![false; genes.len()];
        for k in index::sample(&mut rng, genes.len(), n) {
            left_out[k] = true;
        }
        let of = |wanted: bool| {
            let all = genes.iter().zip(counts).zip(&left_out);
            all.filter(move |(_, out)| **out == wanted)
                .map(|((&g, &c), _)| (g, c))
        };
        let expressed: Vec<u32> = of(true).map(|(g, _)| g).collect();
        let silent: Vec<u32> = (0..self.network.genes as u32)
            .filter(|g| genes.binary_search(g).is_err())
            .collect();
        let asked = self.input.asked;
        let positives = match (expressed.is_empty(), silent.is_empty()) {
            (true, _) => 0,
            (_, true) => asked,
            _ => asked / 2,
        };
        let mut chosen = some(&expressed, positives, &mut rng);
        chosen.extend(some(&silent, asked - positives, &mut rng));
        LeftOut {
            truth: (0..chosen.len())
                .map(|k| f32::from(u8::from(k < positives)))
                .collect(),
            genes: chosen,
            kept: of(false).unzip(),
        }
    }

    /// The loss of the answer.
    pub(super) fn answer(&self, model: &Composed, input: ComposedBatch, device: &Device) -> Losses {
        let ComposedBatch { shown, question } = input;
        let states = model.encode(&shown.on_device(device));
        let cell = states.cell.clone();
        let whole = |v| whole(v, device);
        // A minibatch that has nothing to ask for teaches nothing, but is no error.
        let zero = total(cell.clone()) * 0.0;
        let (name, loss) = match question {
            Question::Values(truth) => {
                let shape = [shown.cells, shown.length];
                let matrix =
                    |v: Vec<f32>| Tensor::<2>::from_data(TensorData::new(v, shape), device);
                let hidden = shown.hidden.clone().unwrap_or_default();
                let values = model.values(&states, shown.ids_on(device));
                let asked = hidden.contains(&1.0);
                let loss = values.filter(|_| asked);
                (
                    "masked_value",
                    loss.map(|v| masked_mse(v, matrix(truth), matrix(hidden))),
                )
            }
            Question::Genes { at, truth } => {
                let [b, l, d] = states.tokens.dims();
                let flat = states.tokens.reshape([b * l, d]);
                let asked = (!at.is_empty()).then(|| flat.select(0, whole(at)));
                let logits = asked.and_then(|tokens| model.genes(tokens));
                (
                    "masked_gene",
                    logits.map(|g| cross_entropy(g, whole(truth))),
                )
            }
            Question::Expressed { genes, truth } => {
                let shape = [shown.cells, self.input.asked];
                let genes = Tensor::<2, Int>::from_data(TensorData::new(genes, shape), device);
                let truth = Tensor::<2>::from_data(TensorData::new(truth, shape), device);
                let logits = model.expressed(cell, genes);
                ("expressed", logits.map(|l| binary_cross_entropy(l, truth)))
            }
            Question::Counts(counts) => {
                let totals: Vec<f32> = counts.row_sums().iter().map(|&t| t as f32).collect();
                let totals = Tensor::<1>::from_data(totals.as_slice(), device);
                let found = model.counts(cell, totals);
                (
                    "nll",
                    found.map(|f| nb_nll(f.mean, f.dispersion, &counts).mean()),
                )
            }
            Question::Again(other) => {
                let other = model.encode(&other.on_device(device)).cell;
                let cosines = unit(cell).matmul(unit(other).transpose());
                let found = contrast(cosines / self.input.temperature);
                ("contrast", Some(found.total))
            }
            Question::Labels { at, truth } => {
                let cells = (!at.is_empty()).then(|| cell.select(0, whole(at)));
                let logits = cells.and_then(|cells| model.classes(cells));
                ("classify", logits.map(|l| cross_entropy(l, whole(truth))))
            }
        };
        Losses::weighted(zero, loss.map(|l| (name, l, 1.0)).into_iter().collect())
    }
}

/// Genes to ask for, whether the cell expresses them, and what is left of the cell.
struct LeftOut {
    genes: Vec<i64>,
    truth: Vec<f32>,
    kept: Cell,
}

/// `n` of `genes`, without replacement where there are enough.
fn some(genes: &[u32], n: usize, rng: &mut impl Rng) -> Vec<i64> {
    if genes.len() >= n {
        let chosen = index::sample(rng, genes.len(), n);
        return chosen.iter().map(|k| i64::from(genes[k])).collect();
    }
    (0..n)
        .map(|_| i64::from(genes[rng.random_range(0..genes.len())]))
        .collect()
}

/// A cell as if it had been sequenced less: every count stays with probability `1 − noise`.
fn thin(
    (genes, counts): (&[u32], &[f32]),
    noise: f64,
    purpose: &str,
    [seed, cell, epoch]: [u64; 3],
) -> Result<Cell> {
    let mut rng = stream(seed, purpose, cell, epoch);
    let (mut kept, mut left) = (Vec::new(), Vec::new());
    for (&gene, &count) in genes.iter().zip(counts) {
        let draw = Binomial::new(count.round() as u64, 1.0 - noise)
            .map_err(|e| TrainError::Config(format!("composed: input.noise = {noise}: {e}")))?;
        let n = draw.sample(&mut rng);
        if n > 0 {
            kept.push(gene);
            left.push(n as f32);
        }
    }
    Ok((kept, left))
}
