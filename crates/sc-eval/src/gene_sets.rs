//! What vectors of genes know: whether genes of one set (a pathway, the targets of a transcription factor,
//! a chromosome) are nearer to one another than to other genes.

use crate::error::{EvalError, Undefined};
use ndarray::{Array2, ArrayView2, Axis};
use rand::RngExt as _;
use std::cmp::Ordering;

/// Fewest genes of a set, and outside of it, that are in the vocabulary.
pub const LEAST: usize = 5;
/// Resamples of the interval.
const RESAMPLES: usize = 1000;

/// A set of genes by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneSet {
    /// Its name.
    pub name: String,
    /// Its genes.
    pub genes: Vec<String>,
}

/// Reads sets in the GMT format: a line has a name, a description and genes, apart by tabs.
///
/// # Errors
/// [`EvalError::Invalid`] for a line without genes, with its number.
pub fn parse_gmt(text: &str) -> Result<Vec<GeneSet>, EvalError> {
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            let mut fields = line.split('\t').map(str::trim);
            let name = fields.next().unwrap_or_default().to_owned();
            let genes = fields.skip(1).filter(|g| !g.is_empty());
            let genes: Vec<String> = genes.map(str::to_owned).collect();
            match genes.is_empty() || name.is_empty() {
                false => Ok(GeneSet { name, genes }),
                true => Err(EvalError::invalid(format!(
                    "line {} has no genes; a line of a GMT file is: name, tab, description, tab, genes apart \
                     by tabs",
                    at + 1
                ))),
            }
        })
        .collect()
}

/// A set by the places of its genes among the vectors, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// Name of the set.
    pub name: String,
    /// Places of its genes.
    pub places: Vec<usize>,
}

/// The sets with at least [`LEAST`] genes that have a place among `genes` vectors, and as many outside.
pub fn members(
    sets: &[GeneSet],
    place: impl Fn(&str) -> Option<usize>,
    genes: usize,
) -> Vec<Members> {
    let of = |set: &GeneSet| {
        let mut places: Vec<usize> = set.genes.iter().filter_map(|g| place(g)).collect();
        places.sort_unstable();
        places.dedup();
        Members {
            name: set.name.clone(),
            places,
        }
    };
    let enough = |m: &Members| m.places.len() >= LEAST && genes >= m.places.len() + LEAST;
    sets.iter().map(of).filter(enough).collect()
}

/// What vectors know of sets of genes.
#[derive(Clone, Debug, PartialEq)]
pub struct Knowledge {
    /// Area under the ROC curve of every set, in the order of the sets: of a gene of the set and one
    /// outside, the probability that the first is nearer to the rest of the set.
    pub sets: Vec<f64>,
    /// Their mean; ½ is nothing.
    pub mean: f64,
    /// 95 % interval of the mean, over sets.
    pub interval: [f64; 2],
}

/// Scores `vectors` `[genes, dims]` on sets of genes. Nearness is the cosine of centred vectors, its mean
/// over the other members of the set, for genes inside and outside alike.
///
/// # Errors
/// [`EvalError`] for vectors that are not finite; [`Undefined::NoContrast`] without a set.
pub fn knowledge(
    vectors: ArrayView2<'_, f32>,
    sets: &[Members],
    seed: u64,
) -> Result<Knowledge, Undefined> {
    crate::pairs::check_finite("gene vectors", vectors)?;
    if sets.is_empty() {
        return Err(Undefined::NoContrast);
    }
    let unit = centred_units(vectors);
    let values: Vec<f64> = sets.iter().map(|set| of_set(&unit, &set.places)).collect();
    let mean = |of: &mut dyn FnMut() -> f64| {
        let sum: f64 = (0..values.len()).map(|_| of()).sum();
        sum / values.len() as f64
    };
    let mut rng = sc_data::rng::stream(seed, "gene-sets", 0, 0);
    let mut draw = || values[rng.random_range(0..values.len())];
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| mean(&mut draw)).collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((RESAMPLES - 1) as f64 * share).round() as usize];
    Ok(Knowledge {
        mean: values.iter().sum::<f64>() / values.len() as f64,
        interval: [at(0.025), at(0.975)],
        sets: values,
    })
}

