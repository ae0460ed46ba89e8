//! Which genes of a model are in a file, and their share of the counts.

use serde::Serialize;

use super::Report;
use crate::error::Result;
use crate::genes::{Across, MatchCounts, Vocabulary, match_file};
use crate::io::h5ad::{H5ad, MatrixSlot};

/// The genes of one model in one file.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// Which model.
    pub model: String,
    /// Number of genes of the model.
    pub vocabulary: usize,
    /// Of these, the genes in the file.
    pub matched: usize,
    /// How they were matched.
    pub found: MatchCounts,
    /// Share of the file's counts in these genes.
    pub counts: f64,
    /// Why it could not be used, if so.
    pub problem: Option<String>,
}

/// Matches the genes of an examined file with a model's.
///
/// # Errors
/// As [`H5ad::open`]; genes that do not match are reported, not an error.
pub fn coverage(report: &Report, model: &str, vocabulary: &Vocabulary) -> Result<Coverage> {
    let file = H5ad::open(std::path::Path::new(&report.path))?;
    let slot = report.counts_slot.clone().unwrap_or(MatrixSlot::X);
    let mut out = Coverage {
        model: model.to_owned(),
        vocabulary: vocabulary.len(),
        matched: 0,
        found: MatchCounts::default(),
        counts: 0.0,
        problem: None,
    };
    match match_file(&file, &slot, vocabulary, Across::Same) {
        Ok(found) => {
            out.matched = found.matched;
            out.found = found.found;
            let totals = report.values.as_ref().map_or(&[][..], |v| &v.gene_totals);
            let total: f64 = totals.iter().sum();
            let kept = found.map.iter().zip(totals);
            let kept: f64 = kept.filter(|(to, _)| to.is_some()).map(|(_, t)| t).sum();
            out.counts = if total > 0.0 { kept / total } else { 0.0 };
            out.problem = found.require(0.5).err().map(|e| e.to_string());
        }
        Err(e) => out.problem = Some(e.to_string()),
    }
    Ok(out)
}
