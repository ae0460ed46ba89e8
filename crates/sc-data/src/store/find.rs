//! Finding the raw counts of a file, and refusing what is none.

use super::CellStore;
use crate::error::{DataError, Result};
use crate::h5ad::{H5ad, MatrixSlot};
use crate::sparse::CsrMatrix;

/// Rows looked at to tell what a matrix holds.
const SAMPLE_ROWS: usize = 512;

/// Where to take values from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CountsPolicy {
    /// The first of `layers/counts`, `raw/X`, `X` that holds counts; anything else is an error.
    #[default]
    RequireCounts,
    /// The same, and where nothing holds counts, `X` taken as log-normalised.
    AssumeNormalized,
    /// This matrix (`X`, `raw/X`, `layers/NAME`), which must hold counts.
    Named(String),
}

/// What values a matrix holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValueKind {
    /// Non-negative integers.
    Counts,
    /// Non-negative with fractions, small: `ln(1 + x)` of scaled counts.
    Log1p,
    /// Non-negative with fractions, large: scaled counts before the logarithm (CPM, TPM).
    Scaled,
    /// With negative values: z-scores, residuals, latent values.
    Centred,
    /// NaN or infinite among them.
    NotFinite,
}

/// Where the values are and what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundCounts {
    /// The matrix.
    pub slot: MatrixSlot,
    /// [`ValueKind::Counts`], unless the policy was [`CountsPolicy::AssumeNormalized`].
    pub kind: ValueKind,
}

/// Tells what the values of a sample are.
pub(crate) fn value_kind(values: impl Iterator<Item = f32>) -> (ValueKind, f32, f64) {
    let (mut max, mut total, mut fractions, mut negative, mut bad) =
        (0f32, 0u64, 0u64, false, false);
    for v in values {
        total += 1;
        bad |= !v.is_finite();
        negative |= v < 0.0;
        fractions += u64::from(v.fract() != 0.0);
        max = max.max(v);
    }
    let share = fractions as f64 / total.max(1) as f64;
    let kind = match (bad, negative, fractions > 0) {
        (true, _, _) => ValueKind::NotFinite,
        (_, true, _) => ValueKind::Centred,
        (_, _, false) => ValueKind::Counts,
        // ln(1 + 1e6) < 14: larger values have not seen a logarithm.
        _ if max < 20.0 => ValueKind::Log1p,
        _ => ValueKind::Scaled,
    };
    (kind, max, share)
}

/// Rows spread evenly over a matrix.
pub(crate) fn sample(store: &CellStore, wanted: usize) -> Result<CsrMatrix> {
    let n = store.rows();
    // Runs of 16 neighbours: spread out, yet few chunks of the file are unpacked.
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

/// Finds the counts of a file: `layers/counts`, then `raw/X`, then `X`.
///
/// The decision rests on a sample of rows; every row is checked again when it is read through
/// [`CountsReader`](super::CountsReader).
///
/// # Errors
/// [`DataError::File`] when no matrix holds counts (the message says what the values look like and
/// names the way out), or the named one does not.
pub fn find_counts(file: &H5ad, policy: &CountsPolicy) -> Result<FoundCounts> {
    let slots = file.slots();
    if let CountsPolicy::Named(name) = policy {
        let slot: MatrixSlot = name.parse()?;
        let store = CellStore::of(file, slot.clone())?;
        let sampled = sample(&store, SAMPLE_ROWS)?;
        let (kind, max, share) = value_kind(sampled.values().iter().copied());
        if kind != ValueKind::Counts {
            return Err(DataError::file(
                file.path(),
                describe(&slot, kind, max, share),
            ));
        }
        return Ok(FoundCounts { slot, kind });
    }
    let wanted = [
        MatrixSlot::Layer("counts".into()),
        MatrixSlot::Raw,
        MatrixSlot::X,
    ];
    let mut last = None;
    let mut seen = Vec::new();
    for slot in wanted.into_iter().filter(|s| slots.contains(s)) {
        let store = CellStore::of(file, slot.clone())?;
        let sampled = sample(&store, SAMPLE_ROWS)?;
        let (kind, max, share) = value_kind(sampled.values().iter().copied());
        if kind == ValueKind::Counts {
            return Ok(FoundCounts { slot, kind });
        }
        seen.push(describe(&slot, kind, max, share));
        last = Some((slot, kind));
    }
    match (policy, last) {
        (CountsPolicy::AssumeNormalized, Some((slot, kind)))
            if matches!(kind, ValueKind::Log1p | ValueKind::Scaled) =>
        {
            Ok(FoundCounts { slot, kind })
        }
        (CountsPolicy::AssumeNormalized, Some(_)) => Err(DataError::file(
            file.path(),
            format!(
                "{}; such values are not log-normalised either",
                seen.join("; ")
            ),
        )),
        (_, None) => Err(DataError::file(
            file.path(),
            "has none of layers/counts, raw/X and X",
        )),
        _ => {
            let hint = match seen.len() {
                1 => "no other matrix is there",
                _ => "no matrix holds counts",
            };
            Err(DataError::file(
                file.path(),
                format!(
                    "{}; {hint}. put the raw counts into layers/counts, or pass \
                     --assume-normalized if X is ln(1 + normalised counts)",
                    seen.join("; ")
                ),
            ))
        }
    }
}

fn describe(slot: &MatrixSlot, kind: ValueKind, max: f32, share: f64) -> String {
    let percent = share * 100.0;
    let what = match kind {
        ValueKind::Counts => "raw counts",
        ValueKind::Log1p => "log-normalised",
        ValueKind::Scaled => "normalised without logarithm",
        ValueKind::Centred => "centred or scaled (negative values)",
        ValueKind::NotFinite => "damaged (NaN or infinite values)",
    };
    format!(
        "{slot} holds no raw counts: values look {what} (largest {max}, {percent:.1} % with a fraction)"
    )
}
