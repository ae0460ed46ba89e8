//! Finding the raw counts of a file, and refusing anything else.

use super::CellStore;
use super::values::{Looks, ValueKind};
use crate::error::{DataError, Result};
use crate::io::h5::in_other_files;
use crate::io::h5ad::{H5ad, MatrixSlot};
use crate::sparse::CsrMatrix;

/// Rows sampled to determine what a matrix holds.
pub(crate) const SAMPLE_ROWS: usize = 512;

/// Which values to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CountsPolicy {
    /// The first of `layers/counts`, `raw/X`, `X` that holds counts; otherwise an error.
    #[default]
    RequireCounts,
    /// The same; if none holds counts, the first of them with log-normalised values.
    AssumeNormalized,
    /// This matrix (`X`, `raw/X`, `layers/NAME`), which must hold counts.
    Named(String),
    /// This matrix, which must hold counts or log-normalised values.
    NamedNormalized(String),
}

impl CountsPolicy {
    fn takes(&self, kind: ValueKind) -> bool {
        match self {
            Self::RequireCounts | Self::Named(_) => kind == ValueKind::Counts,
            Self::AssumeNormalized | Self::NamedNormalized(_) => {
                matches!(kind, ValueKind::Counts | ValueKind::Log1p)
            }
        }
    }
}

/// The matrix that was found, and its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundCounts {
    /// The matrix.
    pub slot: MatrixSlot,
    /// [`ValueKind::Counts`], or [`ValueKind::Log1p`] where the policy allows it.
    pub kind: ValueKind,
    /// Whether cell sums, or multiples within cells, are evidence that the values are of that
    /// kind; if not, it is assumed.
    pub shown: bool,
    /// Other matrices that hold integers but are only used when named, where no counts were found.
    pub counts_in: Vec<MatrixSlot>,
}

/// Rows evenly spread over a matrix.
pub(crate) fn sample(store: &CellStore, wanted: usize) -> Result<CsrMatrix> {
    let n = store.rows();
    // Runs of 16 adjacent rows: spread out, yet few chunks of the file are decompressed.
    let runs = (wanted / 16).max(1);
    let mut rows: Vec<usize> = (0..runs)
        .flat_map(|k| {
            let start = k * n / runs;
            start..(start + 16).min(n)
        })
        .collect();
    rows.dedup();
    rows.sort_unstable();
    rows.dedup();
    store.read_rows(&rows)
}

/// A matrix and its sample.
fn look(file: &H5ad, slot: &MatrixSlot) -> Result<Looks> {
    let store = CellStore::of(file, slot.clone())?;
    Ok(Looks::at(&sample(&store, SAMPLE_ROWS)?))
}

/// Finds the counts of a file: `layers/counts`, then `raw/X`, then `X`.
///
/// The decision is based on a sample of rows; every row is checked again when it is read through
/// [`CountsReader`](super::CountsReader).
///
/// # Errors
/// [`DataError::NoCounts`] when no matrix holds what the policy allows, or the named one does not:
/// it describes the values and which matrices would do.
pub fn find_counts(file: &H5ad, policy: &CountsPolicy) -> Result<FoundCounts> {
    let slots = file.slots();
    let wanted = match policy {
        CountsPolicy::Named(name) | CountsPolicy::NamedNormalized(name) => vec![name.parse()?],
        _ => [
            MatrixSlot::Layer("counts".into()),
            MatrixSlot::Raw,
            MatrixSlot::X,
        ]
        .into_iter()
        .filter(|s| slots.contains(s))
        .collect(),
    };
    let mut seen = Vec::with_capacity(wanted.len());
    for slot in wanted {
        let looks = look(file, &slot)?;
        if looks.kind == ValueKind::Counts {
            return Ok(FoundCounts {
                slot,
                kind: looks.kind,
                shown: looks.shown,
                counts_in: Vec::new(),
            });
        }
        seen.push((slot, looks));
    }
    let counts_in = others(file, &slots, &seen);
    let taken = seen.iter().find(|(_, looks)| policy.takes(looks.kind));
    match taken {
        Some((slot, looks)) => Ok(FoundCounts {
            slot: slot.clone(),
            kind: looks.kind,
            shown: looks.shown,
            counts_in,
        }),
        None => Err(refusal(file, &seen, counts_in)),
    }
}

/// Matrices not in `seen` that hold integers; one that cannot be read is skipped.
fn others(file: &H5ad, slots: &[MatrixSlot], seen: &[(MatrixSlot, Looks)]) -> Vec<MatrixSlot> {
    let new = slots.iter().filter(|s| seen.iter().all(|(t, _)| t != *s));
    let counts = |slot: &&MatrixSlot| look(file, slot).is_ok_and(|l| l.kind == ValueKind::Counts);
    new.filter(counts).cloned().collect()
}

fn refusal(file: &H5ad, seen: &[(MatrixSlot, Looks)], counts_in: Vec<MatrixSlot>) -> DataError {
    let mut message = match seen {
        [] => {
            let elsewhere = in_other_files(&**file.source());
            format!("has none of layers/counts, raw/X and X{elsewhere}")
        }
        _ => {
            let findings = seen
                .iter()
                .map(|(slot, looks)| format!("{slot} does not hold raw counts: {}", looks.words()));
            findings.collect::<Vec<_>>().join("; ")
        }
    };
    let logged_in: Vec<MatrixSlot> = seen
        .iter()
        .filter(|(_, looks)| looks.kind == ValueKind::Log1p)
        .map(|(slot, _)| slot.clone())
        .collect();
    if !counts_in.is_empty() {
        let names: Vec<String> = counts_in.iter().map(ToString::to_string).collect();
        let verb = if names.len() == 1 { "holds" } else { "hold" };
        message.push_str(&format!(
            "; {} {verb} integers: give it as the counts",
            names.join(", ")
        ));
    } else if seen.iter().any(|(_, l)| l.kind == ValueKind::NotFinite) {
        message.push_str("; remove or fill in values that are not finite first");
    } else if seen
        .iter()
        .any(|(_, l)| l.kind == ValueKind::Scaled && l.nearly_integers)
    {
        message.push_str("; round them to integers first");
    } else {
        message.push_str("; put the raw counts into layers/counts");
    }
    DataError::NoCounts {
        path: file.path().to_path_buf(),
        message,
        counts_in,
        logged_in,
    }
}
