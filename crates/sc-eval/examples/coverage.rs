//! How often do intervals cover the true value, and how often are equal models called different?
//!
//! Training donors stay, scored donors are drawn anew; the true value of a metric is its mean over
//! all draws. Prints Markdown tables.
//!
//! ```sh
//! cargo run --release -p sc-eval --example coverage -- --draws 200 --donors 5,8,12,20
//! ```

use ndarray::Array2;
use rand::{Rng, RngExt as _};
use rayon::prelude::*;
use sc_data::rng::stream;
use sc_eval::categories::Categories;
use sc_eval::halves::Estimate;
use sc_eval::metrics::scgraph::{BatchGeometry, Consensus};
use sc_eval::protocol::{Annotations, Options, References, ScgraphReferences, evaluate_embedding};
use sc_eval::results::{MetricRecord, Mode};
use std::collections::BTreeMap;

/// Donors on which probes and references are fitted.
const TRAIN: usize = 10;
const TYPES: usize = 6;
const DIMS: usize = 15;
/// Metrics of the table, in its order.
const METRICS: [(&str, &str); 13] = [
    ("total", "total"),
    ("bio_conservation", "bio"),
    ("batch_correction", "batch"),
    ("clisi_knn", "cLISI"),
    ("ilisi_knn", "iLISI"),
    ("kbet_per_label", "kBET"),
    ("nmi_ari_cluster_labels_leiden_nmi", "Leiden NMI"),
    ("nmi_ari_cluster_labels_leiden_ari", "Leiden ARI"),
    ("silhouette_label", "silhouette"),
    ("graph_connectivity", "graph conn."),
    ("probe_lr_macro_f1", "LR macro-F1"),
    ("probe_lr_accuracy", "LR accuracy"),
    ("scgraph_corr_weighted", "scGraph"),
];

/// Properties of the simulated donors.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    /// Cells per donor, on average.
    cells: usize,
    /// Standard deviation of the logarithm of a donor's cells.
    uneven: f64,
    /// Frequency of the last two types, relative to the others.
    rare: f64,
    /// Batches the donors are assigned to; 0 gives every donor its own batch.
    batches: usize,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "balanced",
        cells: 40,
        uneven: 0.0,
        rare: 1.0,
        batches: 4,
    },
    Kind {
        name: "unbalanced donors",
        cells: 40,
        uneven: 0.8,
        rare: 1.0,
        batches: 4,
    },
    Kind {
        name: "rare types",
        cells: 200,
        uneven: 0.3,
        rare: 0.06,
        batches: 4,
    },
    Kind {
        name: "one batch per donor",
        cells: 40,
        uneven: 0.0,
        rare: 1.0,
        batches: 0,
    },
];

/// A population of donors: what is fixed across draws.
struct World {
    kind: Kind,
    centres: Vec<Vec<f64>>,
    batches: Vec<Vec<f64>>,
}

/// Cells of some donors, before and after batch effects are removed.
#[derive(Default)]
struct Cells {
    pre: Vec<f32>,
    post: Vec<f32>,
    labels: Vec<u32>,
    batches: Vec<u32>,
    donors: Vec<u32>,
}

