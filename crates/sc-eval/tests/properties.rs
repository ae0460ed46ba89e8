//! What must hold of every metric, whatever the data.

use ndarray::Array2;
use proptest::prelude::*;
use sc_eval::categories::Categories;
use sc_eval::metrics::clustering::{
    nmi_ari, nmi_ari_cluster_labels_kmeans, nmi_ari_cluster_labels_leiden,
};
use sc_eval::metrics::connectivity::graph_connectivity;
use sc_eval::metrics::kbet::kbet_per_label;
use sc_eval::metrics::lisi::{clisi_knn, ilisi_knn};
use sc_eval::metrics::pcr::pcr;
use sc_eval::metrics::scgraph::{BatchGeometry, Consensus, scgraph};
use sc_eval::metrics::silhouette::{
    Between, bras, isolated_labels, silhouette_batch, silhouette_label,
};
use sc_eval::neighbors::{Ties, knn};
use sc_eval::protocol::{
    Annotations, Options, Predictions, References, evaluate_embedding, evaluate_predictions,
};
use sc_eval::results::Mode;
use sc_eval::{Outcome, Undefined, controls, graph, probe};

const LABELS: u32 = 5;
const BATCHES: u32 = 3;

/// Cells around one centre per label, shifted by batch.
fn data(cells: usize, dims: usize, seed: u64) -> (Array2<f32>, Vec<u32>, Vec<u32>) {
    let noise = controls::random_embedding(cells, dims, seed);
    let centres = controls::random_embedding(LABELS as usize, dims, seed ^ 1);
    let shifts = controls::random_embedding(BATCHES as usize, dims, seed ^ 2);
    let labels: Vec<u32> = (0..cells as u32)
        .map(|i| (i * 7 + i / 11) % LABELS)
        .collect();
    let batches: Vec<u32> = (0..cells as u32).map(|i| (i / 3) % BATCHES).collect();
    let x = Array2::from_shape_fn((cells, dims), |(i, j)| {
        noise[[i, j]]
            + 3.0 * centres[[labels[i] as usize, j]]
            + 0.7 * shifts[[batches[i] as usize, j]]
    });
    (x, labels, batches)
}

/// Every metric by name, in both modes where they differ.
fn all(x: &Array2<f32>, labels: &[u32], batches: &[u32]) -> Vec<(&'static str, Outcome)> {
    let v = x.view();
    let near = knn(v, 60, Ties::Index).unwrap();
    let fuzzy = graph::fuzzy(&near, 15);
    let split = |r: Result<(f64, f64), Undefined>| match r {
        Ok((a, b)) => (Ok(a), Ok(b)),
        Err(e) => (Err(e.clone()), Err(e)),
    };
    let (kmeans_nmi, kmeans_ari) = split(nmi_ari_cluster_labels_kmeans(v, labels, 1));
    let (leiden_nmi, leiden_ari) = split(nmi_ari_cluster_labels_leiden(&fuzzy, labels, 1));
    let everyone = BatchGeometry {
        rows: (0..labels.len()).collect(),
        coordinates: x.mapv(f64::from),
    };
    let geometry = Consensus::new(&[everyone], labels, Mode::Strict).unwrap();
    let graph_scores = scgraph(v, labels, &geometry);
    vec![
        (
            "silhouette_label",
            silhouette_label(v, labels, Mode::Strict),
        ),
        (
            "isolated_labels",
            isolated_labels(v, labels, batches, Mode::Compat),
        ),
        ("silhouette_batch", silhouette_batch(v, labels, batches)),
        ("clisi", clisi_knn(&near, labels)),
        ("ilisi", ilisi_knn(&near, batches)),
        (
            "connectivity",
            graph_connectivity(&near, 15, labels, Mode::Strict),
        ),
        (
            "connectivity compat",
            graph_connectivity(&near, 15, labels, Mode::Compat),
        ),
        (
            "kbet",
            kbet_per_label(&near, 50, labels, batches, Mode::Strict),
        ),
        (
            "kbet compat",
            kbet_per_label(&near, 50, labels, batches, Mode::Compat),
        ),
        ("pcr", pcr(v, batches)),
        ("kmeans nmi", kmeans_nmi),
        ("kmeans ari", kmeans_ari),
        ("leiden nmi", leiden_nmi),
        ("leiden ari", leiden_ari),
        ("scgraph", graph_scores.corr_weighted),
        (
            "bras",
            bras(v, labels, batches, Between::MeanOther, Mode::Strict),
        ),
    ]
}

