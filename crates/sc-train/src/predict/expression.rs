//! Expected counts of cells, by models that decode expression.

use super::Quantity;
use crate::embed::Embedder;
use crate::error::{Result, TrainError};
use crate::registry::ARCHITECTURES;
use crate::spec::Sink;
use burn::tensor::Device;
use sc_data::CsrMatrix;
use std::sync::Arc;

impl Embedder<'_> {
    /// Whether the model predicts the expression of genes.
    ///
    /// # Errors
    /// [`TrainError::Config`] for one that does not.
    pub fn check_expression(&self) -> Result<()> {
        match self.task.predicts().contains(&Quantity::Expression) {
            true => Ok(()),
            false => Err(TrainError::Config(format!(
                "{} with objective = '{}' does not decode expression, so it cannot denoise; models that do: {}",
                self.model.spec.architecture,
                self.model.spec.objective()?,
                decoders().join(", ")
            ))),
        }
    }

    /// Expected counts of the genes of the model, `[cells, genes of the model]`: of every cell as many as
    /// it has in these genes. `sink` gets rows and values, as [`Embedder::embed`].
    ///
    /// # Errors
    /// Those of [`Embedder::predict`].
    pub fn expected_counts(&mut self, device: &Device, sink: &mut Sink<'_>) -> Result<()> {
        self.check_expression()?;
        let corpus = self.corpus.clone();
        let genes = self.model.data.genes.len();
        self.predict(Quantity::Expression, device, &mut |rows, values| {
            let totals = corpus.read(rows)?.counts.row_sums();
            let mut values = values.to_vec();
            for (cell, total) in values.chunks_exact_mut(genes).zip(totals) {
                let sum: f64 = cell.iter().map(|v| f64::from(*v)).sum();
                let factor = if sum > 0.0 { total / sum } else { 0.0 };
                cell.iter_mut()
                    .for_each(|v| *v = (f64::from(*v) * factor) as f32);
            }
            sink(rows, &values)
        })
    }

    /// Expected counts of the genes of the file, `[cells, genes of the file]`; genes that the model does
    /// not know keep their counts. Genes of the file that are one to the model share its counts.
    ///
    /// # Errors
    /// Those of [`Self::expected_counts`].
    pub fn denoised(&mut self, device: &Device, sink: &mut Sink<'_>) -> Result<()> {
        let (counts, matched) = (self.corpus.counts.clone(), self.corpus.genes.clone());
        let genes = self.model.data.genes.len();
        let mut shared = vec![0u32; genes];
        let places = matched.map.iter().flatten();
        places.for_each(|&place| shared[place as usize] += 1);
        self.expected_counts(device, &mut |rows, values| {
            let mut out = dense(&counts.read(rows)?);
            let cells = out.chunks_exact_mut(matched.map.len());
            for (cell, expected) in cells.zip(values.chunks_exact(genes)) {
                for (value, place) in cell.iter_mut().zip(&matched.map) {
                    if let Some(place) = place {
                        let place = *place as usize;
                        *value = expected[place] / shared[place] as f32;
                    }
                }
            }
            sink(rows, &out)
        })
    }

    /// The same model on other counts of the same cells, of which only those at `rows` are used.
    pub fn on(mut self, counts: Arc<dyn crate::Counts>, rows: Vec<usize>) -> Self {
        self.corpus.counts = counts;
        self.corpus.rows = Arc::new(rows);
        self
    }
}

/// Architectures with a decoder of expression.
pub fn decoders() -> Vec<&'static str> {
    let all = ARCHITECTURES.iter().filter(|a| a.decodes);
    all.map(|a| a.name).collect()
}

fn dense(counts: &CsrMatrix) -> Vec<f32> {
    let mut out = vec![0.0; counts.rows() * counts.cols()];
    for (row, (genes, values)) in counts.iter_rows().enumerate() {
        for (&gene, &value) in genes.iter().zip(values) {
            out[row * counts.cols() + gene as usize] = value;
        }
    }
    out
}
