//! `scfm network`: which genes attend to which, over all cells of a file.

mod known;

use crate::applied::{Applied, Matching};
use crate::args::{Heads, Network};
use crate::error::{Result, at};
use crate::outputs::{check_ending, with_json};
use known::Known;
use sc_data::DataError;
use sc_data::atomic::{write_atomic, write_bytes_atomic};
use sc_data::genes::Across;
use sc_models::scprint::network::{Network as Weights, Scores};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A network, and what its rows begin with: its head as `layer.head`, both counted from 0, or nothing.
type Named = (String, Weights);

pub(crate) fn run(args: &Network) -> Result<()> {
    check_ending(&args.output, &[".tsv"])?;
    let inputs = [Some(&args.input.file), args.known.as_ref()];
    let inputs: Vec<&Path> = inputs.into_iter().flatten().map(PathBuf::as_path).collect();
    let beside = with_json(&args.output);
    for output in [&args.output, &beside] {
        args.replace.check(output, &inputs)?;
    }
    let device = sc_models::device::open(&args.device)?;
    // Read before any work is done.
    let known = args.known.as_deref().map(Known::read).transpose()?;
    let how = Matching {
        across: Across::Same,
        min_overlap: args.min_overlap,
        batch: args.batch.as_deref(),
    };
    let applied = Applied::open(&args.model, &args.input, &how)?.identified()?;
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
    let one = |n: Weights| -> Box<dyn Iterator<Item = Named>> {
        Box::new(std::iter::once((String::new(), only_genes(n))))
    };
    let mut columns = "gene\tattends_to\tweight";
    let networks = match (&known, args.heads) {
        (Some(known), _) => {
            let choice = known.choose(averages, &genes, model.config.seed)?;
            println!("{choice}");
            provenance["judged"] = serde_json::to_value(&choice)?;
            one(averages.mean(Some(&choice.heads), Scores::Softmax))
        }
        (None, Heads::Mean) => one(averages.mean(None, Scores::Softmax)),
        (None, Heads::Max) => one(averages.max(Scores::Softmax)),
        (None, Heads::Each) => {
            columns = "head\tgene\tattends_to\tweight";
            Box::new((0..averages.heads()).map(|h| {
                let [layer, head] = averages.place(h);
                let network = averages.head(h, Scores::Softmax);
                (format!("{layer}.{head}\t"), only_genes(network))
            }))
        }
    };
    write_atomic(&args.output, |file| {
        let written = table(file, columns, networks, &genes, args.top);
        written.map_err(|e| DataError::io(&args.output, e))
    })?;
    let json = serde_json::to_vec_pretty(&provenance)?;
    Ok(write_bytes_atomic(&beside, &json)?)
}

/// Edges, the strongest of every gene first; an edge of a gene to itself is none.
fn table(
    file: &mut File,
    columns: &str,
    networks: impl Iterator<Item = Named>,
    genes: &[String],
    top: usize,
) -> std::io::Result<()> {
    let mut out = BufWriter::new(file);
    writeln!(out, "{columns}")?;
    let kept = if top == 0 { genes.len() } else { top };
    for (head, network) in networks {
        let rows = network.weights.chunks(network.size.max(1));
        for (i, row) in rows.enumerate() {
            let mut order: Vec<usize> = (0..row.len()).filter(|&j| j != i).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            if let Some(j) = row.iter().position(|w| !w.is_finite()) {
                return Err(std::io::Error::other(format!(
                    "{head}{} to {}: {} is not finite, so nothing was written; look for weights that \
                     are not finite",
                    genes[i], genes[j], row[j]
                )));
            }
            for j in order.into_iter().take(kept) {
                writeln!(out, "{head}{}\t{}\t{}", genes[i], genes[j], row[j])?;
            }
        }
    }
    out.flush()
}
