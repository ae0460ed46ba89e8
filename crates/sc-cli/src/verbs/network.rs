//! `scfm network`: which genes attend to which, over all cells of a file.

use crate::args::{Heads, Network};
use crate::error::{Result, at};
use crate::outputs::{check_ending, with_json};
use crate::verbs::load_model;
use sc_data::DataError;
use sc_data::genes::Across;
use sc_data::io::atomic::{write_atomic, write_bytes_atomic};
use sc_eval::grn::KnownEdges;
use sc_models::scprint::network::{Network as Weights, Scores};
use sc_run::network::{Named, choose, write_table};
use sc_train::embed::{Embedder, Matching};
use sc_train::registry::with_attention;
use std::path::{Path, PathBuf};

pub(crate) fn run(args: &Network) -> Result<()> {
    check_ending(&args.output, &[".tsv"])?;
    let inputs = [Some(&args.input.file), args.known.as_ref()];
    let inputs: Vec<&Path> = inputs.into_iter().flatten().map(PathBuf::as_path).collect();
    let beside = with_json(&args.output);
    for output in [&args.output, &beside] {
        args.replace.check_beside(output, &inputs, &args.model)?;
    }
    let device = sc_models::device::open(&args.device)?;
    // Read before any work is done.
    let known = args.known.as_deref().map(read_edges).transpose()?;
    let how = Matching {
        across: Across::Same,
        min_overlap: args.min_overlap,
        batch: args.batch.clone(),
    };
    let model = load_model(&args.model)?;
    let dataset = args.input.open()?;
    let mut embedder = Embedder::new(model, &dataset, &how)?.identified()?;
    if let Some(warning) = embedder.empty_cells() {
        eprintln!("warning: {warning}");
    }
    let mut provenance = embedder.provenance(&args.device, env!("SCFM_REVISION"))?;
    let found = embedder.attention(&device)?;
    let model = &embedder.model;
    let found = found.ok_or_else(|| {
        let name = &model.spec.architecture;
        at(
            &args.model,
            format!(
                "{name} has no attention between genes; use a model of {}",
                with_attention().join(" or ")
            ),
        )
    })?;
    let names = |place: &usize| model.data.genes[*place].clone();
    let genes: Vec<String> = found.genes.iter().map(names).collect();
    let averages = &found.averages;
    let only_genes = |n: Weights| n.without_first(averages.cell_tokens);
    let one = |n: Weights| -> Box<dyn Iterator<Item = Named>> {
        Box::new(std::iter::once((String::new(), only_genes(n))))
    };
    let mut columns = "gene\tattends_to\tweight";
    let networks = match (&known, args.heads) {
        (Some(known), _) => {
            let path = args.known.as_deref().unwrap_or(&args.output);
            let choice =
                choose(known, averages, &genes, model.data.seed).map_err(|e| at(path, e))?;
            println!("{choice}");
            provenance["evaluated"] = serde_json::to_value(&choice)?;
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
        let written = write_table(file, columns, networks, &genes, args.top);
        written.map_err(|e| DataError::io(&args.output, e))
    })?;
    let json = serde_json::to_vec_pretty(&provenance)?;
    Ok(write_bytes_atomic(&beside, &json)?)
}

fn read_edges(path: &Path) -> Result<KnownEdges> {
    let bytes = std::fs::read(path).map_err(|e| at(path, e))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let first = e.utf8_error().valid_up_to();
        let what = "use one edge per line: regulator, tab, target";
        at(path, format!("is not text (at byte {first}); {what}"))
    })?;
    let known = KnownEdges::parse(&text).map_err(|e| at(path, e))?;
    if let Some([from, to]) = &known.header {
        let what = format!("the first line is a header; edges go from '{from}' to '{to}'");
        note!("{}: {what}", path.display());
    }
    Ok(known)
}
