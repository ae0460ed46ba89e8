//! Vectors of genes of a model: written, searched, and scored on sets of genes beside controls.

use crate::error::{Result, RunError};
use ndarray::{Array2, ArrayView2};
use sc_data::counts::log_normalize;
use sc_data::genes::{Across, Vocabulary, match_genes};
use sc_data::io::atomic::write_bytes_atomic;
use sc_data::io::export::{NpyWriter, VectorWriter};
use sc_data::preprocess::pca::pca;
use sc_data::{CsrMatrix, Dataset};
use sc_eval::controls::random_embedding;
use sc_eval::gene_sets::{Knowledge, LEAST, knowledge, members, nearest, parse_gmt};
use sc_train::{Model, TrainError};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

/// Near genes that are listed.
pub const NEAR: usize = 10;
/// Most cells that controls are fitted on.
const MOST_CELLS: usize = 5000;
/// Fewest cells that controls are fitted on.
const FEWEST: usize = 20;
/// Principal components of the control.
const COMPONENTS: usize = 50;

/// Vectors of the genes of a model.
pub struct GeneVectors {
    names: Vec<String>,
    vectors: Array2<f32>,
}

/// What vectors and controls know of sets of genes.
pub struct Known {
    /// Sets in the file.
    pub sets: usize,
    /// Sets with enough genes.
    pub used: usize,
    /// The model first, without a name, then the controls.
    pub rows: Vec<(Option<String>, Knowledge)>,
}

impl Known {
    /// Controls that know as much as the model, by the means.
    pub fn as_good(&self) -> impl Iterator<Item = &str> {
        let own = self.rows.first().map_or(1.0, |(_, known)| known.mean);
        let good = self.rows.iter().filter(move |(_, known)| known.mean >= own);
        good.filter_map(|(name, _)| name.as_deref())
    }
}

impl GeneVectors {
    /// Those of `model`, see [`Model::gene_vectors`].
    ///
    /// # Errors
    /// [`TrainError::Config`] for a model without any.
    pub fn of(model: &Model) -> Result<Self> {
        Ok(Self {
            names: model.data.genes.to_vec(),
            vectors: model.gene_vectors()?,
        })
    }

    /// Number of genes and dimensions.
    pub fn shape(&self) -> (usize, usize) {
        self.vectors.dim()
    }

