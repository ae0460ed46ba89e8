//! Genes and peaks in one table: which is which.

/// What a feature counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Transcripts of a gene.
    Gene,
    /// Fragments in a stretch of a chromosome.
    Peak,
}

/// Told by the name: `chr1:100-200`, `chr1-100-200` and `chr1_100_200` are peaks.
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
