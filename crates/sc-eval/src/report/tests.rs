//! A whole page from results made up on the spot.

use super::*;
use crate::results::{Cost, CurvePoint, DataCard, Family, Group, Map2d, MetricRecord};
use std::collections::BTreeMap;

/// A wobble in [-1, 1) that depends on nothing but its arguments.
fn wobble(a: u64, b: u64) -> f64 {
    let mut x = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 31;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 29;
    (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn record(name: &str, group: Group, value: Option<f64>, own: u64) -> MetricRecord {
    // Donors move all methods together, a method moves a little on its own.
    let replicates: Vec<Option<f32>> = (0..200)
        .map(|r| value.map(|v| (v + 0.04 * wobble(r, 1) + 0.01 * wobble(r, own)) as f32))
        .collect();
    MetricRecord {
        name: name.to_owned(),
        group,
        mode: Mode::Strict,
        value,
        low: value.map(|v| v - 0.05),
        high: value.map(|v| v + 0.05),
        cells: 412,
        donors: 7,
        note: value
            .is_none()
            .then(|| "distances between labels are constant".to_owned()),
        replicates,
    }
}

struct Made {
    name: &'static str,
    family: Family,
    f1: f64,
    total: f64,
    geometry: Option<f64>,
    balanced: f64,
}

fn run(made: &Made, seed: u64) -> RunResult {
    let own = 10 + seed + made.name.len() as u64 * 7;
    let shift = if made.family == Family::Model {
        0.004 * seed as f64
    } else {
        0.0
    };
    let mut metrics = vec![
        record(
            "probe_lr_macro_f1",
            Group::Probe,
            Some(made.f1 + shift),
            own,
        ),
        record(
            "probe_lr_balanced_accuracy",
            Group::Probe,
            Some(made.balanced),
            own,
        ),
    ];
    if made.name != "lr-counts" && made.name != "shuffled-labels" {
        metrics.extend([
            record("total", Group::Aggregate, Some(made.total + shift), own + 1),
            record(
                "bio_conservation",
                Group::Aggregate,
                Some(made.total + 0.05),
                own + 2,
            ),
            record(
                "batch_correction",
                Group::Aggregate,
                Some(made.total - 0.08),
                own + 3,
            ),
            record("pcr", Group::Batch, Some(1.0 - made.f1), own),
            record("silhouette_label", Group::Bio, Some(0.55), own),
            record("ilisi_knn", Group::Batch, Some(0.2), own),
            record(
                "scgraph_corr_weighted",
                Group::Geometry,
                made.geometry,
                own + 4,
            ),
        ]);
        let mut compat = record("scgraph_corr_weighted", Group::Geometry, Some(0.4), own);
        compat.mode = Mode::Compat;
        metrics.push(compat);
    }
    let labels: Vec<String> = ["Alpha", "Beta & <b>", "Delta"].map(str::to_owned).into();
    let map = Map2d {
        xy: (0..300u64)
            .map(|i| {
                let c = (i % 3) as f64;
                [
                    (c * 3.0 + wobble(i, own)) as f32,
                    (c * c + wobble(i, own + 9)) as f32,
                ]
            })
            .collect(),
        labels: (0..300).map(|i| i % 3).collect(),
        batches: (0..300).map(|i| i % 2).collect(),
        label_names: labels,
        batch_names: vec!["Study A".to_owned(), "Study B".to_owned()],
    };
    let curve = |s: u64| CurvePoint {
        step: s * 10 + 1,
        losses: BTreeMap::from([
            (
                "total".to_owned(),
                3.0 * (-(s as f64) / 12.0).exp() + 1.0 + 0.05 * wobble(s, own),
            ),
            (
                "reconstruction".to_owned(),
                2.0 * (-(s as f64) / 9.0).exp() + 0.8,
            ),
            ("kl".to_owned(), 0.2 + 0.05 * wobble(s, own)),
        ]),
    };
    RunResult {
        schema: SCHEMA,
        method: made.name.to_owned(),
        family: made.family,
        description: format!("What {} is, in a sentence.", made.name),
        objective: None,
        seed,
        device: "flex".to_owned(),
        data: card(),
        metrics,
        cost: Cost {
            train_seconds: 41.2,
            embed_seconds: 0.83,
            eval_seconds: 5.1,
            peak_memory_bytes: 612_000_000,
            parameters: if made.family == Family::Model {
                1_234_567
            } else {
                0
            },
            steps: 300,
        },
        curve: if made.family == Family::Model {
            (0..40).map(curve).collect()
        } else {
            Vec::new()
        },
        map: (made.name != "lr-counts" && made.name != "shuffled-labels").then_some(map),
    }
}

fn card() -> DataCard {
    DataCard {
        file: "made_up.h5ad".to_owned(),
        hash: "00ff".repeat(16),
        cells: 1200,
        genes: 2000,
        counts: "X".to_owned(),
        density: 0.193,
        median_counts: 1895.0,
        label_column: "cell_type".to_owned(),
        batch_column: "batch".to_owned(),
        donor_column: "donor_id".to_owned(),
        labels: BTreeMap::from([("Alpha".to_owned(), 400), ("Beta".to_owned(), 800)]),
        batches: BTreeMap::from([("Study A".to_owned(), 600), ("Study B".to_owned(), 600)]),
        test_donors: vec!["D2".to_owned()],
        train_donors: vec!["D1".to_owned()],
        test_cells: 412,
        warnings: vec!["One label occurs in one batch only.".to_owned()],
    }
}

fn made(name: &'static str, family: Family, f1: f64, total: f64, geometry: f64) -> Made {
    Made {
        name,
        family,
        f1,
        total,
        geometry: Some(geometry),
        balanced: f1,
    }
}

fn results() -> Vec<RunResult> {
    let mut shuffled = made("shuffled-labels", Family::Control, 0.2, 0.0, 0.0);
    shuffled.balanced = 0.34;
    let mut one_hot = made("one-hot", Family::Control, 1.0, 0.95, 0.0);
    one_hot.geometry = None;
    let all = [
        made("cellplm", Family::Model, 0.62, 0.58, 0.61),
        made("cellplm-random", Family::Control, 0.5, 0.51, 0.45),
        made("scgpt", Family::Model, 0.70, 0.57, 0.55),
        made("hvg", Family::Baseline, 0.66, 0.52, 0.7),
        made("pca", Family::Baseline, 0.69, 0.56, 0.74),
        made("lr-counts", Family::Baseline, 0.7, 0.0, 0.0),
        shuffled,
        one_hot,
    ];
    let mut out = Vec::new();
    for m in &all {
        let seeds = if m.family == Family::Model {
            0..2
        } else {
            0..1
        };
        out.extend(seeds.map(|seed| run(m, seed)));
    }
    out
}

fn page(results: &[RunResult]) -> String {
    let context = Context {
        generated: "2026-01-02 03:04 UTC".to_owned(),
        facts: vec![("scfm".to_owned(), "0.1.0".to_owned())],
        config: "name = \"made-up\"\n[data]\npath = \"made_up.h5ad\"".to_owned(),
        failures: vec![Failure {
            run: "scgpt-random s0 flex".to_owned(),
            message: "out of memory <while> embedding".to_owned(),
        }],
        ..Context::default()
    };
    let html = render("A made-up experiment & its <report>", results, &context);
    html.unwrap_or_else(|e| panic!("a whole set of results renders: {e}"))
}

#[test]
fn a_page_says_what_the_numbers_say() {
    let html = page(&results());
    // SCFM_REPORT_DUMP=FILE keeps the page, to look at it in a browser.
    if let Some(path) = std::env::var_os("SCFM_REPORT_DUMP") {
        std::fs::write(path, &html).unwrap_or_else(|e| panic!("the page can be kept: {e}"));
    }
    let text = html.replace('\u{2212}', "-");
    for expected in [
        "None of 2 foundation models detectably beat the best simple baseline on LR macro-F1 of held-out donors; one was detectably worse.",
        "cellplm on LR macro-F1: worse than the best simple baseline, lr-counts.",
        "scgpt on LR macro-F1: no detectable difference from the best simple baseline, lr-counts.",
        "cellplm on scIB total: better than the best simple baseline, pca.",
        "cellplm on LR macro-F1: training helped: better than the same architecture untrained.",
        "scgpt against its own random initialisation: not tested.",
        "Shuffled labels sit at chance.",
        "the control is unmasked",
        "out of memory &#60;while&#62; embedding",
        "5 of 6",
    ] {
        assert!(text.contains(expected), "the page lacks: {expected}");
    }
}

#[test]
fn a_page_is_offline_and_names_are_escaped() {
    let html = page(&results());
    for forbidden in [
        "http://", "https://", "<script", "@import", "url(", "<b>\n", "& <b",
    ] {
        assert!(!html.contains(forbidden), "the page holds {forbidden}");
    }
    assert!(html.contains("A made-up experiment &#38; its &#60;report&#62;"));
    let maps = html.matches("class=\"map\"").count();
    assert_eq!(maps, 2 * 6, "two pictures for every method that has a map");
}

#[test]
fn missing_rows_are_not_tested() {
    let only: Vec<RunResult> = results()
        .into_iter()
        .filter(|r| r.method == "pca")
        .collect();
    let html = page(&only);
    for expected in [
        "Foundation models: not tested.",
        "Shuffled labels: not tested.",
        "One-hot labels: not tested.",
        "No foundation model was compared with a simple baseline.",
    ] {
        assert!(html.contains(expected), "the page lacks: {expected}");
    }
}

#[test]
fn nothing_and_foreign_layouts_are_errors() {
    let empty = render("x", &[], &Context::default());
    assert!(matches!(empty, Err(ReportError::Empty)));
    let mut other = results();
    other[0].schema = 99;
    let refused = render("x", &other, &Context::default());
    assert!(matches!(
        refused,
        Err(ReportError::Schema { found: 99, .. })
    ));
}

#[test]
fn primary_scores_are_means_over_seeds() {
    let (title, lines) = primary_scores(&results());
    assert_eq!(title, "LR macro-F1");
    assert_eq!(lines[0].method, "cellplm");
    assert_eq!(lines[0].seeds, 2);
    assert!((lines[0].value.unwrap_or(f64::NAN) - 0.622).abs() < 1e-9);
}
