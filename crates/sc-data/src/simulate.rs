//! Simulated counts with cell types, donors, batches, depth and drop-out.
//!
//! The model of a cell of type `t`, donor `d` and batch `b`:
//!
//! ```text
//! w_g   = base_g · fold_tg · exp(batch_bg) · exp(donor_dg)      p_g = w_g / Σ w
//! L     ~ LogNormal(ln depth, depth_sd)                         library size before drop-out
//! c_g   ~ NegativeBinomial(mean L·p_g, size r)                  variance μ + μ²/r
//! drop  with probability 1 / (1 + exp(slope · (ln(L·p_g) − midpoint)))
//! ```
//!
//! `base` is log-normal over genes; `fold` is `marker_fold` for a random `marker_fraction` of the
//! genes of each type and 1 elsewhere; batch and donor effects are normal with the given standard
//! deviations. Every cell is drawn from its own stream, so a file does not depend on the chunk size
//! or the number of threads, and with more `cells` the first ones stay the same.

use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
#[cfg(feature = "files")]
use crate::io::h5ad::{Column, H5adWriter, NewFrame};
use crate::sparse::CsrMatrix;

mod draw;
mod profile;

use profile::Profiles;

/// Cells drawn at a time, one task each.
const CHUNK: usize = 2048;

/// Parameters of a simulation; the defaults resemble 10x data of a small tissue atlas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimConfig {
    /// Number of cells.
    pub cells: usize,
    /// Number of genes.
    pub genes: usize,
    /// Number of open peaks, simulated like genes and appended to them.
    pub peaks: usize,
    /// Number of cell types.
    pub cell_types: usize,
    /// Number of batches; donors are assigned to batches in turn.
    pub batches: usize,
    /// Number of donors.
    pub donors: usize,
    /// Imbalance of types: the k-th type has weight `(k + 1)^-type_skew`. 0 makes them equal.
    pub type_skew: f64,
    /// Median library size (counts per cell) before drop-out.
    pub depth: f64,
    /// Standard deviation of the natural logarithm of the library size.
    pub depth_sd: f64,
    /// Standard deviation of the natural logarithm of the genes' base means.
    pub gene_sd: f64,
    /// Size parameter `r` of the negative binomial; small is noisy, infinite is Poisson.
    pub dispersion: f64,
    /// Factor on the marker genes of a type.
    pub marker_fold: f64,
    /// Share of the genes that are markers of a type.
    pub marker_fraction: f64,
    /// Standard deviation of a batch's effect on the logarithm of a gene's mean.
    pub batch_effect: f64,
    /// Standard deviation of a donor's effect on the logarithm of a gene's mean.
    pub donor_effect: f64,
    /// Log mean at which half of the values drop out.
    pub dropout_midpoint: f64,
    /// Steepness of drop-out in the log mean; 0 disables it.
    pub dropout_slope: f64,
    /// Target share of non-zero values: `depth` is then computed from it.
    pub density: Option<f64>,
    /// How genes are named.
    pub gene_names: GeneNaming,
    /// Seed of every draw.
    pub seed: u64,
}

/// How simulated genes are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GeneNaming {
    /// `ENSG00000000001`, …
    #[default]
    Ensembl,
    /// `GENE1`, …
    Symbols,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            cells: 2_000,
            genes: 2_000,
            peaks: 0,
            cell_types: 8,
            batches: 2,
            donors: 8,
            type_skew: 0.5,
            depth: 3_000.0,
            depth_sd: 0.4,
            gene_sd: 1.8,
            dispersion: 2.0,
            marker_fold: 6.0,
            marker_fraction: 0.03,
            batch_effect: 0.2,
            donor_effect: 0.1,
            dropout_midpoint: -2.0,
            dropout_slope: 1.0,
            density: None,
            gene_names: GeneNaming::Ensembl,
            seed: 0,
        }
    }
}

impl SimConfig {
    /// Genes and peaks.
    pub fn features(&self) -> usize {
        self.genes.saturating_add(self.peaks)
    }
}

/// Type, donor and batch of every simulated cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimObs {
    /// Cell type codes.
    pub cell_type: Vec<u32>,
    /// Donor codes.
    pub donor: Vec<u32>,
    /// Batch codes.
    pub batch: Vec<u32>,
}

/// A simulation ready to draw cells.
#[derive(Debug)]
pub struct Simulator {
    config: SimConfig,
    profiles: Profiles,
}

impl Simulator {
    /// Draws the shared parameters: gene means, markers, batch and donor effects.
    ///
    /// # Errors
    /// [`DataError::Invalid`] names the parameter that is out of range.
    pub fn new(config: &SimConfig) -> Result<Self> {
        check(config)?;
        let mut config = config.clone();
        let profiles = Profiles::draw(&config);
        if let Some(density) = config.density {
            config.depth = profiles.depth_for(&config, density)?;
        }
        Ok(Self { config, profiles })
    }