/// Vectors less their mean, of length 1; a vector without length stays 0.
fn centred_units(vectors: ArrayView2<'_, f32>) -> Array2<f64> {
    let wide = vectors.mapv(f64::from);
    let Some(mean) = wide.mean_axis(Axis(0)) else {
        return wide;
    };
    let mut out = &wide - &mean;
    for mut row in out.outer_iter_mut() {
        let length = row.dot(&row).sqrt();
        if length > 0.0 {
            row.mapv_inplace(|v| v / length);
        }
    }
    out
}

fn of_set(unit: &Array2<f64>, members: &[usize]) -> f64 {
    let sum = unit.select(Axis(0), members).sum_axis(Axis(0));
    let is_outside = |g: &usize| members.binary_search(g).is_err();
    let outside: Vec<usize> = (0..unit.nrows()).filter(is_outside).collect();
    let mut area = 0.0;
    for &gene in members {
        // A member and the genes outside are compared with the same others.
        let others = &sum - &unit.row(gene);
        let near = unit.dot(&others);
        let above = outside
            .iter()
            .map(|&o| match near[gene].total_cmp(&near[o]) {
                Ordering::Greater => 1.0,
                Ordering::Equal => 0.5,
                Ordering::Less => 0.0,
            });
        area += above.sum::<f64>();
    }
    area / (members.len() * outside.len()) as f64
}

/// The genes nearest to one of `vectors` by cosine of centred vectors, nearest first.
pub fn nearest(vectors: ArrayView2<'_, f32>, gene: usize, count: usize) -> Vec<(usize, f64)> {
    let unit = centred_units(vectors);
    let near = unit.dot(&unit.row(gene));
    let mut order: Vec<usize> = (0..unit.nrows()).filter(|&g| g != gene).collect();
    order.sort_by(|&a, &b| near[b].total_cmp(&near[a]).then(a.cmp(&b)));
    order.truncate(count);
    order.into_iter().map(|g| (g, near[g])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controls::random_embedding;

    #[test]
    fn gmt_is_read_and_faults_are_told_by_line() {
        let sets = parse_gmt("A\tof a\tG1\tG2\n\nB\t\tG3\t\n").unwrap();
        assert_eq!(sets[0].genes, ["G1", "G2"]);
        assert_eq!((sets[1].name.as_str(), sets[1].genes.len()), ("B", 1));
        let error = parse_gmt("A\tx\tG1\nB\tnothing\n").unwrap_err();
        assert!(error.to_string().contains("line 2 has no genes"), "{error}");
    }

    #[test]
    fn vectors_that_know_the_sets_score_one_and_random_ones_a_half() {
        // Ten genes of 400 each; knowing vectors have a direction for every set.
        let set = |k: usize| GeneSet {
            name: format!("S{k}"),
            genes: (0..10).map(|g| (40 * k + g).to_string()).collect(),
        };
        let all: Vec<GeneSet> = (0..8).map(set).collect();
        let sets = members(&all, |gene| gene.parse().ok(), 400);
        assert_eq!(sets.len(), 8);
        let knows = |g: usize, d: usize| g / 40 == d && g % 40 < 10;
        let knowing = Array2::from_shape_fn((400, 8), |(g, d)| f32::from(u8::from(knows(g, d))));
        let found = knowledge(knowing.view(), &sets, 0).unwrap();
        assert!((found.mean - 1.0).abs() < 1e-12, "{found:?}");
        let mut sum = 0.0;
        for seed in 0..200 {
            let random = random_embedding(400, 32, seed);
            sum += knowledge(random.view(), &sets, 0).unwrap().mean;
        }
        assert!((sum / 200.0 - 0.5).abs() < 0.02, "{}", sum / 200.0);
        assert!(members(&all, |_| None, 400).is_empty());
    }

    #[test]
    fn nearest_genes_come_first() {
        let vectors = ndarray::arr2(&[[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0], [0.0, -1.0]]);
        let near = nearest(vectors.view(), 0, 2);
        assert_eq!((near[0].0, near.len()), (1, 2));
    }
}
