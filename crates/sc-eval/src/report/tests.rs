//! A whole page from results made up on the spot.

use super::*;
use crate::results::{
    Cost, CurvePoint, DataCard, Exposure, Family, Group, Map2d, MetricRecord, Recognised,
};
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
    let halves: Vec<Option<f64>> = (0..7)
        .map(|d| value.map(|_| 0.01 * wobble(d, 1) + 0.002 * wobble(d, own)))
        .collect();
    let mut record = MetricRecord {
        name: name.to_owned(),
        group,
        mode: Mode::Strict,
        value,
        low: None,
        high: None,
        cells: 412,
        donors: 7,
        note: value
            .is_none()
            .then(|| "distances between labels are constant".to_owned()),
        halves: if value.is_some() { halves } else { Vec::new() },
        without: Vec::new(),
        degrees: 6.0,
        of: Vec::new(),
    };
    let interval = record.estimate().and_then(|e| e.interval().ok());
    record.low = interval.map(|i| i.low);
    record.high = interval.map(|i| i.high);
    record
}

struct Made {
    name: &'static str,
    family: Family,
    f1: f64,
    total: f64,
    geometry: Option<f64>,
    shuffled: f64,
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
            crate::protocol::SHUFFLED,
            Group::Control,
            Some(made.shuffled),
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
        preset: None,
        same_size_as: None,
        objective: None,
        seed,
        device: "flex".to_owned(),
        data: card(),
        metrics,
        exposure: Exposure::Nothing,
        probe: None,
        cost: Cost {
            train_seconds: Some(41.2),
            embed_seconds: None,
            eval_seconds: Some(5.1),
            peak_memory_bytes: Some(612_000_000),
            parameters: (made.family == Family::Model).then_some(1_234_567),
            steps: Some(300),
            training_cells: Some(788),
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
        shuffled: 0.0,
    }
}

