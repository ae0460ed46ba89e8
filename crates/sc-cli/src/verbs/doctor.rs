//! `scfm doctor`: exit code 1 when something would go wrong later.

use crate::args::{Doctor, Format};
use crate::error::Result;
use sc_data::doctor::{Coverage, LevelsReport, Report, coverage, examine};
use sc_data::genes::{Vocabulary, vocab};
use sc_data::io::h5ad::{H5ad, MatrixSlot};
use sc_train::inputs::data_spec::numbered_batches;
use sc_train::presets::{self, SIZES, Size};
use sc_train::registry::ARCHITECTURES;
use sc_train::{DataSpec, Model, Role};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

mod machine;

pub(crate) fn run(args: &Doctor) -> Result<ExitCode> {
    let Some(file) = &args.file else {
        return machine::run(args.format);
    };
    let report = examine(file)?;
    let mut covered = Vec::with_capacity(args.model.len());
    for model in &args.model {
        let name = model.display().to_string();
        covered.push(coverage(&report, &name, &genes_of(model)?)?);
    }
    let presets = presets(&report)?;
    match args.format {
        Format::Json => {
            let mut json = serde_json::to_value(&report)?;
            json["models"] = serde_json::to_value(&covered)?;
            json["presets"] = serde_json::to_value(&presets)?;
            println!("{}", serde_json::to_string_pretty(&json)?);
        }
        Format::Table => print(&report, &covered, &presets)?,
    }
    let usable = covered.iter().all(|c| c.problem.is_none());
    Ok(if report.problems.is_empty() && usable {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// The genes of a trained model's folder, or of a published vocabulary.
fn genes_of(model: &Path) -> Result<Vocabulary> {
    Ok(if model.is_dir() {
        Vocabulary::new(Model::load(model)?.data.genes.to_vec())?
    } else {
        vocab::read(model)?.vocabulary()?
    })
}

/// The size of a model of `scfm models list` on the file, at its smallest preset.
#[derive(Debug, Serialize)]
struct Preset {
    name: String,
    #[serde(flatten)]
    fit: Fit,
}

/// Whether a model can be built for a file.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Fit {
    /// It can.
    Fits {
        #[serde(flatten)]
        size: Size,
        /// Weights, gradients and both moments of the optimiser.
        training_bytes: usize,
    },
    /// It cannot until something is given or added.
    Lacks { needs: String },
}

fn presets(report: &Report) -> Result<Vec<Preset>> {
    if report.genes == 0 {
        return Ok(Vec::new());
    }
    let numbered = |n: usize| (0..n).map(|i| i.to_string()).collect();
    let labels = report.label_columns.first();
    let labels = labels.map(|c| numbered(c.levels));
    let slot = report.counts_slot.clone().unwrap_or(MatrixSlot::X);
    let data = DataSpec {
        genes: Arc::new(H5ad::open(Path::new(&report.path))?.gene_names(&slot)?),
        batches: numbered_batches(report.batch_columns.first().map_or(1, |b| b.levels)),
        levels: labels.map(|l| (Role::Label, l)).into_iter().collect(),
        ..DataSpec::default()
    };
    let mut found = Vec::new();
    for a in ARCHITECTURES {
        let Some(spec) = presets::of(a.name, SIZES[0])? else {
            continue;
        };
        found.push(Preset {
            name: format!("{}-{}", a.name, SIZES[0]),
            fit: match presets::size(&spec, &data) {
                Ok(size) => Fit::Fits {
                    training_bytes: 16 * size.parameters,
                    size,
                },
                Err(e) => Fit::Lacks {
                    needs: e.to_string(),
                },
            },
        });
    }
    Ok(found)
}

fn print(report: &Report, covered: &[Coverage], presets: &[Preset]) -> Result<()> {
    let line = |name: &str, value: String| println!("{name:<16} {value}");
    let word = |v: &dyn erased::Word| v.word();
    line(
        "file",
        format!("{} ({:.1} MB)", report.path, report.bytes as f64 / 1e6),
    );
    line(
        "cells × genes",
        format!("{} × {}", report.cells, report.genes),
    );
    for m in &report.matrices {
        let what = format!(
            "{} × {}, {}, {}, largest {}{}",
            m.rows,
            m.cols,
            word(&m.layout),
            word(&m.kind),
            m.largest,
            m.transformation
                .as_ref()
                .map_or(String::new(), |t| format!("; {t}"))
        );
        line(&m.slot.to_string(), what);
    }
    let counts = report
        .counts_slot
        .as_ref()
        .map_or("none found".to_string(), ToString::to_string);
    line("counts", counts);
    if let Some(v) = &report.values {
        line("density", format!("{:.2} %", 100.0 * v.density));
        line(
            "per cell",
            format!(
                "{} {}, {} genes (medians); largest {}",
                v.median_counts,
                match report.counts_slot {
                    Some(_) => "counts",
                    None => "in sum",
                },
                v.median_genes,
                v.largest
            ),
        );
        if report.counts_slot.is_some() {
            let what = match v.mitochondrial {
                Some((genes, percent)) => {
                    format!("{percent:.1} % of a cell's counts (median; {genes} genes)")
                }
                None => "no gene symbol begins with MT-".to_owned(),
            };
            line("mitochondria", what);
        }
        line(
            "empty",
            format!("{} cells, {} genes", v.empty_cells, v.empty_genes),
        );
    }
    line(
        "genes",
        format!("{}, {}", word(&report.gene_ids), word(&report.organism)),
    );
    for (name, columns) in [
        ("batches", &report.batch_columns),
        ("donors", &report.donor_columns),
        ("labels", &report.label_columns),
    ] {
        line(name, levels(columns));
    }
    line("embeddings", or_none(report.embeddings.join(", ")));
    if !report.other_obsm.is_empty() {
        line("other in obsm", report.other_obsm.join(", "));
    }
    line(
        "memory",
        format!(
            "{:.0} MB for the counts; about {:.0} MB on disk as a row-packed store",
            report.memory_bytes as f64 / 1e6,
            report.store_bytes as f64 / 1e6
        ),
    );
    for p in presets {
        let text = match &p.fit {
            Fit::Fits {
                size,
                training_bytes,
            } => format!(
                "{} genes; {} parameters, {:.0} MB for training plus the minibatch",
                size.features,
                size.parameters,
                *training_bytes as f64 / 1e6
            ),
            Fit::Lacks { needs } => needs.clone(),
        };
        line(&p.name, text);
    }
    for c in covered {
        line("model", c.model.clone());
        line(
            "",
            format!(
                "{} of its {} genes, {:.1} % of the counts ({} by name, {} by id or symbol, {} by a \
                 previous name)",
                c.matched,
                c.vocabulary,
                100.0 * c.counts,
                c.found.name,
                c.found.translated,
                c.found.former
            ),
        );
        if let Some(problem) = &c.problem {
            line("PROBLEM", problem.clone());
        }
    }
    for w in &report.warnings {
        line("warning", w.clone());
    }
    for p in &report.problems {
        line("PROBLEM", p.clone());
    }
    if let Some(slot) = report.counts_in.first() {
        line("try", format!("--counts {slot}"));
    } else if let Some(slot) = report.logged_in.first() {
        let flag = "--assume-normalized";
        line("try", format!("{flag}, if {slot} is ln(1 + scaled counts)"));
    }
    line("verdict", verdict(report));
    Ok(())
}

/// What the file can be used for, and how an evaluation names its columns.
fn verdict(report: &Report) -> String {
    if !report.problems.is_empty() {
        return "not ready: see each PROBLEM above".into();
    }
    if !report.lacks.is_empty() {
        return format!(
            "ready for training; missing for an evaluation: {}",
            report.lacks.join("; ")
        );
    }
    let chosen = |columns: &[LevelsReport], usual: &str| {
        let several = columns.iter().filter(|c| c.levels > 1);
        let names: Vec<&str> = several.map(|c| c.column.as_str()).collect();
        let named = names.iter().find(|n| **n == usual).or(names.first());
        match named {
            Some(name) if name.contains(' ') => format!("'{name}'"),
            name => name.map_or("none", |n| *n).to_owned(),
        }
    };
    format!(
        "ready for training, and for evaluation with --label {} --batch {} --donor {}",
        chosen(&report.label_columns, "cell_type"),
        chosen(&report.batch_columns, "batch"),
        chosen(&report.donor_columns, "donor_id")
    )
}

fn levels(columns: &[LevelsReport]) -> String {
    let each = |c: &LevelsReport| {
        let missing = if c.missing > 0 {
            format!(", {} missing", c.missing)
        } else {
            String::new()
        };
        format!(
            "{} ({} levels, smallest {}{missing})",
            c.column, c.levels, c.smallest
        )
    };
    or_none(columns.iter().map(each).collect::<Vec<_>>().join("; "))
}

fn or_none(text: String) -> String {
    if text.is_empty() {
        "none found".into()
    } else {
        text
    }
}

/// The word a value is written with in JSON.
mod erased {
    pub(super) trait Word {
        fn word(&self) -> String;
    }

    impl<T: serde::Serialize> Word for T {
        fn word(&self) -> String {
            match serde_json::to_value(self) {
                Ok(serde_json::Value::String(s)) => s,
                Ok(other) => other.to_string(),
                Err(_) => String::new(),
            }
        }
    }
}