    /// The vectors, `[genes, dims]`.
    pub fn view(&self) -> ArrayView2<'_, f32> {
        self.vectors.view()
    }

    /// The places of genes by any of their names.
    fn places(&self, names: &[String]) -> Result<HashMap<String, usize>> {
        let vocabulary = Vocabulary::new(self.names.clone()).map_err(TrainError::from)?;
        // None of them being known is no error here.
        let found = match_genes(names, &vocabulary, Across::Same).map(|found| found.map);
        let pairs = names.iter().zip(found.unwrap_or_default());
        Ok(pairs
            .filter_map(|(name, place)| Some((name.clone(), place? as usize)))
            .collect())
    }

    /// The genes nearest to the one called `gene`, and their cosines.
    ///
    /// # Errors
    /// [`RunError::Settings`] for a gene that the model does not have.
    pub fn nearest(&self, gene: &str) -> Result<Vec<(&str, f64)>> {
        let places = self.places(&[gene.to_owned()])?;
        let &place = places.get(gene).ok_or_else(|| {
            let what = format!(
                "the model does not have this gene; it has {}",
                self.names.len()
            );
            RunError::settings(gene, what)
        })?;
        let near = nearest(self.view(), place, NEAR).into_iter();
        Ok(near
            .map(|(g, cosine)| (self.names[g].as_str(), cosine))
            .collect())
    }

    /// What the vectors know of the sets in a GMT file with this `text`, beside random vectors, and with
    /// `cells` beside the loadings of their principal components and the mean expression of the genes alone.
    ///
    /// # Errors
    /// [`RunError`] for a file without usable sets, and for cells that cannot be read or have none of the
    /// genes.
    pub fn knowledge(&self, text: &str, cells: Option<&Dataset>) -> Result<Known> {
        let sets = parse_gmt(text)?;
        let mut names: Vec<String> = sets.iter().flat_map(|s| s.genes.clone()).collect();
        names.sort_unstable();
        names.dedup();
        let places = self.places(&names)?;
        let genes = self.names.len();
        let used = members(&sets, |gene| places.get(gene).copied(), genes);
        if used.is_empty() {
            return Err(RunError::settings(
                "sets",
                format!(
                    "none of {} has {LEAST} of the model's {genes} genes (and as many are outside)",
                    sets.len()
                ),
            ));
        }
        let score = |vectors: ArrayView2<'_, f32>| {
            knowledge(vectors, &used, 0)
                .map_err(|e| RunError::settings("gene vectors", e.to_string()))
        };
        let mut rows = vec![(None, score(self.view())?)];
        for (name, vectors) in self.controls(cells)? {
            rows.push((Some(name.to_owned()), score(vectors.view())?));
        }
        Ok(Known {
            sets: sets.len(),
            used: used.len(),
            rows,
        })
    }

    /// Vectors of the same genes that need no model.
    fn controls(&self, cells: Option<&Dataset>) -> Result<Vec<(&'static str, Array2<f32>)>> {
        let (genes, dims) = self.shape();
        let mut all = vec![("random vectors", random_embedding(genes, dims, 0))];
        let Some(dataset) = cells else {
            return Ok(all);
        };
        let vocabulary = Vocabulary::new(self.names.clone()).map_err(TrainError::from)?;
        let matched = match_genes(dataset.genes(), &vocabulary, Across::Same)
            .map_err(|e| e.in_file(dataset.path()))?;
        if dataset.cells() < FEWEST {
            return Err(RunError::settings(
                dataset.path().display().to_string(),
                format!("has {} cells; controls need {FEWEST}", dataset.cells()),
            ));
        }
        let step = dataset.cells().div_ceil(MOST_CELLS).max(1);
        let rows: Vec<usize> = (0..dataset.cells()).step_by(step).collect();
        let counts = matched.apply_matrix(&dataset.counts().read(&rows)?)?;
        let logged = log_normalize(counts, 1e4);
        let most = logged.rows().min(logged.cols()).saturating_sub(1);
        let components = pca(&logged, COMPONENTS.min(most))?.components;
        let loadings = Array2::from_shape_fn((genes, components.nrows()), |(gene, k)| {
            components[[k, gene]] as f32
        });
        all.push(("loadings of components", loadings));
        all.push(("mean expression alone", by_expression(&logged)));
        Ok(all)
    }

    /// Writes them as a table with a line per gene (`.tsv`), else as a numpy array, with what they are
    /// `about` in the file `beside`.
    ///
    /// # Errors
    /// [`sc_data::DataError::Io`] when a file cannot be written.
    pub fn write(&self, path: &Path, beside: &Path, about: &serde_json::Value) -> Result<()> {
        let table = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("tsv"));
        if !table {
            let (genes, dims) = self.shape();
            let mut writer = NpyWriter::create(path, genes, dims, about)?;
            let values: Vec<f32> = self.vectors.iter().copied().collect();
            writer.push(&values)?;
            return Ok(Box::new(writer).finish()?);
        }
        let mut text = String::from("gene");
        for d in 0..self.vectors.ncols() {
            let _ = write!(text, "\t{d}");
        }
        text.push('\n');
        for (name, row) in self.names.iter().zip(self.vectors.outer_iter()) {
            text.push_str(name);
            for v in row {
                let _ = write!(text, "\t{v}");
            }
            text.push('\n');
        }
        write_bytes_atomic(path, text.as_bytes())?;
        let about = serde_json::to_vec_pretty(about)
            .map_err(|e| RunError::settings("provenance", e.to_string()))?;
        Ok(write_bytes_atomic(beside, &about)?)
    }
}

/// The rank of the mean of a gene as an angle, so that genes of near expression are near.
fn by_expression(logged: &CsrMatrix) -> Array2<f32> {
    let mut means = vec![0f64; logged.cols()];
    for (genes, values) in logged.iter_rows() {
        let pairs = genes.iter().zip(values);
        pairs.for_each(|(&g, &v)| means[g as usize] += f64::from(v));
    }
    let mut order: Vec<usize> = (0..means.len()).collect();
    order.sort_by(|&a, &b| means[a].total_cmp(&means[b]).then(a.cmp(&b)));
    let mut out = Array2::zeros((means.len(), 2));
    for (rank, gene) in order.into_iter().enumerate() {
        let angle = std::f64::consts::PI * rank as f64 / means.len().max(1) as f64;
        out[[gene, 0]] = angle.cos() as f32;
        out[[gene, 1]] = angle.sin() as f32;
    }
    out
}
