//! From counts to tokens: the genes of a cell in the input, their bins, and the mask.

use super::ScGptTask;
use super::generative::GenerativeConfig;
use super::integration::BatchUse;
use super::perturbation::PerturbationConfig;
use crate::error::{Result, TrainError};
use crate::inputs::corpus::CellBatch;
use crate::losses::Labelled;
use crate::task::Pass;
use crate::task::whole;
use crate::tasks::padded::Padded;
use burn::tensor::{Device, Tensor, TensorData};
use sc_data::rng::stream;
use sc_data::tokens::{MAX_BINS, Ties, bin_cell, bin_row_highest, part};
use sc_models::ranges;
use sc_models::scgpt::{Tokens, ValueEncoderConfig};
use serde::{Deserialize, Serialize};

/// Value of a masked token, where values are numbers.
const MASKED: f32 = -1.0;
/// Value of padding, where values are numbers.
const PADDING: f32 = -2.0;

/// The tokeniser, and settings of the objectives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenConfig {
    /// Maximum number of tokens per cell, including `<cls>`; cells with more genes use a random
    /// sample.
    pub length: usize,
    /// Genes of a cell that are tokens.
    #[serde(alias = "shown")]
    pub genes: InputGenes,
    /// Value of `<cls>`.
    pub cls_value: f32,
    /// Bins of the values, including 0.
    pub bins: usize,
    /// How ties are broken.
    pub ties: Ties,
    /// Share of the tokens that are masked.
    pub mask: f64,
    /// Threshold of the elastic cell similarity loss, if it is used.
    pub ecs_threshold: Option<f64>,
    /// Temperature of the similarities between two passes with dropout (0.5 as published), for the
    /// loss that matches cells between them, if it is used.
    pub contrast_temperature: Option<f64>,
    /// Use of the sequencing batch, for `integration` and `multiomic`; a norm per batch is the
    /// network's `input_norm`.
    pub batch: Vec<BatchUse>,
    /// Prefixes or suffixes of protein names, for `multiomic`.
    pub proteins: Vec<String>,
    /// For `generative`.
    pub generative: GenerativeConfig,
    /// For `perturbation`.
    pub perturbation: PerturbationConfig,
    /// Minibatch size for embedding.
    pub embed_minibatch: usize,
}

/// Genes of a cell that are tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputGenes {
    /// Expressed genes.
    #[default]
    Expressed,
    /// All of the vocabulary, zeros as bin 0; needed for the probability of zero.
    All,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            length: 1200,
            genes: InputGenes::Expressed,
            cls_value: 0.0,
            bins: 51,
            ties: Ties::Random,
            mask: 0.4,
            ecs_threshold: None,
            contrast_temperature: None,
            batch: vec![BatchUse::Decoders, BatchUse::Adversary],
            proteins: vec!["p_".into()],
            generative: GenerativeConfig::default(),
            perturbation: PerturbationConfig::default(),
            embed_minibatch: 64,
        }
    }
}

impl TokenConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`TrainError::Config`] names the setting, its value and what is allowed.
    pub fn check(&self, architecture: &str) -> Result<()> {
        let of = format!("{architecture}: input.");
        let fail = |what: String| Err(TrainError::Config(format!("{of}{what}")));
        ranges::sizes(
            &of,
            &[
                ("length", self.length),
                ("embed_minibatch", self.embed_minibatch),
            ],
        )?;
        if !(2..=MAX_BINS).contains(&self.bins) {
            return fail(format!(
                "bins = {}; must lie between 2 and {MAX_BINS}",
                self.bins
            ));
        }
        ranges::finite(&of, &[("cls_value", f64::from(self.cls_value))])?;
        if self.length < 2 {
            let length = self.length;
            return fail(format!(
                "length = {length}; must be 2 or more, for <cls> and a gene"
            ));
        }
        let mask = [("mask", self.mask)];
        ranges::positive(&of, &mask)?;
        ranges::shares(&of, &mask)?;
        if let Some(t) = self.contrast_temperature {
            ranges::positive(&of, &[("contrast_temperature", t)])?;
        }
        if let Some(t) = self.ecs_threshold {
            ranges::finite(&of, &[("ecs_threshold", t)])?;
        }
        if let Some(s) = (self.generative.target_shares.iter()).find(|s| !(**s > 0.0 && **s < 1.0))
        {
            return fail(format!(
                "generative.target_shares contains {s}; shares must lie between 0 and 1"
            ));
        }
        if self.generative.target_shares.is_empty() {
            return fail(
                "generative.target_shares is empty; give shares such as 0.25, 0.5, 0.75".into(),
            );
        }
        let total = [("perturbation.total", self.perturbation.total)];
        Ok(ranges::positive(&of, &total)?)
    }
}

