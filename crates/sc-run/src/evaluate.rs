//! Evaluation of the embeddings in a file, with baselines and controls.

use crate::error::Result;
use crate::provenance::{description, family};
use ndarray::Array2;
use sc_data::identity::{Provenance, vector_key};
use sc_data::io::h5ad::H5ad;
use sc_data::sampling::split::SavedSplit;
use sc_data::{DataError, Dataset};
use sc_eval::benchmark::{Benchmark, EvalData, MethodInfo, describe};
use sc_eval::exposure::{exposure, given_as_batches};
use sc_eval::results::{Cost, Exposure, Family, RunResult};

/// An embedding of a file, and its record.
pub struct FoundEmbedding {
    /// Its name in `obsm`.
    pub key: String,
    /// Vectors of all cells, `[cells, dims]`, all finite.
    pub vectors: Array2<f32>,
    /// Its record of the model.
    pub provenance: Provenance,
}

/// The embeddings of a file to evaluate.
pub struct FoundEmbeddings {
    /// Those that can be evaluated.
    pub usable: Vec<FoundEmbedding>,
    /// Keys that were not requested by name and cannot be evaluated, with the reason.
    pub left_out: Vec<(String, String)>,
}

/// Reads the embeddings called `keys`; without any, every `X_…` with more than two columns.
///
/// # Errors
/// [`DataError::File`] for a key that does not exist, or was requested and cannot be evaluated.
pub fn embeddings(file: &H5ad, keys: &[String]) -> Result<FoundEmbeddings> {
    let there = file.obsm_keys();
    let named = !keys.is_empty();
    let mut wanted = if named { keys.to_vec() } else { there.to_vec() };
    if !named {
        wanted.retain(|k| k.starts_with("X_"));
    }
    let mut found = FoundEmbeddings {
        usable: Vec::new(),
        left_out: Vec::new(),
    };
    for key in wanted {
        if found.usable.iter().any(|e| e.key == key) {
            continue;
        }
        if !there.contains(&key) {
            let has = match there {
                [] => "none".to_owned(),
                _ => there.join(", "),
            };
            let what = format!("has no obsm['{key}']; it has: {has}");
            return Err(DataError::file(file.path(), what).into());
        }
        let read = file.embedding(&key).map_err(|e| e.to_string());
        let vectors = match read.and_then(usable) {
            Ok(vectors) => vectors,
            Err(why) if named => {
                return Err(DataError::file(file.path(), format!("obsm['{key}']: {why}")).into());
            }
            Err(why) => {
                found.left_out.push((key, why));
                continue;
            }
        };
        // Two-dimensional layouts are not embeddings.
        if named || vectors.ncols() > 2 {
            let provenance = Provenance::of(file, &key)?;
            found.usable.push(FoundEmbedding {
                key,
                vectors,
                provenance,
            });
        }
    }
    Ok(found)
}

/// Refuses what cannot be evaluated.
fn usable(values: Array2<f32>) -> std::result::Result<Array2<f32>, String> {
    if values.ncols() == 0 {
        return Err("it has no columns".to_owned());
    }
    match values.indexed_iter().find(|(_, v)| !v.is_finite()) {
        Some(((row, column), v)) => Err(format!(
            "cell {row}, column {column} contains {v}; an embedding must be finite"
        )),
        None => Ok(values),
    }
}

/// What the models of a file held out.
pub enum HeldOut {
    /// Unknown.
    Unknown,
    /// All the same.
    Same(SavedSplit),
    /// Different cells.
    Different,
}

/// What the models behind `found` held out of training.
pub fn held_out(found: &[FoundEmbedding]) -> HeldOut {
    let splits = found
        .iter()
        .filter_map(|e| e.provenance.trained_on.get()?.split.as_ref());
    let mut splits = splits.peekable();
    let Some(first) = splits.peek().copied() else {
        return HeldOut::Unknown;
    };
    match splits.all(|other| other == first) {
        true => HeldOut::Same(first.clone()),
        false => HeldOut::Different,
    }
}

