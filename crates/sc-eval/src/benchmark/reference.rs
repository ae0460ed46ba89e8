//! What every method of a data set and split is compared on, fitted once.
//!
//! Variable genes, principal components and the geometry of the labels depend on the cells and on
//! the split, not on the method. [`Reference::to_bytes`] lets separate processes share them;
//! [`Reference::key`] says which cells and which split they belong to.

use super::{BenchmarkError, EvalData, Result, seconds};
use crate::error::EvalError;
use crate::metrics::scgraph::Consensus;
use crate::protocol::{ScgraphReferences, scgraph_reference, scgraph_references};
use crate::results::Mode;
use ndarray::Array2;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sc_data::CsrMatrix;
use sc_data::preprocess::hvg::{Flavor, HvgInput, most_variable, sample};
use sc_data::preprocess::pca::pca;
use std::collections::HashMap;
use std::time::Instant;

/// Components of the PCA baseline.
pub const COMPONENTS: usize = 50;
/// Variable genes of the HVG and PCA baselines.
pub const VARIABLE_GENES: usize = 2000;

/// Variable genes, principal components and label geometry of a data set and split.
#[derive(Clone, Debug)]
pub struct Reference {
    /// Columns of the variable genes, ascending.
    pub(super) genes: Vec<usize>,
    /// Seconds of choosing them.
    pub(super) gene_seconds: f64,
    /// Components of the variable genes for every cell, `[cells, components]`.
    pub(super) components: Array2<f32>,
    /// Seconds of fitting them.
    pub(super) component_seconds: f64,
    pub(super) scgraph: ScgraphReferences,
    /// Peak memory of the process that fitted them, in bytes; 0 where it is not known.
    pub(super) peak_memory: u64,
}

impl Reference {
    /// Fits 2,000 variable genes and 50 principal components on the training donors, and the
    /// reference geometry of scGraph.
    ///
    /// # Errors
    /// [`BenchmarkError`] when shapes do not fit.
    pub fn fit(data: &EvalData) -> Result<Self> {
        let started = Instant::now();
        let genes = variable_genes(data, VARIABLE_GENES)?;
        let gene_seconds = seconds(started);
        let started = Instant::now();
        let values = data.values.matrix().select_cols(&genes);
        let components = principal_components(data, &values, COMPONENTS)?;
        let component_seconds = seconds(started);
        Ok(Self {
            genes,
            gene_seconds,
            components,
            component_seconds,
            scgraph: scgraph_references(&data.values, &data.annotations)?,
            peak_memory: sc_data::memory::peak(),
        })
    }

