//! Where columns for cells are written: into their file, a copy of it, or a table.

use crate::dataset::Dataset;
use crate::error::{DataError, Result};
use crate::io::atomic::{Temporary, Unfinished, write_bytes_atomic};
use crate::io::h5ad::{Column, WriteTarget, to_h5ad, write_obs};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

/// Supported file extensions of columns.
pub const ENDINGS: [&str; 2] = [".h5ad", ".tsv"];

/// Checks that a file can be created at `output`, or that of the data set replaced; before any work is
/// done.
///
/// # Errors
/// [`DataError::Io`] where it cannot.
pub fn check_writable(dataset: &Dataset, output: Option<&Path>) -> Result<()> {
    Temporary::beside(output.unwrap_or(dataset.path())).map(drop)
}

/// Writes `columns`, one value per cell of `dataset`, which is a single file: into `obs` of a copy at
/// `output`, of the file itself where no output is given, or as a table with the names of the cells. An
/// `.h5ad` gets the `note` as `uns["scfm"][key]`.
///
/// Returns the parts of another format that could not be written into an `.h5ad`.
///
/// # Errors
/// Those of [`write_obs`] and [`to_h5ad`].
pub fn write_columns(
    dataset: &Dataset,
    output: Option<&Path>,
    columns: &[(String, Column)],
    note: (&str, &Value),
) -> Result<Vec<String>> {
    let file = dataset.file();
    let Some(path) = output else {
        write_obs(file.path(), &WriteTarget::InPlace, columns, Some(note))?;
        return Ok(Vec::new());
    };
    let target = WriteTarget::Copy(path.to_path_buf());
    if path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("tsv"))
    {
        table(&file.obs_names()?, path, columns)?;
        return Ok(Vec::new());
    }
    if file.source().format() == "HDF5" {
        write_obs(file.path(), &target, columns, Some(note))?;
        return Ok(Vec::new());
    }
    // Another format is first written as a temporary .h5ad, and the columns added to it.
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let plain = tempfile::Builder::new()
        .prefix(".scfm-")
        .suffix(".h5ad")
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .map_err(|e| DataError::io(path, e))?;
    let _listed = Unfinished::at(plain.path());
    let left_out = to_h5ad(file, plain.path(), |_, _| {})?;
    write_obs(plain.path(), &target, columns, Some(note))?;
    Ok(left_out)
}

fn table(cells: &[String], path: &Path, columns: &[(String, Column)]) -> Result<()> {
    // A tab or a line break would be read as the end of a value.
    let plain = |text: &str| text.replace(['\t', '\n', '\r'], " ");
    let mut text = String::from("cell");
    for (name, _) in columns {
        text.push('\t');
        text.push_str(&plain(name));
    }
    text.push('\n');
    for (row, cell) in cells.iter().enumerate() {
        text.push_str(&plain(cell));
        for (_, values) in columns {
            let value = match values {
                Column::Floats(v) => format!("{:.6}", v[row]),
                other => other.text(row).unwrap_or_default(),
            };
            let _ = write!(text, "\t{}", plain(&value));
        }
        text.push('\n');
    }
    write_bytes_atomic(path, text.as_bytes())
}
