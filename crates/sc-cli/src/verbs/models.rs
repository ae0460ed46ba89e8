//! `scfm models list`.

use crate::args::{Format, Models, ModelsVerb};
use crate::error::Result;
use sc_train::presets::{self, GENES, LABELS, PEAKS, SIZES, Size, assumed};
use sc_train::registry::{ARCHITECTURES, Architecture};
use serde::Serialize;
use std::collections::BTreeMap;

/// One architecture with its presets.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    architecture: Architecture,
    /// By [`SIZES`]; none where there is no such preset.
    presets: BTreeMap<&'static str, Option<Size>>,
}

pub(crate) fn run(args: &Models) -> Result<()> {
    let ModelsVerb::List { format } = args.verb;
    let rows: Vec<Row> = ARCHITECTURES.iter().map(row).collect::<Result<_>>()?;
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&rows)?),
        Format::Table => print(&rows),
    }
    Ok(())
}

fn row(architecture: &Architecture) -> Result<Row> {
    let data = assumed(architecture.features);
    let counted = |size: &'static str| -> Result<_> {
        let spec = presets::of(architecture.name, size)?;
        let counted = spec.map(|s| presets::size(&s, &data)).transpose()?;
        Ok((size, counted))
    };
    Ok(Row {
        architecture: *architecture,
        presets: SIZES.into_iter().map(counted).collect::<Result<_>>()?,
    })
}

fn print(rows: &[Row]) {
    let mut lines = vec![cells([
        "name",
        "paper",
        "tokens",
        "objectives",
        SIZES[0],
        SIZES[1],
        SIZES[2],
        "depends on minibatch",
        "importable weights",
        "licence of the original",
    ])];
    for Row {
        architecture: a,
        presets,
    } in rows
    {
        let objectives = a.objectives.join(", ");
        let company = a.minibatch_dependence.to_string();
        let [tiny, small, paper] = SIZES.map(|s| millions(presets.get(s).and_then(Option::as_ref)));
        lines.push(cells([
            a.name,
            a.paper,
            a.tokens,
            &objectives,
            &tiny,
            &small,
            &paper,
            &company,
            a.weights,
            a.licence,
        ]));
    }
    aligned(&lines).iter().for_each(|l| println!("{l}"));
    println!(
        "\n{}: millions of parameters of the preset, frozen tables and running statistics included; \
         – for no preset.\nCounted for the genes of the preset ({GENES} if it uses all, and {PEAKS} \
          peaks if it needs peaks), 1 batch, and {LABELS} labels and 2 species if it needs \
          them.\nDepends on minibatch: whether a cell's embedding depends on the cells embedded \
          with it.",
        SIZES.join(", ")
    );
}

fn cells<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(String::from).to_vec()
}

/// Three significant digits.
fn millions(size: Option<&Size>) -> String {
    let Some(size) = size else {
        return "–".into();
    };
    let millions = size.parameters as f64 / 1e6;
    let decimals = match millions {
        m if m < 10.0 => 2,
        m if m < 100.0 => 1,
        _ => 0,
    };
    format!("{millions:.decimals$}")
}

/// Rows of a table, every column as wide as its widest cell.
fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let wide = |c: usize| rows.iter().map(|r| r[c].chars().count()).max();
    let widths: Vec<usize> = (0..columns).filter_map(wide).collect();
    let line = |row: &Vec<String>| {
        let padded = row.iter().zip(&widths).map(|(c, &w)| format!("{c:<w$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_figures_and_what_is_missing_a_dash() {
        let size = |parameters| Size {
            parameters,
            features: 1,
            batches: 1,
            levels: BTreeMap::new(),
        };
        let rows = [72_141, 30_493_697, 779_000_000].map(|n| millions(Some(&size(n))));
        assert_eq!(rows, ["0.07", "30.5", "779"]);
        assert_eq!(millions(None), "–");
        let rows = [cells(["a", "–", "c"]), cells(["long", "12", "c"])];
        assert_eq!(aligned(&rows), ["a     –   c", "long  12  c"]);
    }

    #[test]
    fn the_book_tells_the_same_sizes() {
        let book = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/models.md");
        let book = std::fs::read_to_string(book).unwrap();
        let (_, table) = book
            .split_once("| tiny | small | paper |\n|---|---|---|---|\n")
            .unwrap();
        let mut rows = 0;
        for line in table.lines().take_while(|l| l.starts_with('|')) {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let name = cells[0].to_lowercase();
            let known = sc_train::registry::find(&name).unwrap();
            let row = row(known).unwrap();
            let sizes = SIZES.map(|s| millions(row.presets[s].as_ref()));
            assert_eq!(cells[1..], sizes, "{name}");
            rows += 1;
        }
        assert!(rows > 12, "{rows}");
    }
}