fn results() -> Vec<RunResult> {
    let shuffled = made("shuffled-labels", Family::Control, 0.2, 0.0, 0.0);
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
        made("random-embedding", Family::Control, 0.15, 0.4, 0.1),
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
fn what_noise_reaches_as_well_is_no_better_total() {
    let total = |noise: Option<f64>| {
        let mut all = results();
        all.retain(|r| r.method != "random-embedding");
        let made = |total| made("random-embedding", Family::Control, 0.15, total, 0.1);
        all.extend(noise.map(|total| run(&made(total), 0)));
        page(&all)
    };
    let said = "cellplm on scIB total: not testable, ";
    for (noise, why) in [
        (Some(0.62), "a random embedding scores as high"),
        (None, "the score of a random embedding is missing"),
    ] {
        assert!(total(noise).contains(&format!("{said}{why}")), "{noise:?}");
    }
    assert!(!total(Some(0.4)).contains(said));
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
        "None of 2 foundation models detectably beat the best baseline on LR macro-F1 of 7 held-out donors; one was detectably worse.",
        "cellplm on LR macro-F1: worse than at least one baseline; the best is lr-counts.",
        "scgpt on LR macro-F1: no detectable difference from the best baseline, lr-counts.",
        "cellplm on scIB total: better than every baseline, including the best, pca.",
        "cellplm on LR macro-F1: training helped, better than the same architecture untrained.",
        "scgpt against its untrained control: not tested.",
        "Shuffled labels are at chance level in every row.",
        "cellplm: 1\u{202f}234\u{202f}567 parameters, 300 training steps, 788 training cells.",
        "these results say nothing about them",
        "as expected of this control",
        "out of memory &#60;while&#62; embedding",
        "4 of 5",
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
    assert_eq!(maps, 2 * 7, "two plots for every method that has a UMAP");
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
        "One-hot labels: not tested.",
        "No foundation model was compared with a baseline.",
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

/// The verdict of results changed by `change`.
fn headline(change: impl Fn(&mut RunResult)) -> String {
    let mut results = results();
    results.iter_mut().for_each(change);
    let html = page(&results).replace('\u{2212}', "-");
    let start = html.split("class=\"headline\">").nth(1).unwrap_or_default();
    start.split("</p>").next().unwrap_or_default().to_owned()
}

#[test]
fn a_leak_is_never_better() {
    let leak = |r: &mut RunResult| {
        if r.method == "scgpt" {
            for m in &mut r.metrics {
                m.value = m.value.map(|v| v + 0.29);
            }
            r.exposure = Exposure::Labels {
                cells: 412,
                by: Recognised::Counts,
                columns: vec!["cell_type".to_owned()],
            };
        }
    };
    let text = headline(leak);
    assert!(
        text.starts_with("Leak: scgpt saw labels of the scored cells"),
        "{text}"
    );
    assert!(
        text.contains("The foundation model did not detectably beat"),
        "{text}"
    );
    let honest = headline(|r| {
        leak(r);
        r.exposure = Exposure::Nothing;
    });
    assert!(
        honest.starts_with("1 of 2 foundation models beat"),
        "{honest}"
    );
}

#[test]
fn unknown_and_transductive_rows_are_marked_in_the_first_line() {
    let text = headline(|r| {
        r.exposure = match r.method.as_str() {
            "scgpt" => Exposure::Unknown,
            "cellplm" => Exposure::Cells {
                cells: 412,
                by: Recognised::Barcode,
            },
            _ => Exposure::Nothing,
        }
    });
    let start = "Transductive: cellplm saw the scored cells in training, without labels. Training \
                 cells unknown: scgpt may have seen the scored cells. ";
    assert!(text.starts_with(start), "{text}");
}

#[test]
fn one_donor_is_not_testable() {
    let text = headline(|r| {
        for m in &mut r.metrics {
            (m.donors, m.halves, m.low, m.high) = (1, Vec::new(), None, None);
        }
    });
    let start = "Not testable: 1 donor is held out, and a comparison needs 5.";
    assert!(text.starts_with(start), "{text}");
}

#[test]
fn a_leak_in_a_single_row_is_seen() {
    let mut results = results();
    for r in results.iter_mut().filter(|r| r.method == "scgpt") {
        for m in r.metrics.iter_mut().filter(|m| m.group == Group::Control) {
            m.value = m.value.map(|v| v + 0.3);
        }
    }
    assert!(
        page(&results).contains("Shuffled labels score above chance in scgpt: information leaks")
    );
}

#[test]
fn a_leaking_neural_baseline_is_told_first_as_well() {
    let text = headline(|r| {
        if r.method == "scgpt" {
            r.family = Family::Neural;
            r.exposure = Exposure::Labels {
                cells: 412,
                by: Recognised::Counts,
                columns: vec!["cell_type".to_owned()],
            };
        }
    });
    assert!(text.starts_with("Leak: scgpt saw labels"), "{text}");
}

#[test]
fn two_splits_of_one_file_are_not_seeds_of_one_score() {
    let mut both = results();
    both.extend(results().into_iter().map(|mut r| {
        r.data.test_donors = vec!["another".to_owned()];
        r
    }));
    let html = page(&both);
    assert_eq!(html.matches("<h2>Verdict").count(), 2);
    assert!(
        html.contains("held out: another"),
        "the split names its section"
    );
}

#[test]
fn the_report_says_what_to_do_next() {
    let mut leak = results();
    for r in &mut leak {
        if r.method == "scgpt" {
            r.exposure = Exposure::Labels {
                cells: 1,
                by: Recognised::Counts,
                columns: vec!["cell_type".to_owned()],
            };
        }
    }
    let html = page(&leak);
    assert!(html.contains("What to do next"));
    assert!(html.contains("Train scgpt again without the scored donors"));
}

#[test]
fn a_note_that_repeats_stands_once() {
    let mut all = results();
    for r in &mut all {
        if r.family == Family::Model {
            r.exposure = Exposure::Unknown;
            r.cost.parameters = None;
        }
    }
    let html = page(&all);
    for what in [
        "what it was trained on is not recorded",
        "parameters, steps and training cells are not recorded",
    ] {
        assert_eq!(html.matches(what).count(), 1, "{what}");
        let named = ["scgpt, cellplm", "cellplm, scgpt"].map(|who| format!("{who}: {what}"));
        assert!(named.iter().any(|n| html.contains(n)), "{what}");
    }
}

#[test]
fn a_model_on_two_devices_has_one_verdict_or_the_page_says_so() {
    let mut runs = results();
    let model = |r: &&RunResult| r.family == Family::Model;
    let name = runs.iter().find(model).unwrap().method.clone();
    let own = runs.iter().filter(|r| r.method == name).cloned();
    let elsewhere: Vec<RunResult> = own
        .map(|r| RunResult {
            device: "wgpu".into(),
            ..r
        })
        .collect();
    runs.extend(elsewhere);
    let same = format!("{name}: the verdict is the same on flex, wgpu.");
    assert_eq!(page(&runs).matches(&same).count(), 1);
    // Without its metrics, nothing can be said of one of them.
    for run in runs.iter_mut().filter(|r| r.device == "wgpu") {
        run.metrics.clear();
    }
    let other = format!("{name}: the verdict depends on the device.");
    assert!(page(&runs).contains(&other));
    assert!(!page(&results()).contains("on the device"));
}
