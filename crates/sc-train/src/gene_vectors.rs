//! The vectors that a model has learnt for genes.

use crate::error::{Result, TrainError};
use crate::model::Model;
use crate::registry::ARCHITECTURES;
use crate::spec::ModelSpec;
use ndarray::Array2;

/// Where an architecture keeps them.
#[derive(Clone, Copy)]
pub struct GeneVectors {
    /// Published name of the tensor; below a head it has another word before it.
    pub tensor: &'static str,
    /// Row of the first gene of the vocabulary.
    pub first: fn(&ModelSpec) -> usize,
    /// Which axis is the genes'.
    pub genes: GeneAxis,
    /// Objectives that do not train it.
    pub untrained: &'static [&'static str],
}

/// Axis of the genes in a tensor of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneAxis {
    /// Rows are genes.
    Rows,
    /// Columns are genes.
    Columns,
}

impl GeneVectors {
    /// Rows of a tensor, from the first one on.
    pub const fn rows(tensor: &'static str) -> Self {
        Self {
            tensor,
            first: |_| 0,
            genes: GeneAxis::Rows,
            untrained: &[],
        }
    }
}

impl Model {
    /// One vector for every gene of the vocabulary, `[genes, dims]`: the input embedding of genes as
    /// tokens, or the weights that tie a gene to the network where genes are no tokens.
    ///
    /// # Errors
    /// [`TrainError::Config`] for an architecture without any, or a model with vectors for some of its
    /// genes only.
    pub fn gene_vectors(&self) -> Result<Array2<f32>> {
        let name = &self.spec.architecture;
        let place = self.spec.known()?.gene_vectors.ok_or_else(|| {
            let all = ARCHITECTURES.iter().filter(|a| a.gene_vectors.is_some());
            let all: Vec<&str> = all.map(|a| a.name).collect();
            TrainError::Config(format!(
                "{name} has no vectors of genes; models that have: {}",
                all.join(", ")
            ))
        })?;
        let objective = self.spec.objective()?;
        if place.untrained.contains(&objective) {
            return Err(TrainError::Config(format!(
                "{name} with objective = '{objective}' does not train the vectors of genes; use a model with \
                 another objective"
            )));
        }
        let below = format!(".{}", place.tensor);
        let found = self.weights.iter();
        let mut found = found.filter(|(n, _)| *n == place.tensor || n.ends_with(&below));
        let tensor = found
            .next()
            .map(|(_, tensor)| tensor)
            .filter(|t| t.shape.len() == 2);
        let tensor = tensor.ok_or_else(|| {
            TrainError::Config(format!("{name}: this model has no tensor {}", place.tensor))
        })?;
        let shape = (tensor.shape[0], tensor.shape[1]);
        let all = Array2::from_shape_vec(shape, tensor.data.clone())
            .map_err(|e| TrainError::Config(format!("{name}: {}: {e}", place.tensor)))?;
        let all = match place.genes {
            GeneAxis::Rows => all,
            GeneAxis::Columns => all.reversed_axes().as_standard_layout().to_owned(),
        };
        let (first, genes) = ((place.first)(&self.spec), self.data.genes.len());
        if first + genes > all.nrows() {
            return Err(TrainError::Config(format!(
                "{name}: {} has {} rows for {genes} genes, so some genes have no vector",
                place.tensor,
                all.nrows()
            )));
        }
        Ok(all.slice(ndarray::s![first..first + genes, ..]).to_owned())
    }
}
