//! A cell has the same vector, to the bit, in every file that holds it: rows turned round, a part of
//! them, other minibatches.

use crate::common::{CELLS, data, embedded, file_of, spec, tiny, train, with_objective};
use burn::tensor::Device;
use sc_train::registry::{ARCHITECTURES, MinibatchDependence};
use serde_json::json;

/// A third of the cells, and their order turned round.
fn part() -> Vec<usize> {
    (0..CELLS).rev().step_by(3).collect()
}

#[test]
fn a_cell_has_the_same_vector_in_any_row_of_any_file() {
    let (corpus, data) = data();
    let everyone: Vec<usize> = (0..CELLS).collect();
    let whole = file_of(&corpus, &everyone);
    let mut wrong = Vec::new();
    for known in ARCHITECTURES {
        if matches!(
            known.minibatch_dependence,
            MinibatchDependence::Always { .. }
        ) {
            continue;
        }
        for objective in known.objectives {
            let mut value = with_objective(tiny(known.name), objective);
            let task = spec(value.clone()).task(&data).unwrap();
            let weights = task.initial(&Device::flex()).unwrap();
            let before = embedded(&*task, &weights, &whole);
            value["input"]["embed_minibatch"] = json!(5);
            let task = spec(value).task(&data).unwrap();
            let after = embedded(&*task, &weights, &file_of(&corpus, &part()));
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let other = |(row, after): &(&usize, &Vec<f32>)| bits(&before[**row]) != bits(after);
            if let Some((row, after)) = part().iter().zip(&after).find(other) {
                let before = &before[*row];
                let moved = before.iter().zip(after).map(|(a, b)| (a - b).abs());
                let moved = moved.fold(0f32, f32::max);
                wrong.push(format!(
                    "{} {objective}: row {row} by {moved:e}",
                    known.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn sentences_of_cells_are_the_same_in_any_order_of_the_file() {
    let (corpus, data) = data();
    let everyone: Vec<usize> = (0..CELLS).collect();
    let turned: Vec<usize> = (0..CELLS).map(|k| (k * 37 + 5) % CELLS).collect();
    let mut value = tiny("cellplm");
    value["input"] = json!({ "cells": 10 });
    let task = spec(value).task(&data).unwrap();
    let weights = task.initial(&Device::flex()).unwrap();
    let before = embedded(&*task, &weights, &file_of(&corpus, &everyone));
    let after = embedded(&*task, &weights, &file_of(&corpus, &turned));
    for (&row, after) in turned.iter().zip(&after) {
        assert_eq!(&before[row], after, "row {row}");
    }
}

#[test]
fn training_ends_with_the_same_weights_in_any_order_of_the_file() {
    let (corpus, data) = data();
    let everyone: Vec<usize> = (0..CELLS).collect();
    let turned: Vec<usize> = (0..CELLS).map(|k| (k * 37 + 5) % CELLS).collect();
    for known in ARCHITECTURES {
        for objective in known.objectives {
            let task = spec(with_objective(tiny(known.name), objective));
            let task = task.task(&data).unwrap();
            let weights = |rows: &[usize]| {
                let trained = train(&*task, &file_of(&corpus, rows), 2, 1e-3);
                trained.unwrap().0
            };
            assert!(
                weights(&everyone) == weights(&turned),
                "{} {objective}",
                known.name
            );
        }
    }
}

#[test]
fn what_depends_on_company_says_so() {
    let spec = |network: serde_json::Value, architecture: &str| {
        spec(json!({ "architecture": architecture, "network": network }))
    };
    let matters = |network: serde_json::Value, architecture: &str| {
        let spec = spec(network, architecture);
        let known = spec.known().unwrap();
        known.minibatch_dependence.matters(&spec).is_some()
    };
    assert!(matters(json!({}), "cellplm"));
    assert!(!matters(json!({}), "uce") && !matters(json!({}), "vae"));
    assert!(matters(json!({ "padding": "compat" }), "uce"));
    assert!(matters(json!({ "cell_embedding": "avg-pool" }), "scformer"));
}
