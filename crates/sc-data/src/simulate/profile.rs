//! Shared parameters of simulated cells: gene means by type, donor and batch.

use std::sync::OnceLock;

use rand::RngExt as _;
use rand_distr::{Distribution as _, StandardNormal};

use super::SimConfig;
use crate::error::{DataError, Result};
use crate::rng;

/// Expression profiles, with a sampling table for every pair of type and donor.
#[derive(Debug)]
pub(super) struct Profiles {
    /// `ln base` of every gene.
    base: Vec<f32>,
    /// `ln fold` of every type and gene.
    fold: Vec<Vec<f32>>,
    /// Effect of every donor, including its batch.
    donor: Vec<Vec<f32>>,
    /// Cumulative weights of the types.
    types: Vec<f64>,
    /// Built on first use: a small file with many types and donors needs few of them.
    tables: Vec<OnceLock<Table>>,
}

/// Probabilities of the genes, and Walker's alias table to sample from them.
#[derive(Debug)]
pub(super) struct Table {
    /// Share of every gene; sums to 1.
    pub(super) p: Vec<f32>,
    accept: Vec<f32>,
    alias: Vec<u32>,
}

impl Profiles {
    pub(super) fn draw(config: &SimConfig) -> Self {
        let normal = |purpose: &str, k: usize, sd: f64| -> Vec<f32> {
            let mut stream = rng::stream(config.seed, purpose, k as u64, 0);
            (0..config.features())
                .map(|_| {
                    let z: f64 = StandardNormal.sample(&mut stream);
                    (z * sd) as f32
                })
                .collect()
        };
        let base = normal("simulate-genes", 0, config.gene_sd);
        let fold = (0..config.cell_types)
            .map(|t| {
                let mut stream = rng::stream(config.seed, "simulate-markers", t as u64, 0);
                (0..config.features())
                    .map(|_| {
                        let marker = stream.random::<f64>() < config.marker_fraction;
                        if marker {
                            config.marker_fold.ln() as f32
                        } else {
                            0.0
                        }
                    })
                    .collect()
            })
            .collect();
        let batches: Vec<Vec<f32>> = (0..config.batches)
            .map(|b| normal("simulate-batch", b, config.batch_effect))
            .collect();
        let donor = (0..config.donors)
            .map(|d| {
                let mut effect = normal("simulate-donor", d, config.donor_effect);
                let batch = &batches[d % config.batches];
                effect.iter_mut().zip(batch).for_each(|(e, b)| *e += b);
                effect
            })
            .collect();
        let mut sum = 0.0;
        let mut types: Vec<f64> = (0..config.cell_types)
            .map(|t| {
                sum += ((t + 1) as f64).powf(-config.type_skew);
                sum
            })
            .collect();
        types.iter_mut().for_each(|t| *t /= sum);
        let tables = (0..config.cell_types * config.donors)
            .map(|_| OnceLock::new())
            .collect();
        Self {
            base,
            fold,
            donor,
            types,
            tables,
        }
    }

    /// Type, donor and batch of a cell.
    pub(super) fn labels(&self, config: &SimConfig, cell: usize) -> (u32, u32, u32) {
        let mut stream = rng::stream(config.seed, "simulate-labels", cell as u64, 0);
        let u: f64 = stream.random();
        let cell_type = self
            .types
            .partition_point(|&t| t < u)
            .min(config.cell_types - 1);
        let donor = stream.random_range(0..config.donors);
        (
            cell_type as u32,
            donor as u32,
            (donor % config.batches) as u32,
        )
    }

    pub(super) fn table(&self, cell_type: u32, donor: u32) -> &Table {
        let slot = cell_type as usize * self.donor.len() + donor as usize;
        self.tables[slot].get_or_init(|| Table::new(&self.shares(cell_type, donor)))
    }

    fn shares(&self, cell_type: u32, donor: u32) -> Vec<f64> {
        let fold = &self.fold[cell_type as usize];
        let effect = &self.donor[donor as usize];
        let mut w: Vec<f64> = self
            .base
            .iter()
            .zip(fold)
            .zip(effect)
            .map(|((b, f), e)| f64::from(b + f + e).exp())
            .collect();
        let sum: f64 = w.iter().sum();
        w.iter_mut().for_each(|x| *x /= sum);
        w
    }

    /// The depth at which the expected share of non-zero values is `density`, by bisection on the
    /// profile of the first type and donor and seven library sizes.
    pub(super) fn depth_for(&self, config: &SimConfig, density: f64) -> Result<f64> {
        let p = self.shares(0, 0);
        let expected = |depth: f64| -> f64 {
            let sizes = [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5];
            let weights = sizes.map(|z: f64| (-0.5 * z * z).exp());
            let mut sum = 0.0;
            for (z, weight) in sizes.iter().zip(weights) {
                let library = depth * (z * config.depth_sd).exp();
                let share: f64 = p
                    .iter()
                    .map(|share| {
                        let mean = library * share;
                        let zero = (1.0 + mean / config.dispersion).powf(-config.dispersion);
                        (1.0 - zero) * (1.0 - dropout(config, mean))
                    })
                    .sum();
                sum += weight * share;
            }
            sum / weights.iter().sum::<f64>() / p.len() as f64
        };
        let (mut low, mut high) = (1.0f64, 1e8f64);
        if expected(high) < density {
            return Err(DataError::invalid(format!(
                "simulation: density {density} cannot be reached; drop-out and dispersion allow {:.3}",
                expected(high)
            )));
        }
        for _ in 0..60 {
            let middle = (low * high).sqrt();
            if expected(middle) < density {
                low = middle
            } else {
                high = middle
            }
        }
        Ok((low * high).sqrt())
    }
}

/// Probability that a value of this mean drops out.
pub(super) fn dropout(config: &SimConfig, mean: f64) -> f64 {
    if config.dropout_slope == 0.0 {
        return 0.0;
    }
    1.0 / (1.0 + (config.dropout_slope * (mean.ln() - config.dropout_midpoint)).exp())
}

impl Table {
    fn new(shares: &[f64]) -> Self {
        let n = shares.len();
        let mut scaled: Vec<f64> = shares.iter().map(|s| s * n as f64).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..n as u32).partition(|&g| scaled[g as usize] < 1.0);
        let mut accept = vec![1f32; n];
        let mut alias: Vec<u32> = (0..n as u32).collect();
        while let (Some(&s), Some(&l)) = (small.last(), large.last()) {
            small.pop();
            accept[s as usize] = scaled[s as usize] as f32;
            alias[s as usize] = l;
            scaled[l as usize] -= 1.0 - scaled[s as usize];
            if scaled[l as usize] < 1.0 {
                large.pop();
                small.push(l);
            }
        }
        Self {
            p: shares.iter().map(|&s| s as f32).collect(),
            accept,
            alias,
        }
    }

    /// A gene, drawn from the shares.
    pub(super) fn sample(&self, stream: &mut impl rand::Rng) -> u32 {
        let bits: u64 = stream.random();
        // High half picks the slot by multiplication, low half decides between it and its alias.
        let slot = (((bits >> 32) * self.p.len() as u64) >> 32) as usize;
        let u = (bits as u32 >> 8) as f32 / (1u32 << 24) as f32;
        if u < self.accept[slot] {
            slot as u32
        } else {
            self.alias[slot]
        }
    }
}
