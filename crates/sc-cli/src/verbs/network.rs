//! `scfm network`: which genes attend to which, over all cells of a file.

mod known;

use crate::applied::{Applied, Matching};
use crate::args::{Heads, Network};
use crate::error::{Result, at};
use known::Known;
use sc_data::atomic::{write_atomic, write_bytes_atomic};
use sc_data::genes::Across;
use sc_models::scprint::network::{Averages, Network as Weights, Scores};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// A network and the head it is of, if it is one head's.
type Named = (Option<String>, Weights);

pub(crate) fn run(args: &Network) -> Result<()> {
    let device = sc_models::device::open(&args.device)?;
    // Read before any work is done.
    let known = args.known.as_deref().map(Known::read).transpose()?;
    let how = Matching {
        across: Across::Same,
        min_overlap: args.min_overlap,
        batch: args.batch.as_deref(),
    };
    let applied = Applied::open(&args.model, &args.input, &how)?;
    let mut provenance = applied.provenance(&args.device);
    let Applied {
        model,
        task,
        corpus,
        ..
    } = applied;
    let found = task.attention(model.weights, &corpus, &device)?;
    let found = found.ok_or_else(|| {
        let name = &model.config.spec.architecture;
        at(
            &args.model,
            format!(
                "{name} does not attend from genes to genes of a cell; take a model of scprint"
            ),
        )
    })?;
    let names = |place: &usize| model.genes.names[*place].clone();
    let genes: Vec<String> = found.genes.iter().map(names).collect();
    let averages = &found.averages;
    let only_genes = |n: Weights| n.without_first(averages.cell_tokens);
    let networks: Box<dyn Iterator<Item = Named>> = match (&known, args.heads) {
        (Some(known), _) => {
            let choice = known.choose(averages, &genes, model.config.seed)?;
            println!("{choice}");
            provenance["heads"] = serde_json::json!(choice.heads);
            provenance["judged"] = serde_json::to_value(&choice)?;
            let heads = Some(choice.heads.as_slice());
            let mean = averages.mean(heads, Scores::Softmax);
            Box::new(std::iter::once((None, only_genes(mean))))
        }
        (None, Heads::Mean) => {
            let mean = averages.mean(None, Scores::Softmax);
            Box::new(std::iter::once((None, only_genes(mean))))
        }
        (None, Heads::Max) => {
            let max = averages.max(Scores::Softmax);
            Box::new(std::iter::once((None, only_genes(max))))
        }
        (None, Heads::Each) => Box::new((0..averages.heads()).map(|h| {
            let one = averages.head(h, Scores::Softmax);
            (Some(name(averages, h)), only_genes(one))
        })),
    };
    write_atomic(&args.output, |file| table(file, networks, &genes, args.top))?;
    let mut beside = args.output.clone().into_os_string();
    beside.push(".json");
    let json = serde_json::to_vec_pretty(&provenance)?;
    Ok(write_bytes_atomic(&PathBuf::from(beside), &json)?)
}

/// A head as `layer.head`, both counted from 0.
fn name(averages: &Averages, head: usize) -> String {
    let [layer, head] = averages.place(head);
    format!("{layer}.{head}")
}

/// Edges, the strongest of every gene first; an edge of a gene to itself is none.
fn table(
    file: &mut File,
    networks: impl Iterator<Item = Named>,
    genes: &[String],
    top: usize,
) -> sc_data::error::Result<()> {
    let fault = |e| sc_data::DataError::io("the table", e);
    let mut out = BufWriter::new(file);
    let mut header = Some(());
    for (head, network) in networks {
        let of_one = head.is_some();
        if header.take().is_some() {
            let column = if of_one { "head\t" } else { "" };
            writeln!(out, "{column}gene\tattends_to\tweight").map_err(fault)?;
        }
        let n = network.size;
        for (i, row) in network.weights.chunks(n.max(1)).enumerate() {
            let mut order: Vec<usize> = (0..n).filter(|&j| j != i).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            let kept = if top == 0 { n } else { top };
            for j in order.into_iter().take(kept) {
                if let Some(head) = &head {
                    write!(out, "{head}\t").map_err(fault)?;
                }
                writeln!(out, "{}\t{}\t{}", genes[i], genes[j], row[j]).map_err(fault)?;
            }
        }
    }
    out.flush().map_err(fault)
}
