//! 10x Genomics `.h5`: Cell Ranger 1/2 (one group per genome), 3 and later, and Space Ranger's
//! probes.
//!
//! The matrix is stored by barcode, so its arrays are directly those of a CSR matrix `[cells,
//! features]`. Of features of several types, genes are used; `FILE.h5/adt` selects antibodies,
//! `FILE.h5/gex+peaks` genes and peaks.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::view::View;
use crate::error::{DataError, Result};
use crate::genes::features::{GENES, PEAKS};
use crate::io::h5::{H5Source, NodeKind};

/// The file as AnnData, or `None` when it is not a 10x file.
pub(super) fn open(
    source: &Arc<dyn H5Source>,
    part: Option<&str>,
) -> Result<Option<Arc<dyn H5Source>>> {
    if is_matrix(&**source, "matrix")? {
        return Ok(Some(Arc::new(version3(source, part)?)));
    }
    let mut genomes = Vec::new();
    for group in source.children("")? {
        if is_matrix(&**source, &group)? {
            genomes.push(group);
        }
    }
    let fail = |message: String| Err(DataError::file(source.path(), message));
    let genome = match (part, &genomes[..]) {
        (_, []) => {
            if source.kind("molecule_idx")?.is_some() || source.kind("barcode_idx")?.is_some() {
                return fail(
                    "is 10x's molecule_info.h5, which holds reads, not counts; use \
                     filtered_feature_bc_matrix.h5 next to it"
                        .into(),
                );
            }
            return Ok(None);
        }
        (None, [genome]) => genome,
        (Some(part), all) if all.iter().any(|g| g == part) => part,
        (None, all) => {
            return fail(format!(
                "holds counts of {} genomes ({}); choose one, as in {}/{}",
                all.len(),
                all.join(", "),
                source.path().display(),
                all[0]
            ));
        }
        (Some(part), all) => {
            return fail(format!("has no genome '{part}'; it has {}", all.join(", ")));
        }
    };
    Ok(Some(Arc::new(version2(source, genome)?)))
}

fn is_matrix(source: &dyn H5Source, group: &str) -> Result<bool> {
    if source.kind(group)? != Some(NodeKind::Group) {
        return Ok(false);
    }
    for part in ["barcodes", "data", "indices", "indptr", "shape"] {
        if source.kind(&format!("{group}/{part}"))?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Short names of feature types.
const SHORT: [(&str, &str); 6] = [
    ("gex", GENES),
    ("rna", GENES),
    ("peaks", PEAKS),
    ("atac", PEAKS),
    ("adt", "Antibody Capture"),
    ("crispr", "CRISPR Guide Capture"),
];

/// The feature type to use: the given one, else genes where there are any.
fn wanted(source: &dyn H5Source, part: Option<&str>) -> Result<Option<String>> {
    let node = "matrix/features/feature_type";
    let types: BTreeSet<String> = match source.kind(node)? {
        Some(NodeKind::Dataset) => source.strings(node)?.into_iter().collect(),
        _ => BTreeSet::new(),
    };
    let Some(part) = part else {
        return Ok(types.contains(GENES).then(|| GENES.to_owned()));
    };
    let short = SHORT.iter().find(|(s, _)| s.eq_ignore_ascii_case(part));
    let name = short.map_or(part, |(_, long)| long);
    if types.contains(name) {
        return Ok(Some(name.to_owned()));
    }
    let types: Vec<String> = types.into_iter().collect();
    Err(DataError::file(
        source.path(),
        match types.is_empty() {
            true => format!("has no parts, so '{part}' does not exist"),
            false => format!(
                "has no features of type '{part}'; it has {}",
                types.join(", ")
            ),
        },
    ))
}

fn version3(source: &Arc<dyn H5Source>, part: Option<&str>) -> Result<View> {
    let mut view = matrix(source, "matrix")?;
    if let Some(wanted) = wanted(&**source, part)? {
        view.want(&wanted);
    }
    let features = "matrix/features";
    view.frame("var", source.strings(&format!("{features}/name"))?);
    // The names used by scanpy.
    for (of, column) in [
        ("id", "gene_ids"),
        ("feature_type", "feature_types"),
        ("genome", "genome"),
        ("gene_id", "gene_id"),
        ("gene_name", "gene_name"),
        ("probe_region", "probe_region"),
        ("filtered_probes", "filtered_probes"),
    ] {
        let of = format!("{features}/{of}");
        if source.kind(&of)? == Some(NodeKind::Dataset) {
            view.alias(&format!("var/{column}"), source, &of);
        }
    }
    if source.kind("matrix/filtered_barcodes")?.is_some() {
        view.alias("obs/filtered_barcodes", source, "matrix/filtered_barcodes");
    }
    Ok(view)
}

fn version2(source: &Arc<dyn H5Source>, genome: &str) -> Result<View> {
    let mut view = matrix(source, genome)?;
    view.frame("var", source.strings(&format!("{genome}/gene_names"))?);
    view.alias("var/gene_ids", source, &format!("{genome}/genes"));
    Ok(view)
}

/// Counts and barcodes.
fn matrix(source: &Arc<dyn H5Source>, group: &str) -> Result<View> {
    let shape = source
        .numbers(&format!("{group}/shape"), std::slice::from_ref(&(0..2)))?
        .into_i64();
    let &[features, cells] = &shape[..] else {
        return Err(DataError::file(
            source.path(),
            format!("{group}/shape: is damaged"),
        ));
    };
    let (Ok(features), Ok(cells)) = (usize::try_from(features), usize::try_from(cells)) else {
        return Err(DataError::file(
            source.path(),
            format!(
                "{group}/shape: {features} x {cells} is not a valid shape; the file is damaged"
            ),
        ));
    };
    let mut view = View::new(source.path(), source.size());
    view.csr("X", cells, features);
    for array in ["indptr", "indices", "data"] {
        view.alias(&format!("X/{array}"), source, &format!("{group}/{array}"));
    }
    view.frame("obs", source.strings(&format!("{group}/barcodes"))?);
    Ok(view)
}