fn normal(rng: &mut impl Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn vector(rng: &mut impl Rng, scale: f64) -> Vec<f64> {
    (0..DIMS).map(|_| scale * normal(rng)).collect()
}

impl World {
    fn new(kind: Kind) -> Self {
        let mut rng = stream(7, "coverage-world", 0, 0);
        Self {
            kind,
            centres: (0..TYPES).map(|_| vector(&mut rng, 1.0)).collect(),
            batches: (0..kind.batches).map(|_| vector(&mut rng, 0.4)).collect(),
        }
    }

    /// Adds the cells of `donors` donors, numbered from `first`.
    fn add(&self, cells: &mut Cells, first: usize, donors: usize, seed: u64) {
        for d in 0..donors {
            let mut rng = stream(seed, "coverage-donor", d as u64, 0);
            let (code, effect) = match self.kind.batches {
                0 => (first + d, vector(&mut rng, 0.4)),
                n => (d % n, self.batches[d % n].clone()),
            };
            let shift = vector(&mut rng, 0.3);
            let own: Vec<Vec<f64>> = (0..TYPES).map(|_| vector(&mut rng, 0.3)).collect();
            let weights: Vec<f64> = (0..TYPES)
                .map(|t| {
                    let rare = if t + 2 >= TYPES { self.kind.rare } else { 1.0 };
                    rare * (0.5 * normal(&mut rng)).exp() / (1.0 + 0.5 * t as f64)
                })
                .collect();
            let all: f64 = weights.iter().sum();
            let spread = self.kind.uneven;
            let size = (spread * normal(&mut rng) - spread * spread / 2.0).exp();
            let n = (self.kind.cells as f64 * size).round().max(6.0) as usize;
            for _ in 0..n {
                let (mut left, mut t) = (rng.random::<f64>() * all, 0);
                while t + 1 < TYPES && left > weights[t] {
                    left -= weights[t];
                    t += 1;
                }
                for j in 0..DIMS {
                    let clean = self.centres[t][j] + shift[j] + own[t][j] + normal(&mut rng);
                    cells.pre.push((clean + 2.0 * effect[j]) as f32);
                    cells.post.push((clean + effect[j]) as f32);
                }
                cells.labels.push(t as u32);
                cells.batches.push(code as u32);
                cells.donors.push((first + d) as u32);
            }
        }
    }
}

fn categories(codes: &[u32]) -> Categories {
    let names: Vec<String> = codes.iter().map(|c| format!("{c:04}")).collect();
    Categories::from_values(&names)
}

/// One draw of scored donors with the training donors.
struct Draw {
    pre: Array2<f32>,
    post: Array2<f32>,
    dataset: Annotations,
    references: ScgraphReferences,
}

fn draw(world: &World, donors: usize, number: u64) -> Draw {
    let mut cells = Cells::default();
    world.add(&mut cells, 0, TRAIN, 1);
    let training = cells.labels.len();
    world.add(&mut cells, TRAIN, donors, 1000 + number);
    let n = cells.labels.len();
    let array = |v: Vec<f32>| {
        Array2::from_shape_vec((n, DIMS), v).expect("invariant: cells times dimensions")
    };
    let (pre, post) = (array(cells.pre), array(cells.post));
    let rows: Vec<usize> = (0..training).collect();
    let geometry = BatchGeometry {
        coordinates: pre.select(ndarray::Axis(0), &rows).mapv(f64::from),
        rows,
    };
    let labels = &cells.labels[..training];
    let build = |mode| Consensus::new(std::slice::from_ref(&geometry), labels, mode);
    Draw {
        pre,
        post,
        dataset: Annotations {
            labels: categories(&cells.labels),
            batches: categories(&cells.batches),
            donors: Some(categories(&cells.donors)),
            keys: None,
            train: (0..training).collect(),
            test: (training..n).collect(),
        },
        references: ScgraphReferences {
            strict: build(Mode::Strict),
            compat: build(Mode::Compat),
        },
    }
}

/// Strict scores of an embedding.
fn score(draw: &Draw, embedding: &Array2<f32>) -> BTreeMap<String, MetricRecord> {
    let references = References {
        pre_integration: Some(draw.pre.view()),
        scgraph: Some(&draw.references),
    };
    let options = Options::default();
    let evaluated = evaluate_embedding(embedding.view(), &draw.dataset, &references, &options)
        .expect("invariant: simulated cells can be evaluated");
    let strict = evaluated
        .records
        .into_iter()
        .filter(|r| r.mode == Mode::Strict);
    strict.map(|r| (r.name.clone(), r)).collect()
}

/// `embedding` with independent noise: equally good, but not the same.
fn noisy(embedding: &Array2<f32>, seed: u64) -> Array2<f32> {
    let mut rng = stream(seed, "coverage-noise", 0, 0);
    embedding.mapv(|v| v + 0.7 * normal(&mut rng) as f32)
}

/// Share of intervals that cover the mean over draws, and share of draws that have an interval.
///
/// Means of different metrics differ: the true value of an aggregate is its mean over the draws
/// in which the same metrics are defined.
fn coverage(values: &[Option<&MetricRecord>]) -> String {
    let known = || values.iter().copied().flatten();
    let mut sums: BTreeMap<&[String], (f64, usize)> = BTreeMap::new();
    for record in known() {
        if let Some(value) = record.value {
            let sum = sums.entry(&record.of).or_default();
            *sum = (sum.0 + value, sum.1 + 1);
        }
    }
    let defined: usize = sums.values().map(|s| s.1).sum();
    if defined * 2 < values.len() {
        return "–".into();
    }
    let hits: Vec<bool> = known()
        .filter_map(|record| {
            let (low, high) = record.low.zip(record.high)?;
            let (sum, draws) = sums.get(&*record.of)?;
            Some((low..=high).contains(&(sum / *draws as f64)))
        })
        .collect();
    let share = hits.iter().filter(|h| **h).count() as f64 / hits.len().max(1) as f64;
    match hits.len() as f64 / defined as f64 {
        some if some < 0.995 => format!("{share:.2} ({:.0} %)", 100.0 * some),
        _ => format!("{share:.2}"),
    }
}

/// Share of draws in which the difference of two equal models has p below 5 %.
fn false_verdicts(pairs: &[(Option<Estimate>, Option<Estimate>)]) -> String {
    let verdicts: Vec<bool> = pairs
        .iter()
        .filter_map(|(a, b)| a.as_ref()?.minus(b.as_ref()?).ok())
        .map(|d| d.interval().is_ok_and(|i| i.p < 0.05))
        .collect();
    if verdicts.is_empty() {
        return "–".into();
    }
    let wrong = verdicts.iter().filter(|v| **v).count();
    format!("{:.2}", wrong as f64 / verdicts.len() as f64)
}

fn line(first: &str, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    #[allow(clippy::print_stdout)]
    {
        println!("| {first} | {} |", cells.join(" | "));
    }
}

fn head(title: &str) {
    let names = || METRICS.iter().map(|m| m.1.to_owned());
    line(title, names());
    line("---", names().map(|_| "---".to_owned()));
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1).cloned()
    };
    let draws: u64 = value("--draws").and_then(|v| v.parse().ok()).unwrap_or(200);
    let donors = value("--donors").unwrap_or_else(|| "5,8,12,20".into());
    let donors: Vec<usize> = donors.split(',').filter_map(|d| d.parse().ok()).collect();
    let only = value("--kind");
    let cells: Option<usize> = value("--cells").and_then(|v| v.parse().ok());
    let wanted = |name: &str| only.as_deref().is_none_or(|o| name.starts_with(o));
    for &kind in KINDS.iter().filter(|k| wanted(k.name)) {
        let kind = Kind {
            cells: cells.unwrap_or(kind.cells),
            ..kind
        };
        let world = World::new(kind);
        head(&format!(
            "{}, {} cells per donor: coverage",
            kind.name, kind.cells
        ));
        for &count in &donors {
            let evaluated: Vec<_> = (0..draws)
                .into_par_iter()
                .map(|number| {
                    let draw = draw(&world, count, number);
                    score(&draw, &draw.post)
                })
                .collect();
            let of = |name| evaluated.iter().map(|j| j.get(name)).collect::<Vec<_>>();
            line(
                &format!("{count} donors"),
                METRICS.iter().map(|m| coverage(&of(m.0))),
            );
        }
    }
    let pairs = [
        (
            "equal models",
            noisy as fn(&Array2<f32>, u64) -> Array2<f32>,
        ),
        ("random embeddings", |x, seed| {
            sc_eval::controls::random_embedding(x.nrows(), x.ncols(), seed)
        }),
    ];
    for (what, make) in pairs.into_iter().filter(|p| wanted(p.0)) {
        head(&format!("{what}: called different"));
        let world = World::new(KINDS[0]);
        for &count in &donors {
            let pairs: Vec<_> = (0..draws)
                .into_par_iter()
                .map(|number| {
                    let draw = draw(&world, count, number);
                    let of = |k| score(&draw, &make(&draw.post, 2 * number + k));
                    (of(0), of(1))
                })
                .collect();
            let of = |name: &str| {
                let at = |j: &BTreeMap<String, MetricRecord>| j.get(name)?.estimate();
                pairs
                    .iter()
                    .map(|(a, b)| (at(a), at(b)))
                    .collect::<Vec<_>>()
            };
            line(
                &format!("{count} donors"),
                METRICS.iter().map(|m| false_verdicts(&of(m.0))),
            );
        }
    }
}
