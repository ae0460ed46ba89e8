//! SATURN cases: one step of pretraining, and one minibatch of metric learning.

use super::tokens::{exact, filled, row as row_of};
use super::{Found, add, add_gradients, load};
use crate::case::{self, Case};
use crate::row::Row;
use burn::tensor::{Device, Tensor, TensorData};
use sc_data::CsrMatrix;
use sc_models::layers::lookup::unit;
use sc_models::layers::observe::Record;
use sc_models::saturn::{
    Cells, Conditioning, Latent, MacrogeneDropout, NAMES, Output, Saturn, SaturnConfig,
    SaturnMetric, Species,
};
use sc_models::weights;
use sc_train::losses::saturn::mining::{Batch, Neighbours, Pool};
use sc_train::losses::saturn::{self as objective, triplet_loss};
use std::collections::BTreeSet;
use std::sync::Arc;

type Weights = std::collections::BTreeMap<String, crate::case::Array>;

/// Sizes, as the weights tell them.
fn config(weights: &Weights, species: Vec<Species>) -> SaturnConfig {
    let size = |name: &str, axis: usize| {
        let found = weights.get(name);
        found.and_then(|w| w.shape.get(axis)).map_or(0, |&n| n)
    };
    let latent = match weights.contains_key("fc_mu.weight") {
        true => Latent::Normal,
        false => Latent::Point,
    };
    let embedding = match latent {
        Latent::Normal => size("fc_mu.weight", 0),
        Latent::Point => size("encoder.1.0.weight", 0),
    };
    let told = size("px_decoder.0.0.weight", 1);
    SaturnConfig {
        batches: told.saturating_sub(embedding + species.len()),
        species,
        macrogenes: size("cl_layer_norm.weight", 0),
        hidden: size("encoder.0.0.weight", 0),
        embedding,
        latent,
        conditioning: Conditioning::Constant,
        dropout: 0.0,
        scale_dropout: 0.0,
        macrogene_dropout: MacrogeneDropout::Training,
    }
}

fn matrix(array: &case::Array, device: &Device) -> Tensor<2> {
    let data = TensorData::new(array.f32(), array.shape.clone());
    Tensor::from_data(data, device)
}

/// Species with their genes, in the order of the genes.
fn species(case: &Case) -> Result<Vec<Species>, String> {
    let slices = case.config.get("species_to_gene_idx");
    let slices = slices.and_then(|v| v.as_object()).into_iter().flatten();
    let mut found: Vec<(u64, u64, String)> = slices
        .filter_map(|(name, slice)| {
            let at = |i: usize| slice.get(i).and_then(|v| v.as_u64());
            Some((at(0)?, at(1)?, name.clone()))
        })
        .collect();
    found.sort();
    let mut next = 0;
    for (first, last, name) in &found {
        if *first != next {
            return Err(format!(
                "the genes of {name} begin at {first}, not at {next}"
            ));
        }
        next = *last;
    }
    Ok(found
        .into_iter()
        .map(|(first, last, name)| Species {
            name,
            genes: (last - first) as usize,
        })
        .collect())
}

