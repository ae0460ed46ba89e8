//! What may be written where: the ending says the format, inputs are never written over, and what
//! is there already is replaced only on request.

use crate::error::{Result, at};
use sc_data::io::formats::files_of;
use std::path::{Path, PathBuf};

/// Whether an output may take the place of a file.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Replace {
    /// Replace an output that exists already; an input is never written over
    #[arg(long)]
    force: bool,
}

impl Replace {
    /// Whether what is there may be replaced.
    pub(crate) fn allowed(self) -> bool {
        self.force
    }

    /// Refuses to write `output` over one of `inputs`, or over another file unasked.
    pub(crate) fn check(self, output: &Path, inputs: &[&Path]) -> Result<()> {
        for input in inputs {
            let files = files_of(input);
            if let Some(same) = files.iter().find(|f| is_within(output, f)) {
                return Err(at(
                    output,
                    format!(
                        "is the input {} or lies in it; name another file to write",
                        same.display()
                    ),
                ));
            }
        }
        if !self.force && output.symlink_metadata().is_ok() {
            return Err(at(
                output,
                "exists already; name another file, or pass --force to replace it",
            ));
        }
        Ok(())
    }

    /// The same of a folder, which may be there as long as it is empty.
    pub(crate) fn check_folder(self, output: &Path, inputs: &[&Path]) -> Result<()> {
        let is_empty = std::fs::read_dir(output).is_ok_and(|mut members| members.next().is_none());
        let replace = Self {
            force: self.force || is_empty,
        };
        replace.check(output, inputs)
    }
}

/// Refuses an output whose ending names none of the formats that are written.
pub(crate) fn check_ending(output: &Path, endings: &[&str]) -> Result<()> {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase();
    if endings.iter().any(|e| name.ends_with(e)) {
        return Ok(());
    }
    let listed = match endings {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        all => all.concat(),
    };
    Err(at(
        output,
        format!("the ending names the format, and only {listed} can be written here"),
    ))
}

/// The file with the provenance of `output` that lies beside it.
pub(crate) fn with_json(output: &Path) -> PathBuf {
    let mut beside = output.as_os_str().to_owned();
    beside.push(".json");
    beside.into()
}

/// Whether `path` is `other`, or lies in the folder that `other` is; links are followed.
fn is_within(path: &Path, other: &Path) -> bool {
    let (Some(path), Ok(other)) = (resolved(path), other.canonicalize()) else {
        return false;
    };
    path.starts_with(other)
}

/// The path without links; of a file that is not there yet, its folder's with its name.
fn resolved(path: &Path) -> Option<PathBuf> {
    if let Ok(path) = path.canonicalize() {
        return Some(path);
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
    Some(folder.join(path.file_name()?))
}
