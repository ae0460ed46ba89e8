//! Adding columns to `obs` of an AnnData file without changing anything else.

use std::path::Path;

use super::edit::{self, Draft, WriteTarget};
use super::write::write_column;
use super::{Column, H5ad};
use crate::error::{DataError, Result};
use crate::io::h5::NodeKind;
use crate::io::h5::writer::{text, wrap};
use serde_json::Value;

/// Adds or replaces columns of `obs`, one value per cell, and where a `note` is given the JSON text
/// `uns/scfm/<key>`.
///
/// Works on a temporary copy in the folder of the destination, which is verified, flushed to disk
/// and renamed: whatever happens, the destination is the old file or the complete new one.
///
/// # Errors
/// [`DataError::Invalid`] for an invalid name, a wrong number of values, or a number that is NaN or
/// infinite; [`DataError::Io`] when a file cannot be read or written; [`DataError::File`] when
/// `source` is not an `.h5ad`, is too old for new columns (anndata 0.6), or does not read back
/// identically.
pub fn write_obs(
    source: &Path,
    target: &WriteTarget,
    columns: &[(String, Column)],
    note: Option<(&str, &Value)>,
) -> Result<()> {
    let lock = edit::lock(source, target)?;
    let before = H5ad::open(source)?;
    if before.source().format() != "HDF5" {
        return Err(DataError::file(
            source,
            "is not an .h5ad, so columns cannot be added to it; convert it first (scfm convert --to h5ad)",
        ));
    }
    if before.source().kind("obs")? != Some(NodeKind::Group) {
        return Err(DataError::file(
            source,
            "obs is a table in the format of anndata 0.6, which cannot be extended; save the file again \
             with a current anndata first",
        ));
    }
    if let Some((key, _)) = note {
        check_note(&before, key)?;
    }
    for (name, values) in columns {
        if name.is_empty() || name.contains('/') || name == before.obs().index_name() {
            return Err(DataError::invalid(format!(
                "'{name}' cannot be a column of obs"
            )));
        }
        if values.len() != before.n_obs() {
            return Err(DataError::invalid(format!(
                "obs['{name}']: {} values for {} cells of {}",
                values.len(),
                before.n_obs(),
                source.display()
            )));
        }
    }
    for (name, values) in columns {
        if let Column::Floats(values) = values
            && let Some(cell) = values.iter().position(|v| !v.is_finite())
        {
            return Err(DataError::invalid(format!(
                "obs['{name}']: cell {cell}: {} is not finite, so nothing was written",
                values[cell]
            )));
        }
    }
    let draft = Draft::of(source, target, lock)?;
    wrap(draft.destination(), add(&before, &draft, columns, note))?;
    let after = H5ad::open(draft.path()).map_err(|e| draft.fault(&e.to_string()))?;
    for (name, values) in columns {
        let found = after.obs_column(name);
        let found = found.map_err(|e| draft.fault(&e.to_string()))?;
        if (0..values.len()).any(|k| found.text(k) != values.text(k)) {
            return Err(draft.fault(&format!("other values of obs['{name}']")));
        }
    }
    let mut ours: Vec<String> = columns.iter().map(|c| format!("obs/{}", c.0)).collect();
    ours.extend(note.map(|(key, _)| format!("uns/scfm/{key}")));
    draft.compare(&before, &**after.source(), &ours)?;
    draft.publish()
}

/// Refuses a key that is no name, and a file whose `uns` cannot be extended.
fn check_note(before: &H5ad, key: &str) -> Result<()> {
    if key.is_empty() || key.contains('/') || key == "." {
        return Err(DataError::invalid(format!(
            "'{key}' is not a valid name in uns"
        )));
    }
    for group in ["uns", "uns/scfm"] {
        if before.source().kind(group)? == Some(NodeKind::Dataset) {
            return Err(DataError::file(
                before.path(),
                format!(
                    "{group} is a table in the format of anndata 0.6, which cannot be extended; save the file \
                     again with a current anndata first"
                ),
            ));
        }
    }
    Ok(())
}

fn add(
    before: &H5ad,
    draft: &Draft,
    columns: &[(String, Column)],
    note: Option<(&str, &Value)>,
) -> Result<(), rust_hdf5::Hdf5Error> {
    let open = draft.open()?;
    let file = open.get()?;
    let obs = file.root_group().group("obs")?;
    let mut order = before.obs().columns().to_vec();
    for (name, values) in columns {
        edit::delete(file, before, &format!("obs/{name}"))?;
        write_column(&obs, name, values)?;
        if !order.contains(name) {
            order.push(name.clone());
        }
    }
    let order: Vec<&str> = order.iter().map(String::as_str).collect();
    obs.set_attr_string_array("column-order", &order)?;
    drop(obs);
    if let Some((key, said)) = note {
        edit::delete(file, before, &format!("uns/scfm/{key}"))?;
        text(&edit::notes(file)?, key, &said.to_string())?;
    }
    open.close()
}
