//! Labels for the cells of one file from those of another, by neighbours in the embedding of a model.

use crate::error::Result;
use ndarray::Array2;
use sc_data::Dataset;
use sc_data::categories::{Categories, MISSING};
use sc_data::counts::log_normalize;
use sc_data::genes::GeneMatch;
use sc_data::preprocess::pca::pca;
use sc_eval::probe::macro_f1;
use sc_eval::transfer::{Reference, Transferred, transfer};
use sc_models::device::Device;
use sc_train::TrainError;
use sc_train::embed::{Embedder, put};

/// Principal components of the simple alternative.
const COMPONENTS: usize = 50;

/// The labelled cells of a reference.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// Rows that have a label.
    pub rows: Vec<usize>,
    /// Label of each of them.
    pub codes: Vec<u32>,
    /// Donor of each of them, where donors are known.
    pub donors: Option<Vec<u32>>,
    /// Names of the labels.
    pub names: Vec<String>,
}

impl Labelled {
    /// The cells of `dataset` with a value in the column `label`, and their donors in another.
    ///
    /// # Errors
    /// [`crate::RunError`] for columns that are not there, and labels that no cell has.
    pub fn of(dataset: &Dataset, label: &str, donor: Option<&str>) -> Result<Self> {
        let labels = dataset.shared_categories(label)?;
        let donors = donor.map(|d| dataset.shared_categories(d)).transpose()?;
        let all = labels.codes().iter().enumerate();
        let rows: Vec<usize> = all
            .filter(|(_, c)| **c != MISSING)
            .map(|(r, _)| r)
            .collect();
        if rows.is_empty() {
            let what = format!(
                "obs['{label}'] has no value in any cell, so there are no labels to transfer"
            );
            return Err(TrainError::file(dataset.path(), what).into());
        }
        let of = |column: &Categories| rows.iter().map(|&r| column.codes()[r]).collect();
        Ok(Self {
            codes: of(&labels),
            donors: donors.as_ref().map(of),
            names: labels.names().to_vec(),
            rows,
        })
    }
}

/// Embeds the cells of `embedder` at `rows`, `[rows, dims]`; `done` is called with numbers of cells.
///
/// # Errors
/// Those of [`Embedder::embed`].
pub fn vectors(
    embedder: &mut Embedder<'_>,
    rows: &[usize],
    device: &Device,
    done: &mut dyn FnMut(usize),
) -> Result<Array2<f32>> {
    let mut out = Array2::zeros((rows.len(), embedder.task.dims()));
    embedder.corpus.rows = std::sync::Arc::new(rows.to_vec());
    embedder.embed(device, &mut |read, values| {
        done(read.len());
        let place = |row: &usize| {
            rows.binary_search(row)
                .expect("invariant: it is one of them")
        };
        let places: Vec<usize> = read.iter().map(place).collect();
        put(&mut out, &places, values);
        Ok(())
    })?;
    Ok(out)
}

/// Transfers the labels of `labelled` cells with these `vectors` to the cells of `query`, by `k` neighbours.
///
/// # Errors
/// Those of [`transfer`].
pub fn map(
    vectors: &Array2<f32>,
    labelled: &Labelled,
    query: &Array2<f32>,
    k: usize,
) -> Result<Transferred> {
    let reference = Reference {
        vectors: vectors.view(),
        labels: &labelled.codes,
        donors: labelled.donors.as_deref(),
    };
    Ok(transfer(&reference, query.view(), k)?)
}

/// The same by neighbours in principal components of the log-normalised genes that are `matched` in both
/// files, fitted on the reference: what a model has to beat.
///
/// # Errors
/// Those of [`map`], and of counts that cannot be read.
pub fn map_by_components(
    (reference, query): (&Dataset, &Dataset),
    (own, others): (&GeneMatch, &GeneMatch),
    labelled: &Labelled,
    k: usize,
) -> Result<Transferred> {
    let all: Vec<usize> = (0..query.cells()).collect();
    let logged = |dataset: &Dataset, rows: &[usize], genes: &GeneMatch| -> Result<_> {
        let counts = genes.apply_matrix(&dataset.counts().read(rows)?)?;
        Ok(log_normalize(counts, 1e4))
    };
    let reference = logged(reference, &labelled.rows, own)?;
    let query = logged(query, &all, others)?;
    let most = reference.rows().min(reference.cols()).saturating_sub(1);
    let components = pca(&reference, COMPONENTS.min(most))?;
    let [reference, query] = [&reference, &query].map(|m| components.transform(m));
    map(&reference?, labelled, &query?, k)
}

/// Macro-F1 of transferred labels, of the nearest label for every cell, on the query cells whose value of
/// the column `label` is known; `None` where there are none.
///
/// # Errors
/// [`crate::RunError`] for a column that cannot be read.
pub fn score(
    found: &Transferred,
    labelled: &Labelled,
    query: &Dataset,
    label: &str,
) -> Result<Option<f64>> {
    if !query.has_column(label) {
        return Ok(None);
    }
    let truth = query.shared_categories(label)?;
    // Labels that the reference lacks are codes of their own.
    let code = |name: &str| {
        let known = labelled.names.iter().position(|n| n == name);
        known.unwrap_or(labelled.names.len()) as u32
    };
    let cells = truth.values().zip(&found.labels);
    let pairs = cells.filter_map(|(truth, found)| Some((code(truth?), *found)));
    let (truth, predicted): (Vec<u32>, Vec<u32>) = pairs.unzip();
    Ok(macro_f1(&predicted, &truth).ok())
}
