//! Inputs and targets of a minibatch by objective, and the loss.

use super::sequences::HostSequences;
use super::tokens::CellTokens;
use super::{ComposedBatch, ComposedTask, Objective};
use crate::error::{Result, TrainError};
use crate::inputs::corpus::CellBatch;
use crate::losses::contrastive::contrast;
use crate::losses::expression::masked_mse;
use crate::losses::tokens::binary_cross_entropy;
use crate::losses::{Losses, cross_entropy, total};
use crate::task::whole;
use crate::tasks::padded::MaskedTokens;
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

/// What the network is to predict.
pub(super) enum Target {
    /// Values of all tokens, `[cells, length]`; the hidden ones count.
    Values(Vec<f32>),
    /// Genes of the hidden tokens.
    Genes(MaskedTokens),
    /// Genes of every cell, and 1 where it expresses them, `[cells, queries]`.
    Expressed {
        genes: Vec<i64>,
        expressed: Vec<f32>,
    },
    /// All counts.
    Counts(Arc<CsrMatrix>),
    /// Another view of the same cells.
    View(HostSequences),
    /// Labels of those cells that have one, and the rows of these cells.
    Labels { rows: Vec<i64>, labels: Vec<i64> },
}

/// A cell's genes and counts.
type Cell = (Vec<u32>, Vec<f32>);