    /// The parameters, with the `depth` that was computed where a density was given.
    pub fn config(&self) -> &SimConfig {
        &self.config
    }

    /// Type, donor and batch of every cell.
    pub fn obs(&self) -> SimObs {
        let mut obs = SimObs::default();
        for cell in 0..self.config.cells {
            let (cell_type, donor, batch) = self.profiles.labels(&self.config, cell);
            obs.cell_type.push(cell_type);
            obs.donor.push(donor);
            obs.batch.push(batch);
        }
        obs
    }

    /// Counts of a range of cells, drawn in parallel.
    pub fn cells(&self, cells: std::ops::Range<usize>) -> CsrMatrix {
        let rows: Vec<(Vec<u32>, Vec<f32>)> = cells
            .into_par_iter()
            .map_init(
                || draw::Scratch::new(self.config.features()),
                |scratch, cell| draw::cell(&self.config, &self.profiles, cell, scratch),
            )
            .collect();
        let mut matrix = CsrMatrix::empty(0, self.config.features());
        for (indices, values) in &rows {
            matrix.push_row(indices, values);
        }
        matrix
    }

    /// Names of the genes, then those of the peaks, as `chromosome:start-end`.
    pub fn gene_names(&self) -> Vec<String> {
        let genes = (1..=self.config.genes).map(|g| match self.config.gene_names {
            GeneNaming::Ensembl => format!("ENSG{g:011}"),
            GeneNaming::Symbols => format!("GENE{g}"),
        });
        let peak = |p: usize| {
            let (chromosome, start) = (1 + p % 22, 10_000 * (1 + p / 22));
            format!("chr{chromosome}:{start}-{}", start + 500)
        };
        genes.chain((0..self.config.peaks).map(peak)).collect()
    }
}

/// Simulates the whole matrix in memory: counts, and type, donor and batch of every cell.
///
/// # Errors
/// As [`Simulator::new`].
pub fn simulate(config: &SimConfig) -> Result<(CsrMatrix, SimObs)> {
    let simulator = Simulator::new(config)?;
    Ok((simulator.cells(0..config.cells), simulator.obs()))
}

/// Simulates into an `.h5ad`, with `obs` columns `cell_type`, `batch` and `donor_id`.
///
/// `progress` is called with the number of cells written so far. Memory does not grow with the matrix.
///
/// # Errors
/// As [`Simulator::new`] and [`H5adWriter`].
#[cfg(feature = "files")]
pub fn simulate_to_file(
    config: &SimConfig,
    path: &Path,
    mut progress: impl FnMut(usize),
) -> Result<()> {
    let simulator = Simulator::new(config)?;
    let obs = simulator.obs();
    let names = |prefix: &str, n: usize| -> Vec<String> {
        let digits = n.to_string().len();
        (1..=n).map(|k| format!("{prefix}_{k:0digits$}")).collect()
    };
    let frame = NewFrame {
        index: (0..config.cells).map(|i| format!("cell_{i}")).collect(),
        columns: vec![
            (
                "cell_type".into(),
                Column::from_codes(obs.cell_type, &names("type", config.cell_types)),
            ),
            (
                "batch".into(),
                Column::from_codes(obs.batch, &names("batch", config.batches)),
            ),
            (
                "donor_id".into(),
                Column::from_codes(obs.donor, &names("donor", config.donors)),
            ),
        ],
    };
    let genes = NewFrame {
        index: simulator.gene_names(),
        columns: Vec::new(),
    };
    let mut writer = H5adWriter::create(path, &frame, &genes)?;
    let text = serde_json::to_string(simulator.config())
        .map_err(|e| DataError::invalid(format!("simulation parameters: {e}")))?;
    writer.uns_text("simulation", &text)?;
    for first in (0..config.cells).step_by(CHUNK) {
        let last = (first + CHUNK).min(config.cells);
        writer.push(&simulator.cells(first..last))?;
        progress(last);
    }
    writer.finish()
}

