//! Output paths: the extension defines the format, inputs are never overwritten, and existing
//! files are replaced only on request.

use crate::error::{Result, at};
use sc_data::io::formats::files_of;
use std::path::{Path, PathBuf};

/// Whether an output may replace a file.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Replace {
    /// Replace an existing output; inputs are never overwritten
    #[arg(long)]
    force: bool,
}

impl Replace {
    /// Whether existing files may be replaced.
    pub(crate) fn allowed(self) -> bool {
        self.force
    }

    /// Refuses to overwrite one of `inputs` with `output`, or another file without `--force`.
    pub(crate) fn check(self, output: &Path, inputs: &[&Path]) -> Result<()> {
        for input in inputs {
            let files = files_of(input);
            if let Some(same) = files.iter().find(|f| is_within(output, f)) {
                return Err(at(
                    output,
                    format!(
                        "is the input {} or inside it; choose another output file",
                        same.display()
                    ),
                ));
            }
        }
        if !self.force && output.symlink_metadata().is_ok() {
            return Err(at(
                output,
                "already exists; choose another file, or pass --force to replace it",
            ));
        }
        Ok(())
    }

    /// The same for the output of a verb that reads the folder of a `model`, whose files are inputs; others
    /// may lie beside them.
    pub(crate) fn check_beside(self, output: &Path, inputs: &[&Path], model: &Path) -> Result<()> {
        let files = std::fs::read_dir(model).into_iter().flatten().flatten();
        let files: Vec<PathBuf> = files.map(|f| f.path()).collect();
        let all = inputs
            .iter()
            .copied()
            .chain(files.iter().map(PathBuf::as_path));
        self.check(output, &all.collect::<Vec<_>>())
    }

    /// The same for a folder, which may exist as long as it is empty.
    pub(crate) fn check_folder(self, output: &Path, inputs: &[&Path]) -> Result<()> {
        let is_empty = std::fs::read_dir(output).is_ok_and(|mut members| members.next().is_none());
        let replace = Self {
            force: self.force || is_empty,
        };
        replace.check(output, inputs)
    }
}

/// Refuses an output whose extension is not a supported format.
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
    Err(at(output, format!("the file extension must be {listed}")))
}

/// The file with the provenance of `output`, next to it.
pub(crate) fn with_json(output: &Path) -> PathBuf {
    let mut beside = output.as_os_str().to_owned();
    beside.push(".json");
    beside.into()
}

/// Whether `path` is `other`, or inside the folder `other`; links are followed.
fn is_within(path: &Path, other: &Path) -> bool {
    let (Some(path), Ok(other)) = (resolved(path), other.canonicalize()) else {
        return false;
    };
    path.starts_with(other)
}

/// The path without links; for a missing file, its folder's with its name.
fn resolved(path: &Path) -> Option<PathBuf> {
    if let Ok(path) = path.canonicalize() {
        return Some(path);
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
    Some(folder.join(path.file_name()?))
}
