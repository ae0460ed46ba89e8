//! UMAP and clusters beside an embedding.

use crate::args::Embed;
use crate::error::{Result, at, message};
use sc_data::Dataset;
use sc_data::io::h5ad::{Column, WriteTarget, write_obs, write_obsm};
use sc_run::overview::{Vectors, clusters, umap};
use serde_json::json;
use std::path::Path;

/// What is to be added, and the vectors for it.
pub(super) struct Views {
    umap: Option<String>,
    leiden: Option<(String, f64)>,
    vectors: Option<Vectors>,
}

impl Views {
    /// What `args` ask for, named after the embedding.
    pub(super) fn new(args: &Embed, key: &str) -> Result<Self> {
        let name = key.strip_prefix("X_").unwrap_or(key);
        let table = |path: &Path| {
            !path
                .extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("h5ad"))
        };
        if (args.umap || args.leiden.is_some()) && args.output.as_deref().is_some_and(table) {
            return Err(message(
                "--umap and --leiden are written into an .h5ad; give one with -o",
            ));
        }
        Ok(Self {
            umap: args.umap.then(|| format!("X_umap_{name}")),
            leiden: args.leiden.map(|r| (format!("leiden_{name}"), r)),
            vectors: None,
        })
    }

    /// Refuses to replace what is there, without `--force`.
    pub(super) fn may_add(&self, args: &Embed, dataset: &Dataset) -> Result<()> {
        let file = dataset.file();
        let umap = self.umap.iter().filter(|k| file.obsm_keys().contains(k));
        let leiden = self.leiden.iter().map(|(k, _)| k);
        let leiden = leiden.filter(|k| file.obs().has(k));
        match umap.chain(leiden).next() {
            Some(key) if !args.replace.allowed() => Err(at(
                dataset.path(),
                format!(
                    "'{key}' already exists; choose another name with --key, or pass --force to replace it"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Keeps vectors of a minibatch, where they are needed later.
    pub(super) fn keep(&mut self, cells: usize, rows: &[usize], values: &[f32]) {
        if self.umap.is_some() || self.leiden.is_some() {
            let dims = values.len() / rows.len().max(1);
            let vectors = self
                .vectors
                .get_or_insert_with(|| Vectors::new(cells, dims));
            vectors.put(rows, values);
        }
    }

    /// Adds them to the file.
    pub(super) fn add(&self, file: &Path) -> Result<()> {
        let Some(vectors) = &self.vectors else {
            return Ok(());
        };
        if let Some(key) = &self.umap {
            let plane = umap(vectors.view(), 0)?;
            let how = json!({ "umap": "15 neighbours, min_dist 0.5, seed 0" });
            write_obsm(file, &WriteTarget::InPlace, key, &plane, &how)?;
        }
        if let Some((key, resolution)) = &self.leiden {
            let found = clusters(vectors.view(), *resolution, 0)?;
            let count = found.iter().max().map_or(0, |c| c + 1);
            let names: Vec<String> = (0..count).map(|c| c.to_string()).collect();
            let column = (key.clone(), Column::from_codes(found, &names));
            let how = json!({ "leiden": { "neighbors": 15, "resolution": resolution, "seed": 0 } });
            write_obs(file, &WriteTarget::InPlace, &[column], Some((key, &how)))?;
        }
        Ok(())
    }
}
