//! What would go wrong with a file, most severe first, and what it lacks for which use.

use super::Report;
use super::columns::MANY_LABELS;
use crate::genes::{IdKind, Organism};

/// Larger integers are rounded in single precision.
const EXACT: f32 = 16_777_216.0;

/// Number of scored donors that a verdict needs.
const VERDICT_DONORS: usize = 5;

/// Adds warnings, and problems that prevent the use of a file.
pub(super) fn add(report: &mut Report) {
    let mut problems = std::mem::take(&mut report.problems);
    let mut warnings = std::mem::take(&mut report.warnings);
    matrices(report, &mut warnings, &mut problems);
    genes(report, &mut warnings, &mut problems);
    columns(report, &mut warnings);
    report.lacks = lacks(report);
    report.problems = problems;
    report.warnings = warnings;
}

fn matrices(report: &Report, warnings: &mut Vec<String>, problems: &mut Vec<String>) {
    if report.cells < 2 {
        problems.push(format!(
            "{} cells: nothing can be compared or split",
            report.cells
        ));
    }
    let Some(values) = &report.values else { return };
    let counted = report.counts_slot.is_some();
    if values.not_finite > 0 {
        problems.push(format!(
            "{} values are NaN or infinite: replace them before use",
            values.not_finite
        ));
    }
    if counted && values.not_counts > 0 {
        problems.push(format!(
            "{} values are not counts although a sample was ({} negative): the matrix is mixed",
            values.not_counts, values.negative
        ));
    }
    if counted && values.largest > EXACT {
        warnings.push(format!(
            "the largest count is {}: above {EXACT} counts keep only seven digits in a model",
            values.largest
        ));
    }
    if report.cells > 0 && values.empty_cells == report.cells {
        problems.push("no cell has any counts: there is nothing to train on".into());
    } else if values.empty_cells > 0 {
        warnings.push(format!(
            "{} cells have no counts: filter them (scanpy.pp.filter_cells)",
            values.empty_cells
        ));
    }
    if values.empty_genes * 2 > report.genes {
        warnings.push(format!(
            "{} genes have no counts in any cell",
            values.empty_genes
        ));
    }
}

fn genes(report: &Report, warnings: &mut Vec<String>, problems: &mut Vec<String>) {
    if report.genes == 0 {
        problems.push("0 genes: there is nothing to train on".into());
        return;
    }
    if !report.duplicate_genes.is_empty() {
        let first: Vec<&str> = report
            .duplicate_genes
            .iter()
            .take(5)
            .map(String::as_str)
            .collect();
        warnings.push(format!(
            "gene names are not unique ({}): their counts will be summed",
            first.join(", ")
        ));
    }
    match report.gene_ids {
        IdKind::Number => problems.push(
            "the genes are numbered, not named: set var_names to symbols or Ensembl ids".into(),
        ),
        IdKind::Peak => warnings.push("the features are genomic intervals, not genes".into()),
        _ => {}
    }
    if report.organism == Organism::HumanAndMouse {
        warnings.push("human and mouse genes in one file: split it by organism".into());
    }
    if report.genes < 1000 {
        warnings.push(format!(
            "only {} genes: models trained on whole transcriptomes will miss most of their genes",
            report.genes
        ));
    }
    for (types, count) in &report.left_out {
        warnings.push(format!(
            "{count} features of type '{types}' are not genes and are left out"
        ));
    }
}

fn columns(report: &Report, warnings: &mut Vec<String>) {
    let batches = report.batch_columns.iter();
    for column in batches
        .chain(&report.label_columns)
        .chain(&report.donor_columns)
    {
        if column.missing > 0 {
            warnings.push(format!(
                "obs['{}'] has {} missing values: give those cells a category of their own",
                column.column, column.missing
            ));
        }
    }
    for column in &report.label_columns {
        for (value, cells) in &column.unknown {
            warnings.push(format!(
                "obs['{}'] labels {cells} cells '{value}', which would count as a cell type: drop these \
                 cells before an evaluation",
                column.column
            ));
        }
        if column.levels > MANY_LABELS {
            warnings.push(format!(
                "obs['{}'] holds {} values: are these cell types?",
                column.column, column.levels
            ));
        }
    }
    let few = |levels: usize| (2..=VERDICT_DONORS).contains(&levels);
    for column in report.donor_columns.iter().filter(|c| few(c.levels)) {
        warnings.push(format!(
            "obs['{}'] holds {} donors: the verdicts better and worse need {VERDICT_DONORS} scored donors, \
             besides those for training",
            column.column, column.levels
        ));
    }
    for column in report.donor_columns.iter().filter(|c| c.by_values) {
        warnings.push(format!(
            "obs['{}'] seems to hold donors, by its values: if so, give it as the donor column",
            column.column
        ));
    }
    warnings.extend(
        report
            .odd_columns
            .iter()
            .map(|c| format!("{c}: not used as labels")),
    );
}

/// What is missing for an evaluation.
fn lacks(report: &Report) -> Vec<String> {
    let mut lacks = Vec::new();
    let several = |columns: &[super::LevelsReport]| columns.iter().any(|c| c.levels > 1);
    if !several(&report.label_columns) {
        lacks.push(match report.label_columns.first() {
            Some(only) => format!("a second cell type (obs['{}'] holds one)", only.column),
            None => "a column of obs with cell types".into(),
        });
    }
    if !several(&report.donor_columns) {
        lacks.push(match report.donor_columns.first() {
            Some(only) => format!(
                "a second donor (obs['{}'] holds one); cells can only be held out at random",
                only.column
            ),
            None => {
                let like = report.batch_columns.iter().find(|c| c.levels > 2);
                let like = like.map_or(String::new(), |c| {
                    format!(
                        " (obs['{}'] would do if each of its values is one donor)",
                        c.column
                    )
                });
                format!("a column of obs with donors{like}; cells can only be held out at random")
            }
        });
    }
    if !several(&report.batch_columns) {
        lacks.push(
            "a column of obs with two or more batches; batch mixing cannot be evaluated".into(),
        );
    }
    let columns = [
        &report.label_columns,
        &report.donor_columns,
        &report.batch_columns,
    ];
    for column in columns.into_iter().filter_map(|c| c.first()) {
        if column.missing > 0 {
            let lack = format!(
                "a value of obs['{}'] for {} cells",
                column.column, column.missing
            );
            if !lacks.contains(&lack) {
                lacks.push(lack);
            }
        }
    }
    lacks
}
