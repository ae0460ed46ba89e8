//! Perturbation of a cell from a column of `obs`: `GENE`, `GENE1+GENE2`, `GENE+ctrl`, or the name
//! of controls.

use crate::error::Result;
use crate::tasks::scgpt::Place;
use sc_data::genes::{Across, Vocabulary, match_genes};
use serde::{Deserialize, Serialize};

/// Advice where controls or perturbed cells are missing.
pub(super) const WAY_OUT: &str = "give the column of obs: [obs] perturbation = \"COLUMN\", with values \
                                  such as GENE, GENE1+GENE2 or GENE+ctrl, and set the name of \
                                  controls: [input.perturbation] control = [\"NAME\"]";

/// Settings of perturbations and perturbed cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerturbationConfig {
    /// Value of the column for unperturbed cells.
    pub control: Vec<String>,
    /// Treatment of cells whose perturbed gene is not in the vocabulary.
    pub unknown: Unknown,
    /// Counts per cell before `ln(1 + x)`.
    pub total: f64,
}

impl Default for PerturbationConfig {
    fn default() -> Self {
        Self {
            control: ["ctrl", "control", "non-targeting"]
                .map(String::from)
                .to_vec(),
            unknown: Unknown::Refuse,
            total: 1e4,
        }
    }
}

/// Treatment of cells whose perturbed gene is not in the vocabulary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    /// An error.
    #[default]
    Refuse,
    /// They are left out of training.
    LeaveOut,
}

/// Condition of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Control.
    Control,
    /// These genes of the vocabulary were perturbed.
    Perturbed(Vec<u32>),
    /// A gene that is not in the vocabulary.
    LeftOut,
}

/// The condition of every value of the column.
///
/// # Errors
/// No controls, no perturbations, or genes that are not in the vocabulary, where these are refused.
pub(super) fn read(
    levels: &[String],
    genes: &[String],
    config: &PerturbationConfig,
    place: Place<'_>,
) -> Result<Vec<Condition>> {
    let is_control = |name: &str| config.control.iter().any(|c| c == name);
    let parts: Vec<Vec<String>> = (levels.iter())
        .map(|level| match is_control(level) {
            true => Vec::new(),
            false => (level.split('+').map(str::trim))
                .filter(|part| !is_control(part))
                .map(String::from)
                .collect(),
        })
        .collect();
    // Matched as genes of a file: by name, by the id of a symbol, by a previous symbol.
    let named: Vec<String> = parts.concat();
    let vocabulary = Vocabulary::new(genes.to_vec())?;
    let found = match_genes(&named, &vocabulary, Across::Same);
    let found = found.map_or_else(|_| vec![None; named.len()], |found| found.map);
    let mut found = found.into_iter();
    let mut unknown = Vec::new();
    let mut conditions = Vec::with_capacity(levels.len());
    for (level, parts) in levels.iter().zip(&parts) {
        let genes: Vec<Option<u32>> = found.by_ref().take(parts.len()).collect();
        let genes: Option<Vec<u32>> = genes.into_iter().collect();
        conditions.push(match genes {
            _ if parts.is_empty() => Condition::Control,
            Some(genes) => Condition::Perturbed(genes),
            None => {
                unknown.push(level.clone());
                Condition::LeftOut
            }
        });
    }
    let some = |names: &[String]| {
        let first: Vec<&str> = names.iter().take(12).map(String::as_str).collect();
        let rest = names.len() - first.len();
        match rest {
            0 => first.join(", "),
            _ => format!("{} and {rest} more", first.join(", ")),
        }
    };
    if !conditions.contains(&Condition::Control) {
        return place.refuse(format!(
            "no cell is a control: none has the value {}, there are {}; {WAY_OUT}",
            config.control.join(" or "),
            some(levels)
        ));
    }
    if !unknown.is_empty() && config.unknown == Unknown::Refuse {
        return place.refuse(format!(
            "{} of {} perturbations are of genes that are not in the vocabulary: {}; keep all genes \
             (vocabulary.genes = 0), use the gene names of the file, or leave such cells out: \
             [input.perturbation] unknown = \"leave-out\"",
            unknown.len(),
            levels.len(),
            some(&unknown)
        ));
    }
    if !conditions
        .iter()
        .any(|c| matches!(c, Condition::Perturbed(_)))
    {
        return place.refuse(format!(
            "no cell is perturbed in a gene of the vocabulary, there are {}; {WAY_OUT}",
            some(levels)
        ));
    }
    Ok(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| n.to_string()).collect()
    }

    fn found(levels: &[&str], unknown: Unknown) -> Result<Vec<Condition>> {
        let config = PerturbationConfig {
            unknown,
            ..PerturbationConfig::default()
        };
        let place = Place {
            architecture: "scgpt",
            objective: "perturbation",
        };
        read(&strings(levels), &strings(&["A", "B", "C"]), &config, place)
    }

    #[test]
    fn genes_and_controls_are_told_apart() {
        let levels = ["non-targeting", "ctrl+ctrl", "B", "C+ctrl", "ctrl+A", "C+A"];
        let of = |genes: &[u32]| Condition::Perturbed(genes.to_vec());
        let expected = [
            Condition::Control,
            Condition::Control,
            of(&[1]),
            of(&[2]),
            of(&[0]),
            of(&[2, 0]),
        ];
        assert_eq!(found(&levels, Unknown::Refuse).unwrap(), expected);
    }

    #[test]
    fn symbols_are_found_among_ids() {
        let config = PerturbationConfig::default();
        let place = Place {
            architecture: "scgpt",
            objective: "perturbation",
        };
        // TP53 and MYC.
        let ids = strings(&["ENSG00000141510", "ENSG00000136997"]);
        let levels = strings(&["ctrl", "MYC+ctrl", "TP53"]);
        let conditions = read(&levels, &ids, &config, place).unwrap();
        let expected = [Condition::Perturbed(vec![1]), Condition::Perturbed(vec![0])];
        assert_eq!(conditions[1..], expected);
    }

    #[test]
    fn unknown_genes_are_refused_or_left_out() {
        let levels = ["ctrl", "A", "X+B", "Y"];
        let error = found(&levels, Unknown::Refuse).unwrap_err().to_string();
        assert!(error.contains("2 of 4"), "{error}");
        assert!(error.contains("X+B, Y; keep all genes"), "{error}");
        let conditions = found(&levels, Unknown::LeaveOut).unwrap();
        assert_eq!(conditions[2..], [Condition::LeftOut, Condition::LeftOut]);
        let error = found(&["ctrl", "X"], Unknown::LeaveOut).unwrap_err();
        assert!(
            error.to_string().contains("no cell is perturbed"),
            "{error}"
        );
    }

    #[test]
    fn cells_without_controls_are_refused_with_the_way_out() {
        let error = found(&["A", "B", "DMSO"], Unknown::LeaveOut)
            .unwrap_err()
            .to_string();
        assert!(error.contains("there are A, B, DMSO"), "{error}");
        assert!(error.contains("control = [\"NAME\"]"), "{error}");
    }
}