fn value(outcome: &Outcome) -> f64 {
    *outcome.as_ref().unwrap_or(&f64::NAN)
}

/// Rotates the first two dimensions by `angle` and shifts all.
fn moved(x: &Array2<f32>, angle: f32, shift: f32) -> Array2<f32> {
    let (sin, cos) = angle.sin_cos();
    let mut out = x.mapv(|v| v + shift);
    for (mut row, old) in out.outer_iter_mut().zip(x.outer_iter()) {
        row[0] = cos * old[0] - sin * old[1] + shift;
        row[1] = sin * old[0] + cos * old[1] + shift;
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn rotation_and_translation_change_nothing(seed in 0u64..1000, angle in 0.1f32..3.0) {
        let (x, labels, batches) = data(240, 4, seed);
        let before = all(&x, &labels, &batches);
        let after = all(&moved(&x, angle, 2.0), &labels, &batches);
        // Cosine distance feels a shift, and k-means may end in another optimum after rounding.
        for ((name, a), (_, b)) in before.iter().zip(&after).take(10) {
            prop_assert!((value(a) - value(b)).abs() < 2e-3, "{name}: {} {}", value(a), value(b));
        }
    }

    #[test]
    fn names_of_labels_do_not_matter(seed in 0u64..1000) {
        let (x, labels, batches) = data(200, 4, seed);
        let renamed: Vec<u32> = labels.iter().map(|l| 90 - 7 * l).collect();
        let other: Vec<u32> = batches.iter().map(|b| 40 - b).collect();
        let (a, b) = (all(&x, &labels, &batches), all(&x, &renamed, &other));
        for ((name, a), (_, b)) in a.iter().zip(&b) {
            // Compat kBET does depend on the order of labels: that is its documented quirk.
            if *name != "kbet compat" {
                prop_assert!((value(a) - value(b)).abs() < 1e-9, "{name}: {} {}", value(a), value(b));
            }
        }
    }

    #[test]
    fn ari_equals_pairs_of_cells(
        pairs in proptest::collection::vec((0u32..4, 0u32..5), 2..60),
    ) {
        let (x, y): (Vec<u32>, Vec<u32>) = pairs.iter().copied().unzip();
        let (_, ari) = nmi_ari(&x, &y).unwrap();
        // Adjusted Rand index pair by pair.
        let (mut both, mut left, mut right, mut all) = (0f64, 0f64, 0f64, 0f64);
        for i in 0..x.len() {
            for j in 0..i {
                let (s, t) = (x[i] == x[j], y[i] == y[j]);
                both += f64::from(u8::from(s && t));
                left += f64::from(u8::from(s));
                right += f64::from(u8::from(t));
                all += 1.0;
            }
        }
        let (expected, most) = (left * right / all, f64::midpoint(left, right));
        let want = if most == expected { 1.0 } else { (both - expected) / (most - expected) };
        prop_assert!((ari - want).abs() < 1e-9, "{ari} {want}");
    }

    #[test]
    fn accuracy_equals_counting(
        pairs in proptest::collection::vec((0u32..4, 0u32..5), 1..60),
    ) {
        let (a, b): (Vec<u32>, Vec<u32>) = pairs.iter().copied().unzip();
        let hits = pairs.iter().filter(|p| p.0 == p.1).count() as f64;
        let accuracy = probe::accuracy(&a, &b).unwrap();
        prop_assert!((accuracy - hits / pairs.len() as f64).abs() < 1e-15);
    }
}

fn dataset(labels: Vec<u32>, batches: Vec<u32>, donors: usize) -> Annotations {
    let cells = labels.len();
    let name = |c: &u32| format!("n{c:03}");
    let of = |codes: &[u32]| Categories::from_values(&codes.iter().map(name).collect::<Vec<_>>());
    let donor: Vec<u32> = (0..cells).map(|i| (i % donors) as u32).collect();
    let held = |i: &usize| donor[*i] as usize * 2 < donors;
    Annotations {
        labels: of(&labels),
        batches: of(&batches),
        donors: Some(of(&donor)),
        keys: None,
        train: (0..cells).filter(|i| !held(i)).collect(),
        test: (0..cells).filter(held).collect(),
    }
}

#[test]
fn one_and_two_threads_give_the_same_bits() {
    let (x, labels, batches) = data(900, 6, 5);
    let set = dataset(labels, batches, 12);
    let options = Options::default();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let references = References {
            pre_integration: Some(x.view()),
            scgraph: None,
        };
        pool.install(|| evaluate_embedding(x.view(), &set, &references, &options).unwrap())
    };
    let text = |j: &sc_eval::protocol::Evaluation| serde_json::to_string(&j.records).unwrap();
    let (one, two) = (run(1), run(2));
    assert_eq!(text(&one), text(&two));
    assert!(
        one.records
            .iter()
            .any(|r| r.name == "probe_lr_macro_f1" && r.value.is_some())
    );
    assert!(
        one.records
            .iter()
            .filter(|r| r.low.is_some())
            .all(|r| r.low <= r.value && r.value <= r.high)
    );
    assert!(one.records.iter().filter(|r| r.low.is_some()).count() > 30);
}