/// One step of pretraining, with macrogene dropout off and on.
pub fn pretrain(case: &Case) -> Result<Vec<Row>, String> {
    let device = crate::device().autodiff();
    let weights = case::read(&case.dir.join("weights.safetensors"))?;
    let config = config(&weights, species(case)?);
    let model = Saturn::new(&config, &device).map_err(|e| e.to_string())?;
    let model = load(model, &case.dir, &NAMES, &[])?;
    let gene_weights = model.gene_weights();
    let mut found = Found::new();
    let balanced = case.flag("/balance_pretrain");
    let labels = |name: &str| -> Result<Vec<u32>, String> {
        let labels = case.input(&format!("labels.{name}"))?.ints();
        Ok(labels.iter().map(|&l| l as u32).collect())
    };
    let mut all_labels = Vec::new();
    for species in config.species.iter().filter(|_| balanced) {
        all_labels.extend(labels(&species.name)?);
    }
    let mut order: Vec<usize> = (0..config.species.len()).collect();
    order.sort_by_key(|&i| &config.species[i].name);
    let mut total = Tensor::<1>::zeros([1], &device);
    for index in order {
        let name = &config.species[index].name;
        let Some(counts) = case.inputs.get(&format!("counts.{name}")) else {
            continue;
        };
        let input = |what: &str| {
            let array = case.inputs.get(&format!("{what}.{name}"));
            array.map(|a| matrix(a, &device))
        };
        let counts = Arc::new(CsrMatrix::from_dense(counts.shape[1], &counts.f32()));
        let mut cells = Cells {
            species: index,
            counts,
            batches: Vec::new(),
            keep: None,
            noise: input("eps"),
        };
        let output = forward(&model, &gene_weights, &cells, "", name, &mut found)?;
        let nll = objective::cell_nll(&output, &cells.counts);
        add(&mut found, format!("nll_per_cell.{name}"), nll.clone());
        let divergence = objective::divergence(&output);
        if let Some(divergence) = &divergence {
            add(
                &mut found,
                format!("loss.kld_sum.{name}"),
                divergence.clone(),
            );
        }
        let label_weights = match balanced {
            true => Some(objective::label_weights(&all_labels, &labels(name)?)),
            false => None,
        };
        let weight = case.f64("/kld_weight", 0.0);
        let loss = objective::species_loss(nll, label_weights, divergence.map(|d| (d, weight)));
        let sum = format!("loss.reconstruction_sum.{name}");
        add(&mut found, sum, loss.reconstruction);
        add(
            &mut found,
            format!("loss.species.{name}"),
            loss.total.clone(),
        );
        total = total + loss.total;
        if let Some(keep) = input("macrogene_dropout_keep") {
            cells.keep = Some(keep / (1.0 - case.f64("/dropout", 0.1)));
            forward(
                &model,
                &gene_weights,
                &cells,
                "dropout_on.",
                name,
                &mut found,
            )?;
        }
    }
    let others: Vec<usize> = case
        .input("rank_idx")?
        .ints()
        .iter()
        .map(|&o| o as usize)
        .collect();
    let proteins = case.input("gene_embeddings")?;
    let similar = objective::protein_similarity(&proteins.f32(), proteins.shape[1], &others);
    let genes = model.gene_embeddings(gene_weights.clone());
    let rank = objective::gene_ranking(genes, similar, &others);
    let l1 = objective::lasso(gene_weights);
    for (name, term, key) in [("l1", l1, "/l1_penalty"), ("rank", rank, "/pe_sim_penalty")] {
        add(&mut found, format!("loss.{name}_unscaled"), term.clone());
        let scaled = term * case.f64(key, 0.0);
        add(&mut found, format!("loss.{name}"), scaled.clone());
        total = total + scaled;
    }
    add(&mut found, "loss.total", total.clone());
    add_gradients(&mut found, total.backward(), &model, &NAMES);
    Ok(case.compare(&found))
}

fn forward(
    model: &Saturn,
    gene_weights: &Tensor<2>,
    cells: &Cells,
    prefix: &str,
    species: &str,
    found: &mut Found,
) -> Result<Output, String> {
    let mut seen = Record::default();
    let output = model
        .forward_observed(gene_weights, cells, &mut seen)
        .map_err(|e| e.to_string())?;
    let named = seen.0.into_iter();
    found.extend(named.map(|(k, v)| (format!("{prefix}{k}.{species}"), v)));
    Ok(output)
}

