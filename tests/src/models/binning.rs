//! Value binning: edges, admissible bins, the draw, and scFormer's variant.

use crate::case::Case;
use crate::row::Row;
use sc_data::tokens::{admissible, bin_row, bin_row_highest};
use std::collections::BTreeMap;

/// Number of entries that differ, and of entries compared, by output.
type Counts = BTreeMap<&'static str, (usize, f64)>;

/// Runs the binning case: every entry must be exact.
///
/// Entries marked fragile hinge on the last bit of the reference's arithmetic and are counted in
/// rows of their own.
pub fn run(case: &Case) -> Result<Vec<Row>, String> {
    let x = case.input("x")?;
    let u = case.input("u")?;
    let bins = case.usize("/n_bins", 51);
    let genes = x.shape[1];
    let output = |name: &str| {
        case.outputs
            .get(name)
            .ok_or_else(|| format!("output {name} is missing"))
    };
    let expected = [
        output("lo")?,
        output("hi")?,
        output("digits_u")?,
        output("scformer_digits")?,
    ];
    let (edges, obsm) = (output("edges")?, output("bin_edges_obsm")?);
    let (fragile, valid) = (output("fragile")?, output("scformer_valid")?);
    let mut counts = Counts::new();
    let mut worst_edge = 0f64;
    for row in 0..x.shape[0] {
        let at = row * genes..(row + 1) * genes;
        let values: Vec<f32> = x.data[at.clone()].iter().map(|&v| v as f32).collect();
        let found = admissible(&values, bins).map_err(|e| e.to_string())?;
        let draws = u.data[at.clone()]
            .iter()
            .zip(&values)
            .filter(|(_, v)| **v != 0.0);
        let mut draws = draws.map(|(&u, _)| u);
        let digits = bin_row(&values, bins, &mut || draws.next().unwrap_or(0.0));
        let digits = digits.map_err(|e| e.to_string())?;
        // scFormer refuses rows without a value; there is nothing to compare then.
        let highest = bin_row_highest(&values, bins).unwrap_or_else(|_| vec![0; genes]);
        let width = edges.shape[1];
        for (k, &edge) in found.edges.iter().enumerate() {
            worst_edge = worst_edge.max((edge - edges.data[row * width + k]).abs());
            worst_edge = worst_edge.max((edge - obsm.data[row * (width + 1) + k + 1]).abs());
        }
        let ours = [found.lo(), found.hi().to_vec(), digits, highest];
        let names = [
            ["lo", "lo (fragile)"],
            ["hi", "hi (fragile)"],
            ["digits_u", "digits_u (fragile)"],
            ["scformer_digits", "scformer_digits (fragile)"],
        ];
        for ((name, ours), expected) in names.into_iter().zip(&ours).zip(expected) {
            if name[0] == "scformer_digits" && valid.data[row] == 0.0 {
                continue;
            }
            for (j, &bin) in ours.iter().enumerate() {
                let entry = row * genes + j;
                let name = name[usize::from(fragile.data[entry] != 0.0)];
                let count = counts.entry(name).or_default();
                count.0 += 1;
                count.1 += f64::from(u8::from(f64::from(bin) != expected.data[entry]));
            }
        }
    }
    let mut rows = vec![Row::check("edges", worst_edge, 0.0)];
    rows.extend(
        counts
            .into_iter()
            .map(|(name, (n, wrong))| Row::check(format!("{name} [{n}]"), wrong, 0.0)),
    );
    Ok(rows)
}