    /// The hash of everything [`Reference::fit`] reads, as 64 hexadecimal digits.
    pub fn key(data: &EvalData) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        let cells = &data.annotations;
        let matrix = data.values.matrix();
        add(&(matrix.cols() as u64).to_le_bytes());
        for row in 0..matrix.rows() {
            let (genes, values) = matrix.row(row);
            add(bytemuck::cast_slice(genes));
            add(bytemuck::cast_slice(values));
        }
        add(bytemuck::cast_slice(cells.labels.codes()));
        add(bytemuck::cast_slice(cells.batches.codes()));
        add(bytemuck::cast_slice(
            cells.keys.as_deref().unwrap_or_default(),
        ));
        for rows in [&cells.train, &cells.test] {
            let rows: Vec<u64> = rows.iter().map(|&r| r as u64).collect();
            add(bytemuck::cast_slice(&rows));
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The fit as a safetensors file, with the `key` of the cells and split and a hash of its content. A
    /// geometry that is undefined is left out.
    ///
    /// # Errors
    /// [`EvalError::Invalid`] when the format refuses it.
    pub fn to_bytes(&self, key: &str) -> Result<Vec<u8>> {
        let mut tensors = vec![
            (
                "genes",
                integers(self.genes.iter().map(|&g| g as u64)),
                Dtype::U64,
                vec![self.genes.len()],
            ),
            (
                "components",
                self.components
                    .iter()
                    .flat_map(|v| v.to_le_bytes())
                    .collect(),
                Dtype::F32,
                self.components.shape().to_vec(),
            ),
        ];
        let sides = [
            (["strict.labels", "strict.distances"], &self.scgraph.strict),
            (["compat.labels", "compat.distances"], &self.scgraph.compat),
        ];
        for ([labels, distances], consensus) in sides {
            let Ok(consensus) = consensus else { continue };
            let (codes, values) = (consensus.labels(), consensus.distances());
            let codes_bytes = integers(codes.iter().map(|&c| u64::from(c)));
            tensors.push((labels, codes_bytes, Dtype::U64, vec![codes.len()]));
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            tensors.push((distances, bytes, Dtype::F64, values.shape().to_vec()));
        }
        let refused = |e: safetensors::SafeTensorError| EvalError::invalid(e.to_string());
        let views: Vec<(&str, TensorView<'_>)> = tensors
            .iter()
            .map(|(name, bytes, dtype, shape)| {
                let view = TensorView::new(*dtype, shape.clone(), bytes).map_err(refused)?;
                Ok((*name, view))
            })
            .collect::<Result<_, EvalError>>()?;
        let content = tensors.iter().map(|(name, bytes, ..)| (*name, &bytes[..]));
        let notes = HashMap::from([
            ("key".to_owned(), key.to_owned()),
            ("content".to_owned(), digest(content)),
            ("gene_seconds".to_owned(), self.gene_seconds.to_string()),
            (
                "component_seconds".to_owned(),
                self.component_seconds.to_string(),
            ),
            ("peak_memory".to_owned(), self.peak_memory.to_string()),
        ]);
        Ok(safetensors::serialize(views, Some(notes)).map_err(refused)?)
    }

    /// Reads what [`Reference::to_bytes`] wrote for the same cells; a geometry that was left out is
    /// looked for again, for its reason.
    ///
    /// # Errors
    /// [`EvalError::Invalid`] for bytes that hold something else, were written with another `key`, or were
    /// changed since.
    pub fn from_bytes(bytes: &[u8], key: &str, data: &EvalData) -> Result<Self> {
        let wrong = |what: String| BenchmarkError::from(EvalError::invalid(what));
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| wrong(e.to_string()))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| wrong(e.to_string()))?;
        let note = |key: &str| {
            let notes = header.metadata().as_ref();
            let text = notes.and_then(|n| n.get(key)).map(String::as_str);
            text.ok_or_else(|| wrong(format!("{key} is missing")))
        };
        let mut names = tensors.names();
        names.sort_by_key(|name| ORDER.iter().position(|o| o == name));
        let content = names
            .iter()
            .filter_map(|name| Some((*name, tensors.tensor(name).ok()?.data())));
        if note("key")? != key || note("content")? != digest(content) {
            return Err(wrong("it is of other cells, or was changed".into()));
        }
        let number = |key: &str| {
            let text = note(key)?;
            text.parse::<f64>()
                .map_err(|_| wrong(format!("{key} = {text}")))
        };
        let tensor = |name: &str, dtype: Dtype| match tensors.tensor(name) {
            Ok(t) if t.dtype() == dtype => Ok(t),
            _ => Err(wrong(format!("{name} is missing"))),
        };
        let matrix = data.values.matrix();
        let genes = u64s(tensor("genes", Dtype::U64)?.data());
        let genes: Vec<usize> = genes.into_iter().map(|g| g as usize).collect();
        if genes.iter().any(|&g| g >= matrix.cols()) {
            return Err(wrong("genes lie outside of the data".into()));
        }
        let stored = tensor("components", Dtype::F32)?;
        let values = floats(stored.data());
        let components = Array2::from_shape_vec(pair(stored.shape()), values)
            .ok()
            .filter(|c| c.nrows() == matrix.rows())
            .ok_or_else(|| wrong("components are of other cells".into()))?;
        let consensus = |name: &str, mode: Mode| {
            let labels = format!("{name}.labels");
            if !tensors.names().contains(&labels.as_str()) {
                return Ok(scgraph_reference(&data.values, &data.annotations, mode));
            }
            let codes = u64s(tensor(&labels, Dtype::U64)?.data());
            let codes: Vec<u32> = codes.into_iter().map(|c| c as u32).collect();
            let stored = tensor(&format!("{name}.distances"), Dtype::F64)?;
            let distances = Array2::from_shape_vec(pair(stored.shape()), doubles(stored.data()));
            let consensus = distances
                .ok()
                .and_then(|d| Consensus::restored(codes, d, mode));
            let consensus = consensus.ok_or_else(|| wrong(format!("{name} has the wrong shape")));
            consensus.map(Ok)
        };
        Ok(Self {
            genes,
            gene_seconds: number("gene_seconds")?,
            components,
            component_seconds: number("component_seconds")?,
            scgraph: ScgraphReferences {
                strict: consensus("strict", Mode::Strict)?,
                compat: consensus("compat", Mode::Compat)?,
            },
            peak_memory: number("peak_memory")? as u64,
        })
    }
}

