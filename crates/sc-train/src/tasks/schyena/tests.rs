//! Tests of tasks schyena.

use super::*;
use crate::inputs::corpus::Order;
use crate::task::Pass;
use crate::tasks::tests::{by_heart, mean, train};
use sc_data::genes::{Across, Vocabulary, match_genes};
use sc_data::{CsrMatrix, RawCounts};
use sc_models::weights::host;

const GENES: usize = 30;

fn corpus(cells: usize) -> Corpus {
    // Two gene programmes, so that masked values can be predicted from the others.
    let value = |i: usize, g: usize| match (g % 2 == i % 2, (i * 31 + g * 17) % 3) {
        (true, k) => (4 * k + 2 * (g % 5)) as f32,
        (false, _) => 0.0,
    };
    let dense: Vec<f32> = (0..cells * GENES)
        .map(|k| value(k / GENES, k % GENES))
        .collect();
    let names: Vec<String> = (0..GENES).map(|g| format!("GENE{g}")).collect();
    let vocabulary = Vocabulary::new(names.clone()).unwrap();
    Corpus {
        counts: Arc::new(RawCounts::new(CsrMatrix::from_dense(GENES, &dense)).unwrap()),
        genes: Arc::new(match_genes(&names, &vocabulary, Across::Same).unwrap()),
        batches: Arc::new(vec![0; cells]),
        rows: Arc::new((0..cells).collect()),
        obs: Arc::default(),
        keys: Arc::default(),
        order: Order::Shuffled,
    }
}

fn task(permute: Option<u64>) -> ScHyenaTask {
    let network = ScHyenaConfig {
        genes: GENES,
        width: 32,
        layers: 2,
        feed_forward: 64,
        embedding_dropout: 0.0,
        ..ScHyenaConfig::default()
    };
    let input = ProfileInput {
        permute,
        ..ProfileInput::default()
    };
    ScHyenaTask::new(network, input, 1)
}

#[test]
fn overfits_64_cells() {
    let (corpus, task) = (corpus(64), task(None));
    let (_, log) = train(&task, &corpus, &by_heart(300), 1);
    let (first, last) = (
        mean(&log[..3], "mse_masked"),
        mean(&log[log.len() - 20..], "mse_masked"),
    );
    assert!(last < 0.05 * first, "{first} {last}");
}

#[test]
fn an_embedding_does_not_depend_on_the_minibatch() {
    let (corpus, task) = (corpus(9), task(None));
    let device = Device::flex();
    let model = task.build(&device).unwrap();
    let embed = |rows: &[usize]| {
        let cells = corpus.read(rows).unwrap();
        host(Task::embed(&task, &model, cells, &device).unwrap())
    };
    let all = embed(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(embed(&[5]), all[5 * 32..6 * 32]);
    assert_eq!(embed(&[8, 5])[32..], all[5 * 32..6 * 32]);
}

#[test]
fn a_permuted_order_moves_places_and_keeps_genes() {
    let (plain, moved) = (task(None), task(Some(7)));
    assert_ne!(plain.ids, moved.ids);
    let cells = || corpus(3).read(&[0, 1, 2]).unwrap();
    let [a, b] = [&plain, &moved].map(|t| t.tokenize(&cells(), Pass::Embedding).unwrap());
    for cell in 0..3 {
        for place in 0..GENES {
            let gene = moved.ids[place + 1] as usize - 1;
            assert_eq!(
                b.values[cell * GENES + place],
                a.values[cell * GENES + gene]
            );
        }
    }
    // The same weights give another embedding: the order is part of the model.
    let device = Device::flex();
    let model = plain.build(&device).unwrap();
    let [a, b] = [&plain, &moved].map(|t| host(Task::embed(t, &model, cells(), &device).unwrap()));
    assert_ne!(a, b);
}

#[test]
fn masks_depend_on_cell_and_epoch_only() {
    let (corpus, task) = (corpus(6), task(None));
    let mask = |rows: &[usize], epoch| {
        task.prepare(corpus.read(rows).unwrap(), epoch)
            .unwrap()
            .mask
    };
    let two = mask(&[4, 2], 3);
    assert_eq!(two[GENES..], mask(&[2], 3));
    assert_ne!(two, mask(&[4, 2], 4));
    assert!(two.contains(&1.0));
}