/// A token of a cell: its gene and its bin.
pub(super) type Token = (i64, f32);

/// Tokens of a minibatch on the host.
pub struct TokenInput {
    pub(super) tokens: GenesValues,
    /// Values before masking, `[cells, length]` row-major.
    pub(super) targets: Vec<f32>,
    /// 1 where a value is masked, `[cells, length]` row-major.
    pub(super) masked: Vec<f32>,
    pub(super) batches: Vec<i64>,
    /// Modality of every token, `[cells, length]` row-major, for models of several.
    modalities: Option<Vec<i64>>,
    /// Labels of its cells.
    pub(super) labelled: Labelled,
}

/// Genes of a minibatch and their values, both `[cells, length]` row-major.
pub(super) struct GenesValues {
    pub(super) genes: Padded,
    pub(super) values: Vec<f32>,
}

impl GenesValues {
    /// As long as the longest row, 1 at least, filled up with `pad`.
    pub(super) fn new(rows: &[Vec<Token>], pad: Token) -> Self {
        fn part<T>(rows: &[Vec<Token>], of: impl Fn(&Token) -> T) -> Vec<Vec<T>> {
            rows.iter().map(|r| r.iter().map(&of).collect()).collect()
        }
        let genes = Padded::new(&part(rows, |t| t.0), pad.0, 1);
        Self {
            values: genes.align(&part(rows, |t| t.1), pad.1),
            genes,
        }
    }
}

impl TokenInput {
    pub(super) fn on_device(&self, device: &Device) -> Tokens {
        let GenesValues { genes, values } = &self.tokens;
        let padding = genes.padding_on(device);
        let values = TensorData::new(values.clone(), genes.shape());
        let modalities = (self.modalities.clone())
            .map(|m| Tensor::from_data(TensorData::new(m, genes.shape()), device));
        Tokens {
            genes: genes.ids_on(device),
            values: Tensor::from_data(values, device),
            // Padding and the padding token are the same positions here.
            frozen: padding.clone(),
            padding,
            batches: Some(whole(self.batches.clone(), device)),
            modalities,
            domain: self.batches.first().map_or(0, |&b| b as usize),
        }
    }
}

impl ScGptTask {
    pub(super) fn pad(&self) -> Token {
        (self.genes as i64, self.special_values()[0])
    }

    /// Values of padding and of masked tokens: after the bins, where these are rows of a table.
    fn special_values(&self) -> [f32; 2] {
        match self.network.value_encoder {
            ValueEncoderConfig::Category { .. } => [0, 1].map(|k| (self.input.bins + k) as f32),
            _ => [PADDING, MASKED],
        }
    }

    fn cls(&self) -> Token {
        (self.genes as i64 + 1, self.input.cls_value)
    }

    /// Genes and bins of every cell, without `<cls>`.
    pub(super) fn rows(&self, cells: &CellBatch, epoch: u64) -> Result<Vec<Vec<Token>>> {
        let of = |(i, &key): (usize, &u64)| {
            let (genes, counts) = cells.counts.row(i);
            self.row(key, genes, counts, epoch)
        };
        cells.keys.iter().enumerate().map(of).collect()
    }