/// The tensors in the order in which they are hashed.
const ORDER: [&str; 6] = [
    "genes",
    "components",
    "strict.labels",
    "strict.distances",
    "compat.labels",
    "compat.distances",
];

/// The hash of named contents.
fn digest<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in tensors {
        for part in [name.as_bytes(), bytes] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    hasher.finalize().to_hex().to_string()
}

fn integers(values: impl Iterator<Item = u64>) -> Vec<u8> {
    values.flat_map(u64::to_le_bytes).collect()
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}

fn u64s(bytes: &[u8]) -> Vec<u64> {
    words(bytes).map(u64::from_le_bytes).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    words(bytes).map(f32::from_le_bytes).collect()
}

fn doubles(bytes: &[u8]) -> Vec<f64> {
    words(bytes).map(f64::from_le_bytes).collect()
}

/// A shape of two; of any other, one that fits no values.
fn pair(shape: &[usize]) -> (usize, usize) {
    match shape {
        [rows, columns] => (*rows, *columns),
        _ => (usize::MAX, 1),
    }
}

/// Columns of variable genes, chosen on the training donors: by Seurat's dispersion, which needs no fit
/// that can fail on small batches.
pub(super) fn variable_genes(data: &EvalData, genes: usize) -> Result<Vec<usize>> {
    let cells = &data.annotations;
    let codes = cells.batches.codes();
    let rows = sample(&cells.train, codes);
    let values = data.values.select_rows(&rows);
    let values = HvgInput::LogNormalized(&values);
    Ok(most_variable(values, Flavor::Seurat, &rows, codes, genes)?)
}

/// Principal components of all cells, fitted on the training donors.
pub(super) fn principal_components(
    data: &EvalData,
    variable: &CsrMatrix,
    components: usize,
) -> Result<Array2<f32>> {
    let train = variable.select_rows(&data.annotations.train);
    let most = train.rows().saturating_sub(1).min(train.cols());
    Ok(pca(&train, components.min(most))?.transform(variable)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::categories::Categories;
    use crate::protocol::Annotations;
    use crate::results::DataCard;
    use sc_data::identity::CellKeys;
    use sc_data::{LogNormalized, RawCounts};

    /// 120 cells of three labels and two batches; 30 genes.
    fn data() -> EvalData {
        let counts: Vec<f32> = (0..120 * 30)
            .map(|i| ((i * 7919 % 13) * usize::from(i % 30 % 3 == i / 30 % 3)) as f32)
            .collect();
        let counts = CsrMatrix::from_dense(30, &counts);
        let codes = |of: usize| (0..120).map(|c| c % of).map(|c| c as u32).collect();
        let names = |of: usize| (0..of).map(|c| c.to_string()).collect();
        EvalData {
            annotations: Annotations {
                labels: Categories::new(codes(3), names(3)).unwrap(),
                batches: Categories::new(codes(2), names(2)).unwrap(),
                donors: None,
                keys: None,
                train: (0..80).collect(),
                test: (80..120).collect(),
            },
            keys: CellKeys::default(),
            values: LogNormalized::from_counts(&RawCounts::new(counts).unwrap(), 1e4),
            card: DataCard::default(),
        }
    }

    #[test]
    fn what_was_written_is_read_to_the_bit() {
        let data = data();
        let fitted = Reference::fit(&data).unwrap();
        let key = Reference::key(&data);
        let bytes = fitted.to_bytes(&key).unwrap();
        let read = Reference::from_bytes(&bytes, &key, &data).unwrap();
        assert_eq!(format!("{read:?}"), format!("{fitted:?}"));
        for end in [0, 8, bytes.len() / 2, bytes.len() - 1] {
            assert!(Reference::from_bytes(&bytes[..end], &key, &data).is_err());
        }
        // One bit of a number, or the fit of another split under this name.
        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(Reference::from_bytes(&changed, &key, &data).is_err());
        assert!(Reference::from_bytes(&bytes, "another", &data).is_err());
    }

    #[test]
    fn another_split_or_label_has_another_key() {
        let (first, mut other) = (data(), data());
        assert_eq!(Reference::key(&first), Reference::key(&other));
        other.annotations.test.pop();
        assert_ne!(Reference::key(&first), Reference::key(&other));
        let mut other = data();
        other.annotations.labels = Categories::one(120, "all");
        assert_ne!(Reference::key(&first), Reference::key(&other));
    }
}