/// Exposure of an embedding to the scored cells, and the reason where it is unknown because the
/// file was changed.
///
/// # Errors
/// [`DataError`] when the column of batches cannot be read.
pub fn seen(
    data: &EvalData,
    dataset: &Dataset,
    embedding: &FoundEmbedding,
) -> Result<(Exposure, Option<String>)> {
    let (test, recorded) = (&data.annotations.test, &embedding.provenance);
    let trained = exposure(&recorded.trained_on, &data.keys, test);
    if matches!(trained, Exposure::Labels { .. }) {
        return Ok((trained, None));
    }
    let Some(vectors) = &recorded.vectors else {
        return Ok((Exposure::Unknown, None));
    };
    let ours = |row: &usize| vectors.contains(vector_key(&embedding.vectors.row(*row).to_vec()));
    if !test.iter().all(ours) {
        let why = format!(
            "obsm['{}'] was changed since scfm wrote it, so its training cells are unknown",
            embedding.key
        );
        return Ok((Exposure::Unknown, Some(why)));
    }
    let Some(batch) = &recorded.batch else {
        return Ok((trained, None));
    };
    if dataset.has_column(&batch.column) {
        let batches = dataset.shared_categories(&batch.column)?;
        let values: Vec<&str> = batches.values().map(Option::unwrap_or_default).collect();
        if batch.hold(&data.keys, &values, test) {
            let labels = data.annotations.labels.codes();
            let leak = given_as_batches(&batch.column, batches.codes(), labels, test);
            return Ok((leak.unwrap_or(trained), None));
        }
    }
    let why = format!(
        "obsm['{}'] was embedded with other batches than obs['{}'] holds now, so it is unknown whether it saw \
         labels",
        embedding.key, batch.column
    );
    Ok((Exposure::Unknown, Some(why)))
}

/// Evaluates an embedding with this `exposure` to the scored cells.
///
/// # Errors
/// Those of [`Benchmark::embedding`].
pub fn score(
    benchmark: &Benchmark<'_>,
    embedding: &FoundEmbedding,
    exposure: Exposure,
    seed: u64,
) -> Result<RunResult> {
    let on = embedding.provenance.trained_on.get();
    let (kind, text) = match on {
        Some(on) => (family(&on.architecture), description(on)),
        None => by_name(&embedding.key),
    };
    // A key may be the name of a baseline in the same evaluation.
    let name = match describe(&embedding.key) {
        Some(_) => format!("obsm-{}", embedding.key),
        None => embedding.key.clone(),
    };
    let info = MethodInfo {
        preset: on.map(|on| on.architecture.clone()),
        exposure,
        ..MethodInfo::new(&name, kind, &text, seed)
    };
    let cost = Cost {
        parameters: on.map(|on| on.parameters),
        steps: on.map(|on| on.steps),
        training_cells: on.map(|on| on.cells as u64),
        ..Cost::default()
    };
    let vectors = embedding.vectors.view();
    Ok(benchmark.embedding(info, vectors, cost, Vec::new())?)
}

/// Family of an embedding of unknown origin: by the name that scanpy and scvi-tools give it,
/// otherwise a foundation model.
fn by_name(key: &str) -> (Family, String) {
    const CLASSICAL: [&str; 12] = [
        "pca",
        "pca_harmony",
        "harmony",
        "lsi",
        "svd",
        "mnn",
        "scanorama",
        "bbknn",
        "diffmap",
        "umap",
        "tsne",
        "draw_graph_fa",
    ];
    const NEURAL: [&str; 7] = [
        "scvi",
        "scanvi",
        "linear_scvi",
        "totalvi",
        "peakvi",
        "multivi",
        "vae",
    ];
    let lower = key.to_lowercase();
    let name = lower.strip_prefix("x_").unwrap_or(&lower);
    let (family, by) = if CLASSICAL.contains(&name) {
        (Family::Baseline, ", classical by its name")
    } else if NEURAL.contains(&name) {
        (Family::Neural, ", a small network by its name")
    } else {
        (Family::Model, "")
    };
    (family, format!("an embedding found in the file{by}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedding_of_unknown_origin_is_what_its_name_says() {
        for (key, family) in [
            ("X_pca", Family::Baseline),
            ("X_PCA_harmony", Family::Baseline),
            ("X_scVI", Family::Neural),
            ("X_scGPT", Family::Model),
            ("latent", Family::Model),
        ] {
            assert_eq!(by_name(key).0, family, "{key}");
        }
    }
}
