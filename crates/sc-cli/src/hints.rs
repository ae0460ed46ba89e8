//! The flag that helps with an error of a library, since libraries do not mention flags.

use crate::args::Verb;
use crate::error::Error;
use crate::verbs::finetune::column_of;
use sc_data::DataError;
use sc_data::error::{ColumnUse, GenesWayOut};
use sc_eval::benchmark::{BenchmarkError, Design};
use sc_run::RunError;
use sc_train::TrainError;
use sc_train::import::PublishedFile;

/// The flag that helps, in brackets after the message; nothing where none does.
pub(crate) fn hint(error: &Error, verb: &Verb) -> String {
    let in_a_file = matches!(verb, Verb::Run(_));
    if let Some(TrainError::Unpublished { needs, .. }) = error.downcast_ref() {
        return format!(" ({})", names(*needs));
    }
    if let Some(TrainError::NoColumn { key, .. }) = error.downcast_ref() {
        return format!(" (--set {key}=COLUMN)");
    }
    let Some(error) = data_error(error) else {
        return String::new();
    };
    match error {
        DataError::Column { used_as, .. } => {
            let (flag, key) = match used_as {
                ColumnUse::Label => ("--label COLUMN", "data.label"),
                ColumnUse::Batch => ("--batch COLUMN or --batch none", "data.batch"),
                ColumnUse::Donor => ("--donor COLUMN or --donor none", "data.donor"),
            };
            format!(" ({})", if in_a_file { key } else { flag })
        }
        DataError::NoColumn { column, .. } => match naming(column, verb) {
            Some(flag) => format!(" ({flag})"),
            None => String::new(),
        },
        DataError::NoCounts {
            counts_in,
            logged_in,
            ..
        } if !in_a_file => match (&counts_in[..], &logged_in[..]) {
            ([counts, ..], _) => format!(" (--counts {counts})"),
            ([], [logged, ..]) => {
                format!(", or pass --assume-normalized if {logged} is ln(1 + scaled counts)")
            }
            _ => String::new(),
        },
        DataError::Genes { way_out, .. } => match way_out {
            GenesWayOut::Orthologs => " (--orthologs)".to_owned(),
            GenesWayOut::LowerOverlap => " (--min-overlap SHARE)".to_owned(),
            GenesWayOut::OtherNames => String::new(),
        },
        _ => String::new(),
    }
}

/// The flag that names it.
pub(crate) fn names(what: PublishedFile) -> &'static str {
    match what {
        PublishedFile::Config => "--config FILE",
        PublishedFile::Vocabulary => "--vocab FILE",
        PublishedFile::Chromosomes => "--chromosomes CSV",
        PublishedFile::Offset => "--offset N",
        PublishedFile::Species => "--species NAME",
        PublishedFile::Means => "--means FILE",
        PublishedFile::Heads => "--heads N",
    }
}

/// The flag of `verb` that chooses another column than this one.
fn naming(column: &str, verb: &Verb) -> Option<&'static str> {
    const LABEL: &str = "--label COLUMN";
    const LABEL_OR_NONE: &str = "--label COLUMN or --label none";
    const BATCH: &str = "--batch COLUMN or --batch none";
    const DONOR: &str = "--donor COLUMN or --donor none";
    let usual = Design::default();
    let donor = |given: &Option<String>| given.clone().unwrap_or_else(|| usual.donor.clone());
    let flags = match verb {
        Verb::Eval(v) => vec![
            (v.columns.label.clone(), LABEL),
            (v.columns.batch.clone(), BATCH),
            (donor(&v.columns.donor), DONOR),
        ],
        Verb::Pretrain(v) => {
            let label = v.hold_out.label.clone().unwrap_or(usual.label.clone());
            let batch = v.batch.clone().unwrap_or(usual.batch.clone());
            vec![
                (donor(&v.hold_out.donor), DONOR),
                (label, LABEL_OR_NONE),
                (batch, BATCH),
            ]
        }
        Verb::Finetune(v) => vec![
            (column_of(v), LABEL),
            (donor(&v.donor), DONOR),
            (v.batch.clone().unwrap_or_default(), BATCH),
        ],
        Verb::Denoise(v) => vec![(v.batch.clone()?, BATCH)],
        Verb::Annotate(v) => vec![(v.batch.clone()?, BATCH)],
        Verb::Embed(v) => vec![(v.batch.clone()?, BATCH)],
        Verb::Network(v) => vec![(v.batch.clone()?, BATCH)],
        _ => return None,
    };
    flags
        .into_iter()
        .find(|(named, _)| named == column)
        .map(|(_, flag)| flag)
}

fn data_error(error: &Error) -> Option<&DataError> {
    let of_training = match error.downcast_ref() {
        Some(TrainError::Data(e)) => Some(e),
        _ => None,
    };
    let of_run = match error.downcast_ref() {
        Some(RunError::Data(e)) => Some(e),
        _ => None,
    };
    let of_benchmark = match error.downcast_ref() {
        Some(BenchmarkError::Data(e)) => Some(e),
        _ => None,
    };
    error
        .downcast_ref()
        .or(of_benchmark)
        .or(of_training)
        .or(of_run)
}