fn check(config: &SimConfig) -> Result<()> {
    let positive = [
        ("cells", config.cells as f64),
        ("genes", config.genes as f64),
        ("cell_types", config.cell_types as f64),
        ("batches", config.batches as f64),
        ("donors", config.donors as f64),
        ("depth", config.depth),
        ("dispersion", config.dispersion),
        ("marker_fold", config.marker_fold),
    ];
    for (name, value) in positive {
        if value.is_nan() || value <= 0.0 {
            return Err(DataError::invalid(format!(
                "simulation: {name} is {value}, but must be above 0"
            )));
        }
    }
    let not_negative = [
        ("depth_sd", config.depth_sd),
        ("gene_sd", config.gene_sd),
        ("type_skew", config.type_skew),
        ("batch_effect", config.batch_effect),
        ("donor_effect", config.donor_effect),
        ("dropout_slope", config.dropout_slope),
        ("marker_fraction", config.marker_fraction),
    ];
    for (name, value) in not_negative {
        if !(value >= 0.0 && value.is_finite()) {
            return Err(DataError::invalid(format!(
                "simulation: {name} is {value}, but must be 0 or above"
            )));
        }
    }
    if config.marker_fraction > 1.0 || config.density.is_some_and(|d| !(d > 0.0 && d < 1.0)) {
        return Err(DataError::invalid(
            "simulation: marker_fraction and density are shares between 0 and 1",
        ));
    }
    if config.donors < config.batches {
        return Err(DataError::invalid(format!(
            "simulation: {} donors are too few for {} batches; every batch needs one",
            config.donors, config.batches
        )));
    }
    let groups = [("cell_types", config.cell_types), ("donors", config.donors)];
    if let Some((name, n)) = groups.into_iter().find(|(_, n)| *n > config.cells) {
        return Err(DataError::invalid(format!(
            "simulation: {name} is {n}, more than the {} cells",
            config.cells
        )));
    }
    if config.features() > i32::MAX as usize || !config.dropout_midpoint.is_finite() {
        return Err(DataError::invalid(
            "simulation: genes or dropout_midpoint out of range",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_groups_than_cells_and_no_cells_are_refused() {
        let refused = |config: SimConfig| match simulate(&config) {
            Ok(_) => "it was simulated".to_owned(),
            Err(e) => e.to_string(),
        };
        let none = refused(SimConfig {
            cells: 0,
            ..small()
        });
        assert!(none.contains("cells is 0, but must be above 0"), "{none}");
        let crowded = refused(SimConfig {
            cells: 5,
            ..small()
        });
        assert!(crowded.contains("more than the 5 cells"), "{crowded}");
    }

    fn small() -> SimConfig {
        SimConfig {
            cells: 300,
            genes: 400,
            depth: 500.0,
            ..SimConfig::default()
        }
    }

    #[test]
    fn cells_do_not_depend_on_chunking() {
        let simulator = Simulator::new(&small()).unwrap();
        let whole = simulator.cells(0..300);
        let mut parts = simulator.cells(0..7);
        parts.append(&simulator.cells(7..300)).unwrap();
        assert_eq!(whole, parts);
        assert!(whole.values().iter().all(|v| *v >= 1.0 && v.fract() == 0.0));
    }

    #[test]
    fn peaks_stand_behind_the_genes_under_names_of_their_own() {
        let config = SimConfig {
            peaks: 50,
            ..small()
        };
        let simulator = Simulator::new(&config).unwrap();
        let names = simulator.gene_names();
        let kinds: Vec<_> = names
            .iter()
            .map(|n| crate::genes::features::kind(n))
            .collect();
        assert!(
            kinds[..400]
                .iter()
                .all(|k| *k == crate::genes::features::Kind::Gene)
        );
        assert!(
            kinds[400..]
                .iter()
                .all(|k| *k == crate::genes::features::Kind::Peak)
        );
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), 450);
        assert_eq!(simulator.cells(0..3).cols(), 450);
    }

    #[test]
    fn mean_and_variance_are_negative_binomial() {
        let config = SimConfig {
            cells: 4000,
            genes: 20,
            cell_types: 1,
            batches: 1,
            donors: 1,
            depth: 200.0,
            depth_sd: 0.0,
            gene_sd: 0.5,
            dispersion: 2.0,
            marker_fraction: 0.0,
            batch_effect: 0.0,
            donor_effect: 0.0,
            dropout_slope: 0.0,
            ..SimConfig::default()
        };
        let (counts, _) = simulate(&config).unwrap();
        let genes = counts.transpose();
        let n = counts.rows() as f64;
        let mut total = 0.0;
        for (_, values) in genes.iter_rows() {
            let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
            let squares: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
            let mean = sum / n;
            let variance = squares / n - mean * mean;
            let expected = mean + mean * mean / 2.0;
            assert!(
                (variance / expected - 1.0).abs() < 0.2,
                "{variance} {expected}"
            );
            total += mean;
        }
        assert!((total / 200.0 - 1.0).abs() < 0.03, "{total}");
    }

    #[test]
    fn density_is_met() {
        let config = SimConfig {
            density: Some(0.08),
            genes: 3000,
            ..small()
        };
        let (counts, _) = simulate(&config).unwrap();
        let density = counts.nnz() as f64 / (counts.rows() * counts.cols()) as f64;
        assert!((density / 0.08 - 1.0).abs() < 0.15, "{density}");
    }

    #[test]
    fn bad_parameters_are_named() {
        let error = Simulator::new(&SimConfig {
            dispersion: 0.0,
            ..small()
        })
        .unwrap_err();
        assert!(error.to_string().contains("dispersion is 0"), "{error}");
        assert!(
            Simulator::new(&SimConfig {
                donors: 1,
                batches: 2,
                ..small()
            })
            .is_err()
        );
    }
}
