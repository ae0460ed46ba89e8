//! Several modalities per cell: genes with peaks or with proteins, each binned separately, and
//! decoders conditioned on the modality of a token.
//!
//! Source: reference/scformer-scgpt-cellplm.md A2.2, A5; the published `MultiOmicTransformerModel`.

use super::integration::use_batches;
use super::{Place, ScGptTask};
use crate::error::Result;
use crate::inputs::data_spec::DataSpec;
use crate::inputs::features;
use std::sync::Arc;

/// Modality of a feature, in the order of the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Modality {
    Gene,
    Peak,
    Protein,
}

/// Inferred from the name: proteins have the prefixes or suffixes in the settings, peaks are
/// genomic intervals.
fn modality(name: &str, proteins: &[String]) -> Modality {
    let mut affixes = proteins.iter().filter(|a| !a.is_empty());
    match features::kind(name) {
        _ if affixes.any(|a| name.starts_with(a) || name.ends_with(a)) => Modality::Protein,
        features::Kind::Peak => Modality::Peak,
        features::Kind::Gene => Modality::Gene,
    }
}

/// The task for the modalities of the data; where these have several batches, they are used as in
/// the settings.
pub(super) fn multiomic(
    mut task: ScGptTask,
    data: &DataSpec,
    place: Place<'_>,
) -> Result<ScGptTask> {
    let of = |name: &String| modality(name, &task.input.proteins);
    let modalities: Vec<Modality> = data.genes.iter().map(of).collect();
    let mut present = modalities.clone();
    present.sort_unstable();
    present.dedup();
    if present.len() < 2 {
        return place.refuse(format!(
            "it needs two modalities, but all {} features are of one. Peaks are recognised by names such as \
             chr1:100-200, proteins by a prefix or suffix: input.proteins = [\"p_\"] or \
             [\"_TotalSeqB\"]. Give a file that holds both, or two joined by a plus: \
             rna.h5ad+atac.h5ad; keep all features: vocabulary.genes = 0; or use objective = 'masked'",
            modalities.len()
        ));
    }
    let code = |m: &Modality| {
        let at = present.iter().position(|p| p == m);
        at.expect("invariant: its features are among those present") as u8
    };
    task.modalities = Arc::new(modalities.iter().map(code).collect());
    task.network.modalities = present.len();
    if data.batches.len() > 1 {
        use_batches(&mut task, data);
    }
    Ok(task)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modalities_are_told_by_names() {
        let proteins = ["p_".to_string(), "_TotalSeqB".to_string()];
        for (name, expected) in [
            ("CD3E", Modality::Gene),
            ("p_CD3", Modality::Protein),
            ("CD3_TotalSeqB", Modality::Protein),
            ("chr2:5-900", Modality::Peak),
        ] {
            assert_eq!(modality(name, &proteins), expected, "{name}");
        }
        assert_eq!(modality("p_CD3", &[String::new()]), Modality::Gene);
    }
}