/// Cells, and the same cells with the same keys in another order of rows.
fn two_orders() -> (Array2<f32>, Annotations, Vec<usize>, Annotations) {
    let (x, labels, batches) = data(400, 5, 8);
    let mut set = dataset(labels, batches, 10);
    set.keys = Some(
        (0..400u64)
            .map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15))
            .collect(),
    );
    let order: Vec<usize> = (0..400).map(|i| (i * 147 + 31) % 400).collect();
    let place = |rows: &[usize]| {
        let of = |r: &usize| order.iter().position(|o| o == r).unwrap();
        rows.iter().map(of).collect::<Vec<usize>>()
    };
    let keys = set.keys.as_ref().unwrap();
    let moved = Annotations {
        labels: set.labels.select(&order),
        batches: set.batches.select(&order),
        donors: set.donors.as_ref().map(|d| d.select(&order)),
        keys: Some(order.iter().map(|&r| keys[r]).collect()),
        train: place(&set.train),
        test: place(&set.test),
    };
    (x, set, order, moved)
}

#[test]
fn the_order_of_cells_changes_nothing() {
    let (x, set, order, moved) = two_orders();
    let run = |x: &Array2<f32>, set: &Annotations| {
        let references = References {
            pre_integration: Some(x.view()),
            scgraph: None,
        };
        let evaluated =
            evaluate_embedding(x.view(), set, &references, &Options::default()).unwrap();
        let strict = evaluated
            .records
            .into_iter()
            .filter(|r| r.mode == Mode::Strict);
        serde_json::to_string(&strict.collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(
        run(&x, &set),
        run(&x.select(ndarray::Axis(0), &order), &moved)
    );
}

/// Where donors are not known, groups of cells follow the keys as well.
#[test]
fn the_scale_of_an_embedding_changes_nothing() {
    let (x, set, _, _) = two_orders();
    let references = References::default();
    let values = |exponent: i32| -> Vec<(String, Option<f64>)> {
        let x = x.mapv(|v| v * (f64::from(exponent)).exp2() as f32);
        let evaluated =
            evaluate_embedding(x.view(), &set, &references, &Options::default()).unwrap();
        let records = evaluated.records.into_iter();
        records
            .map(|r| (format!("{} {:?}", r.name, r.mode), r.value))
            .collect()
    };
    let ordinary = values(0);
    // Squares of such values are beyond single precision.
    for exponent in [-90, 90] {
        for (own, (name, other)) in ordinary.iter().zip(values(exponent)) {
            let near = match (own.1, other) {
                (Some(a), Some(b)) => (a - b).abs() < 1e-4,
                (a, b) => a == b,
            };
            assert!(near, "{name} at 2^{exponent}: {:?} and {other:?}", own.1);
        }
    }
}

#[test]
fn the_order_of_predictions_changes_nothing() {
    let (_, set, _, moved) = two_orders();
    let run = |set: &Annotations| {
        let set = Annotations {
            donors: None,
            ..set.clone()
        };
        let keys = set.keys.as_ref().unwrap();
        let guess = |r: &usize| ((keys[*r] >> 40) % u64::from(LABELS)) as u32;
        let predictions = Predictions {
            classes: (0..LABELS).collect(),
            predicted: set.test.iter().map(guess).collect(),
            probabilities: None,
        };
        serde_json::to_string(&evaluate_predictions(&predictions, &set).unwrap().records).unwrap()
    };
    assert_eq!(run(&set), run(&moved));
}

#[test]
fn labels_that_no_training_cell_has_are_not_scored_as_wrong() {
    let set = dataset(
        (0..60).map(|i| u32::from(i % 6 < 3)).collect(),
        vec![0; 60],
        6,
    );
    let train: Vec<u32> = set.train.iter().map(|&r| set.labels.codes()[r]).collect();
    assert!(
        set.test
            .iter()
            .all(|&r| !train.contains(&set.labels.codes()[r]))
    );
    let x = controls::random_embedding(60, 4, 3);
    let evaluated =
        evaluate_embedding(x.view(), &set, &References::default(), &Options::default()).unwrap();
    let probes = evaluated
        .records
        .iter()
        .filter(|r| r.name.starts_with("probe_"));
    for probe in probes {
        assert_eq!(probe.value, None, "{}", probe.name);
        assert!(
            probe
                .note
                .as_ref()
                .unwrap()
                .contains("no scored cell has a label")
        );
    }
}

/// Sets that break metrics must end in records with reasons, never in a panic.
#[test]
fn degenerate_sets_end_in_reasons() {
    let options = Options::default();
    let references = References::default();
    let (x, labels, batches) = data(120, 3, 9);
    let point = Array2::<f32>::zeros((120, 3));
    for (x, labels, batches, donors) in [
        (&x, vec![0; 120], batches.clone(), 4),
        (&x, labels.clone(), vec![0; 120], 4),
        (&x, (0..120).collect(), batches.clone(), 4),
        (&x, labels.clone(), (0..120).collect(), 4),
        (&point, labels.clone(), batches.clone(), 4),
        (&x, labels.clone(), batches.clone(), 1),
    ] {
        let set = dataset(labels, batches, donors);
        let evaluated = evaluate_embedding(x.view(), &set, &references, &options).unwrap();
        for record in evaluated.records {
            assert!(
                match record.value {
                    Some(value) => value.is_finite(),
                    None => record.note.is_some(),
                },
                "{}: {:?}",
                record.name,
                record.value
            );
        }
    }
    let tiny = data(3, 2, 1);
    let set = Annotations {
        test: vec![0],
        train: vec![1, 2],
        ..dataset(tiny.1, tiny.2, 1)
    };
    assert!(evaluate_embedding(tiny.0.view(), &set, &references, &options).is_ok());
    let mut nan = data(120, 3, 9).0;
    nan[[7, 1]] = f32::NAN;
    let set = dataset(labels, batches, 4);
    let error = evaluate_embedding(nan.view(), &set, &references, &options).unwrap_err();
    assert!(error.to_string().contains("row 7"), "{error}");
}