/// One minibatch of metric learning: every step of the mining, the loss and its gradient.
pub fn triplets(case: &Case) -> Result<Vec<Row>, String> {
    let device = crate::device().autodiff();
    let weights = case::read(&case.dir.join("weights.safetensors"))?;
    let model = SaturnMetric::new(&config(&weights, Vec::new()), &device);
    let model = load(model, &case.dir, &NAMES, &[])?;
    // The species of a minibatch stand in the order of their names.
    let names: Vec<&str> = case
        .inputs
        .keys()
        .filter_map(|k| k.strip_prefix("macrogenes."))
        .collect();
    let (mut parts, mut labels, mut species) = (Vec::new(), Vec::new(), Vec::new());
    for (i, name) in names.iter().enumerate() {
        parts.push(matrix(case.input(&format!("macrogenes.{name}"))?, &device));
        let of = case.input(&format!("labels.{name}"))?.ints();
        species.extend(of.iter().map(|_| i as u32));
        labels.extend(of.iter().map(|&l| l as u32));
    }
    let parts = parts.into_iter().map(|x| unit(model.forward(x)));
    let embeddings = Tensor::cat(parts.collect(), 0);
    let [_, dims] = embeddings.dims();
    let host = weights::host(embeddings.clone());
    let batch = Batch {
        embeddings: &host,
        dims,
        labels: &labels,
        species: &species,
    };
    let mut found = Found::new();
    add(&mut found, "embeddings", embeddings.clone());
    let mut rows = mining(case, &batch)?;
    let triplets: Vec<[usize; 3]> = case
        .input("triplets")?
        .ints()
        .chunks_exact(3)
        .map(|t| [t[0], t[1], t[2]].map(|v| v as usize))
        .collect();
    let margin = case.f64("/margin", 0.2);
    let kept = batch.semihard(&triplets, margin);
    let mut put = |name: &str, values: Vec<f64>| {
        let values = values.into_iter().map(|v| v as f32).collect();
        found.insert(name.to_string(), values);
    };
    let each = |f: &dyn Fn(&[usize; 3]) -> f64| triplets.iter().map(f).collect::<Vec<_>>();
    put("ap_similarity", each(&|t| batch.cosine(t[0], t[1])));
    put("an_similarity", each(&|t| batch.cosine(t[0], t[2])));
    put("triplet_margin", each(&|t| batch.margin(*t)));
    put("kept_losses", kept.losses.clone());
    let keep = each(&|t| f64::from(u8::from(!batch.semihard(&[*t], margin).losses.is_empty())));
    rows.push(exact(case, "keep", &keep));
    let flat: Vec<f64> = kept.triplets.iter().flatten().map(|&c| c as f64).collect();
    rows.push(exact(case, "kept_triplets", &flat));
    let loss = triplet_loss(embeddings, &kept, margin);
    add(&mut found, "loss.total", loss.clone());
    add_gradients(&mut found, loss.backward(), &model, &NAMES);
    let named: BTreeSet<String> = rows.iter().map(|r| stem(&r.name)).collect();
    let others = case.compare(&found).into_iter();
    rows.extend(others.filter(|r| !named.contains(&stem(&r.name))));
    Ok(rows)
}

/// The name of an output, without what a row says of its shape.
fn stem(name: &str) -> String {
    name.split(' ').next().unwrap_or_default().to_string()
}

/// Neighbours, pools and candidates: all must be the reference's.
fn mining(case: &Case, batch: &Batch<'_>) -> Result<Vec<Row>, String> {
    let nearest = batch.nearest_across();
    let cell = |c: &Option<usize>| c.map_or(-1.0, |c| c as f64);
    let other: Vec<f64> = nearest.other.iter().map(cell).collect();
    let back: Vec<f64> = nearest.back.iter().map(cell).collect();
    let mutual = batch.mutual(&nearest).into_iter();
    let mutual: Vec<f64> = mutual.map(|m| f64::from(u8::from(m))).collect();
    let pools = batch.pools(&nearest, Neighbours::Mutual);
    let any = batch.pools(&nearest, Neighbours::Any);
    let mut rows = vec![
        exact(case, "nearest_other_species", &other),
        exact(case, "nearest_back", &back),
        exact(case, "mutual", &mutual),
        padded(case, "pool", pools.iter().map(|p| p.cells.clone())),
        padded(case, "pool_mnn_false", any.iter().map(|p| p.cells.clone())),
    ];
    let pairs = |pool: &Pool| {
        let label = f64::from(pool.label);
        let pairs = batch.candidate_pairs(pool).into_iter();
        pairs
            .flat_map(move |[a, p]| [label, a as f64, p as f64])
            .collect::<Vec<_>>()
    };
    let candidates: Vec<f64> = pools.iter().flat_map(pairs).collect();
    rows.push(exact(case, "candidate_pairs", &candidates));
    rows.extend(negatives(case, batch, &pools)?);
    rows.push(drawn(batch, &pools));
    Ok(rows)
}

