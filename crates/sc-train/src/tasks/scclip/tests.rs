//! Tests of tasks scclip.

use super::*;
use crate::inputs::corpus::Order;
use crate::tasks::tests::{by_heart, mean, train};
use sc_data::RawCounts;
use sc_data::genes::{Across, Vocabulary, match_genes};
use sc_models::scclip::{Temperature, TowerConfig};
use sc_models::weights::{self, host};

const GENES: usize = 24;
const PEAKS: usize = 40;

fn names() -> Vec<String> {
    // Kinds alternate in the table, so that each must be picked out.
    let gene = |g: usize| format!("GENE{g}");
    let peak = |p: usize| format!("chr1:{}-{}", p * 1000, p * 1000 + 500);
    let mut names = vec!["MT-ND1".to_string()];
    names
        .extend((0..PEAKS).flat_map(|i| (i < GENES).then(|| gene(i)).into_iter().chain([peak(i)])));
    names
}

fn corpus(cells: usize) -> Corpus {
    let names = names();
    let n = names.len();
    let value = |i: usize, f: usize| match ((i * 977 + f * 131) * (i * 31 + f + 7) / 13) % 7 {
        k @ 0..3 => k as f32 + 1.0,
        _ => 0.0,
    };
    let dense: Vec<f32> = (0..cells * n).map(|k| value(k / n, k % n)).collect();
    let vocabulary = Vocabulary::new(names.clone()).unwrap();
    Corpus {
        counts: Arc::new(RawCounts::new(CsrMatrix::from_dense(n, &dense)).unwrap()),
        genes: Arc::new(match_genes(&names, &vocabulary, Across::Same).unwrap()),
        batches: Arc::new(vec![0; cells]),
        rows: Arc::new((0..cells).collect()),
        obs: Arc::default(),
        keys: Arc::default(),
        order: Order::Shuffled,
    }
}

fn network() -> ScClipConfig {
    let tower = TowerConfig {
        patches: 4,
        width: 32,
        layers: 1,
        heads: 2,
        feed_forward: 64,
        dropout: 0.0,
        attention_dropout: 0.0,
        ..TowerConfig::default()
    };
    ScClipConfig {
        atac: tower.clone(),
        rna: tower,
        projection: 16,
        temperature: Temperature::Learned {
            log_scale: 2.659_2,
            largest: Some(100.0),
        },
        normalize: true,
    }
}

fn task(input: PairedInput) -> ScClipTask {
    let data = DataSpec {
        genes: Arc::new(names()),
        seed: 3,
        ..DataSpec::default()
    };
    ScClipTask::new(network(), input, &data).unwrap()
}

#[test]
fn overfits_64_cells() {
    let (corpus, task) = (corpus(64), task(PairedInput::default()));
    let (weights, log) = train(&task, &corpus, &by_heart(200), 1);
    let (first, last) = (
        mean(&log[..3], "total"),
        mean(&log[log.len() - 10..], "total"),
    );
    assert!(last < 0.1 * first, "{first} {last}");
    // Every cell finds its other half.
    let model = weights::load(
        task.build(&Device::flex()).unwrap(),
        weights,
        &sc_models::scclip::NAMES,
    )
    .unwrap();
    let cells = corpus.read(&corpus.rows).unwrap();
    let [a, r] = [Modality::Atac, Modality::Rna].map(|m| host(task.embed_half(&model, &cells, m)));
    let like = |i: usize, j: usize| (0..16).map(|k| a[i * 16 + k] * r[j * 16 + k]).sum::<f32>();
    let found = (0..64)
        .filter(|&i| (0..64).all(|j| like(i, j) <= like(i, i)))
        .count();
    assert!(found >= 60, "{found}");
}

#[test]
fn an_embedding_does_not_depend_on_the_minibatch() {
    let corpus = corpus(7);
    let device = Device::flex();
    for embed in [Half::Both, Half::Rna, Half::Atac] {
        let task = task(PairedInput {
            embed,
            ..PairedInput::default()
        });
        let model = task.build(&device).unwrap();
        let embed = |rows: &[usize]| {
            let cells = corpus.read(rows).unwrap();
            host(Task::embed(&task, &model, cells, &device).unwrap())
        };
        assert_eq!(embed(&[5]), embed(&[0, 1, 2, 3, 4, 5, 6])[5 * 16..6 * 16]);
    }
}

#[test]
fn kinds_are_told_apart_scaled_and_binary() {
    let mut data = DataSpec {
        genes: Arc::new(["MT-CO1", "A", "chr1:5-9", "B"].map(String::from).to_vec()),
        ..DataSpec::default()
    };
    let counts = CsrMatrix::from_dense(4, &[9.0, 1.0, 7.0, 3.0]);
    let largest = features::largest(&data.genes, &counts);
    data.largest = Arc::new(largest);
    let task = ScClipTask::new(network(), PairedInput::default(), &data).unwrap();
    let halves = task.halves(&counts);
    assert_eq!(halves.atac.to_dense(), [1.0]);
    // Totals without the mitochondrial gene, over the largest with it.
    let a = 2500f64.ln_1p() / f64::from((1e4f32 / 13.0).ln_1p());
    assert!((f64::from(halves.rna.to_dense()[0]) - a).abs() < 1e-5);
    let plain = PairedInput {
        scale: Scale::None,
        leave_out: Vec::new(),
        ..PairedInput::default()
    };
    let task = ScClipTask::new(network(), plain, &data).unwrap();
    let b = (3e4f64 / 13.0).ln_1p() as f32;
    assert_eq!(task.halves(&counts).rna.to_dense()[2], b);
}

#[test]
fn one_kind_alone_is_refused_with_the_way_out() {
    let data = DataSpec {
        genes: Arc::new(vec!["A".into(), "B".into()]),
        ..DataSpec::default()
    };
    let error = ScClipTask::new(network(), PairedInput::default(), &data).unwrap_err();
    assert!(error.to_string().contains("2 genes and 0 peaks"), "{error}");
}

#[test]
fn what_is_hidden_depends_on_cell_and_epoch_only() {
    let corpus = corpus(5);
    let task = task(PairedInput {
        hide: 0.5,
        ..PairedInput::default()
    });
    let read = |rows: &[usize], epoch| {
        task.prepare(corpus.read(rows).unwrap(), epoch)
            .unwrap()
            .atac
    };
    let two = read(&[4, 1], 2);
    assert_eq!(two.row(1), read(&[1], 2).row(0));
    assert_ne!(two.row(1), read(&[1], 3).row(0));
    let whole = task.halves(&corpus.read(&[1]).unwrap().counts).atac;
    assert_eq!(two.row(1).0.len(), whole.row(0).0.len().div_ceil(2));
}
