//! UCE's sentences, gene table and training sampler.

use super::{close, exact, filled, row, rows_of, sparse};
use crate::case::Case;
use crate::row::Row;
use sc_data::tokens::uce::{
    ChromosomeRow, Located, SpeciesTable, TrainingConfig, TrainingDraw, UceConfig, arrange,
    training_sentence, weights,
};

/// Sentences of drawn genes, the batch cut to its longest, and the gene table.
pub fn tokenise(case: &Case) -> Result<Vec<Row>, String> {
    let (config, located) = (config(case), located(case)?);
    let cells = rows_of(case, "counts")?;
    let mut sentences = Vec::with_capacity(cells);
    let mut dense_weights = Vec::new();
    for cell in 0..cells {
        let (genes, counts) = sparse(row(case.input("counts")?, cell));
        let found = weights(&counts).map_err(|e| e.to_string())?;
        dense_weights.extend(dense(&genes, &found, located.len()));
        let drawn = filled(case.input("sampled_genes")?, cell);
        let drawn = drawn
            .iter()
            .filter_map(|&j| located.get(j as usize).copied().flatten());
        let order = filled(case.input("chrom_order")?, cell);
        sentences.push(arrange(&config, drawn, &order).map_err(|e| e.to_string())?);
    }
    let longest = sentences.iter().map(|s| s.len).max().unwrap_or(0);
    let tokens = |width: usize| -> Vec<f64> {
        let rows = sentences.iter().flat_map(|s| &s.tokens[..width]);
        rows.map(|&t| f64::from(t)).collect()
    };
    let mask = |width: usize| -> Vec<f64> {
        let rows = sentences.iter();
        rows.flat_map(|s| (0..width).map(|k| f64::from(u8::from(k < s.len))))
            .collect()
    };
    let lengths: Vec<f64> = sentences.iter().map(|s| s.len as f64).collect();
    let mut rows = vec![
        close(case, "weights", &dense_weights),
        exact(case, "tokens", &tokens(config.length)),
        exact(case, "mask", &mask(config.length)),
        exact(case, "seq_len", &lengths),
        exact(case, "batch_tokens", &tokens(longest)),
        exact(case, "batch_mask", &mask(longest)),
    ];
    if case.config.get("gene_table").is_some() {
        rows.extend(table(case)?);
    }
    Ok(rows)
}

fn table(case: &Case) -> Result<Vec<Row>, String> {
    let texts = |name: &str| -> Vec<String> {
        let list = case.config.pointer(&format!("/gene_table/{name}"));
        let list = list.and_then(|v| v.as_array()).into_iter().flatten();
        list.filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let csv = case.config.pointer("/gene_table/csv_rows");
    let csv = csv.and_then(|v| v.as_array()).into_iter().flatten();
    let csv: Vec<ChromosomeRow> = csv
        .filter_map(|r| {
            let text = |k: usize| r.get(k)?.as_str().map(str::to_owned);
            Some(ChromosomeRow {
                species: text(0)?,
                symbol: text(1)?,
                chromosome: text(2)?,
                start: r.get(3)?.as_u64()?,
            })
        })
        .collect();
    let offset = case.usize("/gene_table/species_offset", 0) as u32;
    let species = case.str("/gene_table/species", "human");
    let table = SpeciesTable::new(&csv, species, &texts("species_pe_genes"), offset);
    let table = table.map_err(|e| e.to_string())?;
    // Genes without an embedding are dropped before tokens are looked up.
    let found: Vec<Located> = texts("var_names")
        .iter()
        .filter_map(|n| table.get(n))
        .collect();
    let column = |f: &dyn Fn(&Located) -> f64| found.iter().map(f).collect::<Vec<_>>();
    Ok(vec![
        exact(case, "table.gene_token", &column(&|g| f64::from(g.token))),
        exact(
            case,
            "table.gene_chrom",
            &column(&|g| f64::from(g.chromosome)),
        ),
        exact(case, "table.gene_start", &column(&|g| g.start as f64)),
    ])
}

/// The training sampler with every draw given.
pub fn sampling(case: &Case) -> Result<Vec<Row>, String> {
    let (config, located) = (config(case), located(case)?);
    let training = TrainingConfig {
        positives: case.usize("/P", 512),
        negatives: case.usize("/N", 512),
        ..TrainingConfig::default()
    };
    let (mut dense_weights, mut tokens, mut padding) = (Vec::new(), Vec::new(), Vec::new());
    let (mut targets, mut labels) = (Vec::new(), Vec::new());
    for cell in 0..rows_of(case, "counts")? {
        let counts = row(case.input("counts")?, cell);
        let (genes, values) = sparse(counts);
        let silent: Vec<u32> = (0u32..)
            .zip(counts)
            .filter(|(_, c)| **c == 0.0)
            .map(|(j, _)| j)
            .collect();
        let negatives = filled(case.input("negative_draw")?, cell);
        let draw = TrainingDraw {
            hidden: filled(case.input("dropped_genes")?, cell),
            sampled: filled(case.input("sampled_genes")?, cell),
            chromosomes: filled(case.input("chrom_order")?, cell),
            positives: filled(case.input("positive_draw")?, cell),
            negatives: negatives
                .iter()
                .filter_map(|&k| silent.get(k as usize).copied())
                .collect(),
        };
        let found = training_sentence(&config, &training, &located, (&genes, &values), &draw);
        let found = found.map_err(|e| e.to_string())?;
        dense_weights.extend(dense(&genes, &found.weights, located.len()));
        let len = found.sentence.len;
        padding.extend((0..config.length).map(|k| f64::from(u8::from(k >= len))));
        tokens.extend(found.sentence.tokens.iter().map(|&t| f64::from(t)));
        targets.extend(found.targets.iter().map(|&t| f64::from(t)));
        labels.extend(found.expressed.iter().map(|&e| f64::from(u8::from(e))));
    }
    Ok(vec![
        close(case, "weights", &dense_weights),
        exact(case, "tokens", &tokens),
        exact(case, "pad_mask", &padding),
        exact(case, "target_gene_tokens", &targets),
        exact(case, "target_labels", &labels),
    ])
}

fn config(case: &Case) -> UceConfig {
    let published = UceConfig::default();
    UceConfig {
        sample: case.usize("/sample_size", published.sample),
        length: case.usize("/pad_length", published.length),
        chromosome_offset: case.usize("/CHROM_TOKEN_OFFSET", published.chromosome_offset as usize)
            as u32,
        ..published
    }
}

fn located(case: &Case) -> Result<Vec<Option<Located>>, String> {
    let [token, chromosome, start] =
        ["gene_token", "gene_chrom", "gene_start"].map(|n| case.input(n));
    let (token, chromosome, start) = (token?, chromosome?, start?);
    let genes = token.data.iter().zip(&chromosome.data).zip(&start.data);
    Ok(genes
        .map(|((&token, &chromosome), &start)| {
            Some(Located {
                token: token as u32,
                chromosome: chromosome as u32,
                start: start as u64,
            })
        })
        .collect())
}

fn dense(genes: &[u32], values: &[f64], width: usize) -> Vec<f64> {
    let mut out = vec![0.0; width];
    for (&j, &v) in genes.iter().zip(values) {
        out[j as usize] = v;
    }
    out
}