    fn row(&self, cell: u64, genes: &[u32], counts: &[f32], epoch: u64) -> Result<Vec<Token>> {
        let bins = self.bins(cell, genes, counts, epoch)?;
        let expressed = genes.iter().zip(bins);
        let expressed = expressed.map(|(&g, b)| (i64::from(g), b as f32));
        let mut tokens: Vec<Token> = match self.input.genes {
            InputGenes::Expressed => expressed.collect(),
            InputGenes::All => {
                let mut all: Vec<Token> = (0..self.genes as i64).map(|g| (g, 0.0)).collect();
                expressed.for_each(|token| all[token.0 as usize] = token);
                all
            }
        };
        let most = self.input.length.saturating_sub(1);
        if let Some(chosen) = part(tokens.len(), most, [self.seed, cell, epoch]) {
            tokens = chosen.into_iter().map(|i| tokens[i]).collect();
        }
        Ok(tokens)
    }

    /// Bins of the values of a cell, separately for every modality.
    fn bins(&self, cell: u64, genes: &[u32], counts: &[f32], epoch: u64) -> Result<Vec<u32>> {
        let mut out = vec![0; counts.len()];
        for modality in 0..self.network.modalities.max(1) {
            let own = |g: u32| {
                self.modalities
                    .get(g as usize)
                    .map_or(0, |&m| usize::from(m))
            };
            let at: Vec<usize> = (0..genes.len())
                .filter(|&k| own(genes[k]) == modality)
                .collect();
            if at.is_empty() {
                continue;
            }
            let values: Vec<f32> = at.iter().map(|&k| counts[k]).collect();
            let seed = self.seed.wrapping_add(modality as u64);
            let bins = match self.input.ties {
                Ties::Random => bin_cell(&values, self.input.bins, seed, cell, epoch),
                Ties::Highest => bin_row_highest(&values, self.input.bins),
            }?;
            at.into_iter().zip(bins).for_each(|(k, bin)| out[k] = bin);
        }
        Ok(out)
    }

    /// Modalities of tokens; those of padding and `<cls>` follow the data's.
    fn modalities(&self, genes: &[i64]) -> Option<Vec<i64>> {
        let special = self.network.modalities as i64 - self.genes as i64;
        let of = |&gene: &i64| match self.modalities.get(gene as usize) {
            Some(&modality) => i64::from(modality),
            None => gene + special,
        };
        (self.network.modalities > 0).then(|| genes.iter().map(of).collect())
    }

    /// Tokens of cells after their `<cls>`, padded to the longest; the share of the
    /// settings is masked, except for embedding.
    pub(super) fn tokenize(&self, cells: &CellBatch, pass: Pass) -> Result<TokenInput> {
        let mut input = self.unmasked(cells, self.rows(cells, pass.epoch())?);
        let Pass::Training(epoch) = pass else {
            return Ok(input);
        };
        let [_, masked] = self.special_values();
        let length = input.tokens.genes.length;
        for (i, &key) in cells.keys.iter().enumerate() {
            let at = i * length + 1;
            let rest = &input.tokens.genes.padding[at..at + length - 1];
            let tokens = rest.iter().filter(|p| !**p).count();
            let mut rng = stream(self.seed, "mask", key, epoch);
            let count = (tokens as f64 * self.input.mask) as usize;
            for k in rand::seq::index::sample(&mut rng, tokens, count) {
                input.tokens.values[at + k] = masked;
                input.masked[at + k] = 1.0;
            }
        }
        Ok(input)
    }

    /// `rows` of tokens after their `<cls>`, none masked.
    pub(super) fn unmasked(&self, cells: &CellBatch, mut rows: Vec<Vec<Token>>) -> TokenInput {
        rows.iter_mut().for_each(|row| row.insert(0, self.cls()));
        let tokens = GenesValues::new(&rows, self.pad());
        TokenInput {
            targets: tokens.values.clone(),
            masked: vec![0.0; tokens.values.len()],
            modalities: self.modalities(&tokens.genes.ids),
            tokens,
            batches: cells.batches.iter().map(|&b| i64::from(b)).collect(),
            labelled: Labelled::of(cells),
        }
    }
}
