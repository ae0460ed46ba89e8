//! Nicheformer's ranks in its three modes.

use super::{close, exact, row, rows_of, sparse};
use crate::case::Case;
use crate::row::Row;
use sc_data::tokens::ranks::{MeanMode, input_ids, means, rank};

/// Tokens, network input and padding of every mode the case holds.
pub fn tokenise(case: &Case) -> Result<Vec<Row>, String> {
    let modes = [
        ("corpus", MeanMode::Corpus),
        ("released", MeanMode::Released),
        ("none", MeanMode::None),
    ];
    let mean = case.input("technology_mean")?.f32();
    let mut rows = Vec::new();
    for (name, mode) in modes {
        if case.outputs.contains_key(&format!("{name}.tokens")) {
            rows.extend(run(case, name, &means(&mean, mode))?);
        }
    }
    let cleaned = means(&mean, MeanMode::Corpus);
    let cleaned: Vec<f64> = cleaned.into_iter().map(f64::from).collect();
    rows.push(close(case, "corpus.mean", &cleaned));
    Ok(rows)
}

fn run(case: &Case, name: &str, means: &[f32]) -> Result<Vec<Row>, String> {
    let length = case.usize("/max_seq_len", 4096);
    let context_length = case.usize("/context_length", 1500);
    let (mut tokens, mut ids, mut padding) = (Vec::new(), Vec::new(), Vec::new());
    for cell in 0..rows_of(case, "X")? {
        let (genes, counts) = sparse(row(case.input("X")?, cell));
        let ranked = rank(&genes, &counts, means, length).map_err(|e| e.to_string())?;
        let mut context = [0; 3];
        for (slot, which) in context.iter_mut().zip(["specie", "assay", "modality"]) {
            *slot = row(case.input(which)?, cell)
                .first()
                .copied()
                .unwrap_or(0.0) as u32;
        }
        let (found, padded) = input_ids(context, &ranked, context_length);
        ids.extend(found.into_iter().map(f64::from));
        padding.extend(padded.into_iter().map(|p| f64::from(u8::from(p))));
        let mut ranked: Vec<f64> = ranked.into_iter().map(f64::from).collect();
        ranked.resize(length, 0.0);
        tokens.extend(ranked);
    }
    let output = |what: &str| format!("{name}.{what}");
    Ok(vec![
        exact(case, &output("tokens_canonical"), &tokens),
        exact(case, &output("input_ids_canonical"), &ids),
        exact(case, &output("attention_mask"), &padding),
        up_to_ties(case, &output("tokens"), &output("tie_group"), &tokens)?,
    ])
}

/// Entries that differ from what the reference produced beyond the order within a group of ties; a
/// group cut off by the end of the sequence may hold other members.
fn up_to_ties(case: &Case, tokens: &str, groups: &str, ours: &[f64]) -> Result<Row, String> {
    let get = |name: &str| {
        case.outputs
            .get(name)
            .ok_or(format!("output {name} is missing"))
    };
    let (theirs, group) = (get(tokens)?, get(groups)?);
    let width = theirs.shape[1];
    let mut wrong = 0;
    for cell in 0..theirs.shape[0] {
        let at = cell * width..(cell + 1) * width;
        let group = &group.data[at.clone()];
        let (mine, theirs) = (&ours[at.clone()], &theirs.data[at]);
        let mut from = 0;
        while from < width {
            let to = from
                + group[from..]
                    .iter()
                    .take_while(|g| **g == group[from])
                    .count();
            let sorted = |part: &[f64]| {
                let mut part = part.to_vec();
                part.sort_by(f64::total_cmp);
                part
            };
            let cut = to == width && group[from] >= 0.0;
            if !cut && sorted(&mine[from..to]) != sorted(&theirs[from..to]) {
                wrong += to - from;
            }
            from = to;
        }
    }
    Ok(Row::check(
        format!("{tokens} up to ties [{}]", ours.len()),
        wrong as f64,
        0.0,
    ))
}
