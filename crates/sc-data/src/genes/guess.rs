//! Infers the kind and organism of gene names.

use serde::{Deserialize, Serialize};

use super::{is_ensembl, normal_form};

/// Kind of gene names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdKind {
    /// Ensembl gene ids.
    Ensembl,
    /// Gene symbols.
    Symbol,
    /// Genomic intervals (`chr1:100-200`), as of ATAC peaks.
    Peak,
    /// Plain numbers: the names were lost.
    Number,
}

/// Organism of genes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Organism {
    /// *Homo sapiens*.
    Human,
    /// *Mus musculus*.
    Mouse,
    /// Human and mouse genes in one file.
    HumanAndMouse,
    /// Another organism, or unknown.
    Unknown,
}

impl std::fmt::Display for Organism {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Human => "human",
            Self::Mouse => "mouse",
            Self::HumanAndMouse => "human and mouse",
            Self::Unknown => "unknown",
        })
    }
}

impl std::fmt::Display for IdKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ensembl => "Ensembl ids",
            Self::Symbol => "gene symbols",
            Self::Peak => "genomic intervals",
            Self::Number => "numbers",
        })
    }
}

/// Infers kind and organism from the names: by prefix for Ensembl ids, by case for symbols
/// (`TP53` is human, `Trp53` mouse).
pub fn guess(names: &[String]) -> (IdKind, Organism) {
    let share = |f: &dyn Fn(&str) -> bool| -> f64 {
        names.iter().filter(|n| f(n)).count() as f64 / names.len().max(1) as f64
    };
    let human = share(&|n| n.starts_with("ENSG0") || n.contains("_ENSG0"));
    let mouse = share(&|n| n.starts_with("ENSMUSG0") || n.contains("_ENSMUSG0"));
    if human > 0.1 && mouse > 0.1 {
        return (IdKind::Ensembl, Organism::HumanAndMouse);
    }
    if human > 0.5 {
        return (IdKind::Ensembl, Organism::Human);
    }
    if mouse > 0.5 {
        return (IdKind::Ensembl, Organism::Mouse);
    }
    if share(&|n| is_ensembl(normal_form(n))) > 0.5 {
        return (IdKind::Ensembl, Organism::Unknown);
    }
    if share(&|n| n.bytes().all(|b| b.is_ascii_digit())) > 0.5 {
        return (IdKind::Number, Organism::Unknown);
    }
    if share(&is_interval) > 0.5 {
        return (IdKind::Peak, Organism::Unknown);
    }
    let letters = |n: &str| n.chars().filter(char::is_ascii_alphabetic).count() >= 2;
    let upper = share(&|n| letters(n) && !n.bytes().any(|b| b.is_ascii_lowercase()));
    let title = share(&|n| {
        letters(n)
            && n.starts_with(|c: char| c.is_ascii_uppercase())
            && n.chars()
                .skip(1)
                .filter(char::is_ascii_alphabetic)
                .all(|c| c.is_ascii_lowercase())
    });
    let organism = if upper > 0.6 {
        Organism::Human
    } else if title > 0.6 {
        Organism::Mouse
    } else {
        Organism::Unknown
    };
    (IdKind::Symbol, organism)
}

fn is_interval(name: &str) -> bool {
    let parts: Vec<&str> = name.split([':', '-', '_']).collect();
    parts.len() >= 3
        && parts[parts.len() - 2..]
            .iter()
            .all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}