/// The label pairs the given triplets have, and the negatives each pair allows.
fn negatives(case: &Case, batch: &Batch<'_>, pools: &[Pool]) -> Result<Vec<Row>, String> {
    let Some(expected) = case.outputs.get("negative_label_pairs") else {
        return Ok(Vec::new());
    };
    let given = case.input("triplets")?.ints();
    let label = |c: i64| batch.labels[c as usize];
    let ours: BTreeSet<[u32; 2]> = given
        .chunks_exact(3)
        .map(|t| [label(t[0]), label(t[1])])
        .collect();
    let pairs: Vec<[u32; 2]> = (0..expected.shape[0])
        .map(|i| [0, 1].map(|j| row_of(expected, i)[j] as u32))
        .collect();
    let same = ours == pairs.iter().copied().collect::<BTreeSet<_>>();
    let mut rows = vec![Row::check(
        "negative_label_pairs",
        f64::from(u8::from(!same)),
        0.0,
    )];
    // A pair may come up under more than one label; the negatives are the same under all.
    let own = |[a, p]: [u32; 2]| {
        let has = |pool: &&Pool| {
            let pairs = batch.candidate_pairs(pool);
            let is = |[x, y]: &[usize; 2]| [batch.labels[*x], batch.labels[*y]] == [a, p];
            pairs.iter().any(is)
        };
        pools.iter().find(has).map_or(a, |pool| pool.label)
    };
    let found = pairs
        .iter()
        .map(|&[a, p]| batch.negatives(own([a, p]), a, p));
    rows.push(padded(case, "negative_candidates", found));
    Ok(rows)
}

/// What we draw ourselves are candidates with allowed negatives, and as many as there should be.
fn drawn(batch: &Batch<'_>, pools: &[Pool]) -> Row {
    let triplets = batch.draw(pools, 1, 1);
    let mut allowed = BTreeSet::new();
    let mut expected = 0;
    for pool in pools {
        for [a, p] in batch.candidate_pairs(pool) {
            let negatives = batch.negatives(pool.label, batch.labels[a], batch.labels[p]);
            expected += usize::from(!negatives.is_empty());
            allowed.extend(negatives.into_iter().map(|n| [a, p, n]));
        }
    }
    let wrong = triplets.iter().filter(|t| !allowed.contains(*t)).count();
    let missing = expected.abs_diff(triplets.len());
    Row::check("our own draw is allowed", (wrong + missing) as f64, 0.0)
}

/// Rows of different lengths against a matrix padded with −1.
fn padded(case: &Case, name: &str, ours: impl Iterator<Item = Vec<usize>>) -> Row {
    let Some(expected) = case.outputs.get(name) else {
        return exact(case, name, &[]);
    };
    let ours: Vec<Vec<u32>> = ours
        .map(|row| row.into_iter().map(|c| c as u32).collect())
        .collect();
    let rows = expected.shape.first().copied().unwrap_or(0);
    let wrong = (0..rows.max(ours.len()))
        .filter(|&i| i >= rows || ours.get(i) != Some(&filled(expected, i)))
        .count();
    Row::check(format!("{name} [{rows} rows]"), wrong as f64, 0.0)
}