impl ComposedTask {
    /// Inputs and targets of a minibatch; every draw depends on the cell and the epoch only.
    pub(super) fn batch(&self, cells: &CellBatch, epoch: u64) -> Result<ComposedBatch> {
        let key = |i: usize| [self.seed, cells.keys[i], epoch];
        let each = 0..cells.rows.len();
        // Tokens of cells as `change` leaves them.
        let tokens = |change: &dyn Fn(usize) -> Result<Cell>| -> Result<Vec<CellTokens>> {
            let one = |i: usize| {
                let (genes, counts) = change(i)?;
                self.tokens.of((&genes, &counts), key(i))
            };
            each.clone().map(one).collect()
        };
        let complete = |i: usize| {
            let (genes, counts) = cells.counts.row(i);
            Ok((genes.to_vec(), counts.to_vec()))
        };
        let thinned = |view: &'static str| {
            let noise = self.input.noise;
            move |i: usize| thin(cells.counts.row(i), noise, view, key(i))
        };
        let (input, target) = match self.objective {
            Objective::MaskedValue | Objective::MaskedValueFromCell => {
                let mut input = self.pad(&tokens(&complete)?);
                let values = input.values.clone().unwrap_or_default();
                let mut hidden = vec![0.0; values.len()];
                for i in each {
                    let row = &values[input.position(i, 0)..(i + 1) * input.tokens.length];
                    for k in masked(row, self.input.mask, key(i)) {
                        hidden[input.position(i, k as usize)] = 1.0;
                    }
                }
                input.hidden = Some(hidden);
                (input, Target::Values(values))
            }
            Objective::MaskedGene => {
                let tokens = tokens(&complete)?;
                let mut input = self.pad(&tokens);
                let mask = i64::from(self.tokens.special(special::MASK));
                let mut hidden = MaskedTokens::default();
                for (i, cell) in tokens.iter().enumerate() {
                    let [seed, key, epoch] = key(i);
                    let count = (self.input.mask * cell.ids.len() as f64) as usize;
                    let mut rng = stream(seed, "mask", key, epoch);
                    for k in index::sample(&mut rng, cell.ids.len(), count) {
                        let position = input.position(i, k);
                        let token = std::mem::replace(&mut input.tokens.ids[position], mask);
                        hidden.positions.push(position as i64);
                        hidden.tokens.push(token);
                    }
                }
                (input, Target::Genes(hidden))
            }
            Objective::Expressed => {
                let (mut genes, mut expressed) = (Vec::new(), Vec::new());
                let mut kept = Vec::new();
                for i in each.clone() {
                    let queries = self.leave_out(cells.counts.row(i), key(i));
                    genes.extend(queries.genes);
                    expressed.extend(queries.expressed);
                    kept.push(queries.kept);
                }
                let input = self.pad(&tokens(&|i| Ok(kept[i].clone()))?);
                (input, Target::Expressed { genes, expressed })
            }
            Objective::Denoise => {
                let input = self.pad(&tokens(&thinned("thin"))?);
                (input, Target::Counts(Arc::new(cells.counts.clone())))
            }
            Objective::Contrast => {
                let [a, b] = [thinned("thin"), thinned("thin again")];
                let [a, b] = [tokens(&a)?, tokens(&b)?];
                (self.pad(&a), Target::View(self.pad(&b)))
            }
            Objective::Classify => {
                let (rows, labels) = cells.labelled();
                let input = self.pad(&tokens(&complete)?);
                (input, Target::Labels { rows, labels })
            }
        };
        Ok(ComposedBatch { input, target })
    }

    /// Leaves out a share of the expressed genes, and queries some of them and as many that the cell
    /// does not express; with replacement where there are fewer, of one kind where there is none of the
    /// other.
    fn leave_out(
        &self,
        (genes, counts): (&[u32], &[f32]),
        [seed, key, epoch]: [u64; 3],
    ) -> Queries {
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
        let queries = self.input.targets;
        let positives = match (expressed.is_empty(), silent.is_empty()) {
            (true, _) => 0,
            (_, true) => queries,
            _ => queries / 2,
        };
        let mut chosen = some(&expressed, positives, &mut rng);
        chosen.extend(some(&silent, queries - positives, &mut rng));
        Queries {
            expressed: (0..chosen.len())
                .map(|k| f32::from(u8::from(k < positives)))
                .collect(),
            genes: chosen,
            kept: of(false).unzip(),
        }
    }

    /// The objective on a minibatch.
    pub(super) fn loss(&self, model: &Composed, input: ComposedBatch, device: &Device) -> Losses {
        let ComposedBatch { input, target } = input;
        let states = model.encode(&input.on_device(device));
        let cell = states.cell.clone();
        let whole = |v| whole(v, device);
        // A minibatch without targets teaches nothing, but is no error.
        let zero = total(cell.clone()) * 0.0;
        let (name, loss) = match target {
            Target::Values(targets) => {
                let shape = input.tokens.shape();
                let matrix =
                    |v: Vec<f32>| Tensor::<2>::from_data(TensorData::new(v, shape), device);
                let hidden = input.hidden.clone().unwrap_or_default();
                let values = model.values(&states, input.tokens.ids_on(device));
                let loss = values.filter(|_| hidden.contains(&1.0));
                (
                    "masked_value",
                    loss.map(|v| masked_mse(v, matrix(targets), matrix(hidden))),
                )
            }
            Target::Genes(hidden) => {
                let logits = |tokens| {
                    let logits = model.genes(tokens);
                    logits.expect("invariant: the head is that of the objective")
                };
                ("masked_gene", hidden.loss(states.tokens, logits, device))
            }
            Target::Expressed { genes, expressed } => {
                let shape = [input.tokens.cells, self.input.targets];
                let genes = Tensor::<2, Int>::from_data(TensorData::new(genes, shape), device);
                let expressed = Tensor::<2>::from_data(TensorData::new(expressed, shape), device);
                let logits = model.expressed(cell, genes);
                let loss = logits.map(|l| binary_cross_entropy(l, expressed));
                ("expressed", loss)
            }
            Target::Counts(counts) => {
                let totals: Vec<f32> = counts.row_sums().iter().map(|&t| t as f32).collect();
                let totals = Tensor::<1>::from_data(totals.as_slice(), device);
                let found = model.counts(cell, totals);
                (
                    "nll",
                    found.map(|f| nb_nll(f.mean, f.dispersion, &counts).mean()),
                )
            }
            Target::View(other) => {
                let other = model.encode(&other.on_device(device)).cell;
                let cosines = unit(cell).matmul(unit(other).transpose());
                let found = contrast(cosines / self.input.temperature);
                ("contrast", Some(found.total))
            }
            Target::Labels { rows, labels } => {
                let cells = (!rows.is_empty()).then(|| cell.select(0, whole(rows)));
                let logits = cells.and_then(|cells| model.classes(cells));
                ("classify", logits.map(|l| cross_entropy(l, whole(labels))))
            }
        };
        Losses::weighted(zero, loss.map(|l| (name, l, 1.0)).into_iter().collect())
    }
}

/// Genes to predict, 1 where the cell expresses them, and what is left of the cell.
struct Queries {
    genes: Vec<i64>,
    expressed: Vec<f32>,
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

/// A downsampled cell: every count is kept with probability `1 − noise`.
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
