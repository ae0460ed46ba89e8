//! Genes, peaks and other features in one table: their types, and which are kept.

use std::collections::BTreeMap;

/// Feature type of genes in 10x files.
pub(crate) const GENES: &str = "Gene Expression";
/// Feature type of ATAC peaks in 10x files.
pub(crate) const PEAKS: &str = "Peaks";

/// The features of a table that are kept, where others have another type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Their positions in the table, ascending.
    pub places: Vec<usize>,
    /// Number of features in the table.
    pub of: usize,
    /// Number of features by type that are left out.
    pub left_out: BTreeMap<String, usize>,
}

impl Kept {
    /// Selects features by type: those of type `wanted`; else genes and peaks, where there are
    /// genes. `None` when that is all of them.
    pub(crate) fn by_type(types: &[String], wanted: Option<&str>) -> Option<Self> {
        let has_genes = types.iter().any(|t| t == GENES);
        let takes = |t: &str| match wanted {
            Some(wanted) => t == wanted,
            None => !has_genes || t == GENES || t == PEAKS,
        };
        let places: Vec<usize> = (0..types.len()).filter(|&k| takes(&types[k])).collect();
        let mut left_out = BTreeMap::new();
        for t in types.iter().filter(|t| !takes(t)) {
            *left_out.entry(t.clone()).or_default() += 1;
        }
        (!left_out.is_empty()).then_some(Self {
            places,
            of: types.len(),
            left_out,
        })
    }
}

/// Type of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A gene (RNA).
    Gene,
    /// A peak (ATAC).
    Peak,
}

/// Inferred from the name: `chr1:100-200`, `chr1-100-200` and `chr1_100_200` are peaks.
pub fn kind(name: &str) -> Kind {
    let parts = match name.split_once(':') {
        Some((_, range)) => range.split_once('-'),
        None => ['-', '_'].into_iter().find_map(|by| {
            let (rest, end) = name.rsplit_once(by)?;
            let (chromosome, start) = rest.rsplit_once(by)?;
            (!chromosome.is_empty()).then_some((start, end))
        }),
    };
    let place = |text: &str| text.parse::<u64>().ok();
    match parts.and_then(|(start, end)| Some((place(start)?, place(end)?))) {
        Some((start, end)) if start < end => Kind::Peak,
        _ => Kind::Gene,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn antibodies_are_no_genes() {
        let types = [GENES, GENES, "Antibody Capture", PEAKS].map(str::to_owned);
        let kept = Kept::by_type(&types, None).unwrap();
        assert_eq!((kept.places, kept.of), (vec![0, 1, 3], 4));
        assert_eq!(kept.left_out["Antibody Capture"], 1);
        assert_eq!(Kept::by_type(&types, Some(PEAKS)).unwrap().places, [3]);
        assert_eq!(Kept::by_type(&types[..2], Some(GENES)), None);
        assert_eq!(Kept::by_type(&types[2..], None), None);
    }

    #[test]
    fn peaks_are_told_by_their_names() {
        for peak in [
            "chr1:100-200",
            "chr1-100-200",
            "chrX_5_17",
            "GL000194.1:101-619",
        ] {
            assert_eq!(kind(peak), Kind::Peak, "{peak}");
        }
        for gene in [
            "TP53",
            "HLA-DRB1",
            "NKX2-5",
            "RP11-34P13-7",
            "ENSG00000141510",
            "a:b-c",
        ] {
            assert_eq!(kind(gene), Kind::Gene, "{gene}");
        }
    }
}
