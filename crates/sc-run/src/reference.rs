//! One reference for all runs on a data set and split, shared by separate processes.

use crate::error::Result;
use sc_data::io::atomic::{hash_file, write_bytes_atomic};
use sc_data::{DataError, io};
use sc_eval::benchmark::{EvalData, Reference};
use std::path::{Path, PathBuf};

/// The reference of `data`: from the cache folder, where a process of the same program left it, else
/// fitted and left there. A cache that cannot be read or written costs time and nothing else.
///
/// # Errors
/// [`RunError`](crate::RunError) when it cannot be fitted.
pub fn reference(data: &EvalData) -> Result<Reference> {
    // Without knowing the program nobody knows whether an earlier fit is what this one would be.
    let program = std::env::current_exe()
        .ok()
        .and_then(|p| hash_file(&p).ok());
    match program {
        Some(program) => reference_in(&io::cache_folder().join("references"), &program, data),
        None => Ok(Reference::fit(data)?),
    }
}

/// The same in `folder`, by the program of that hash.
///
/// # Errors
/// [`RunError`](crate::RunError) when it cannot be fitted.
pub fn reference_in(folder: &Path, program: &str, data: &EvalData) -> Result<Reference> {
    let key = Reference::key(data);
    let path = file(folder, program, &key);
    let earlier = std::fs::read(&path).ok();
    if let Some(found) = earlier.and_then(|bytes| Reference::from_bytes(&bytes, &key, data).ok()) {
        tracing::info!(path = %path.display(), "reference of an earlier run");
        return Ok(found);
    }
    let fitted = Reference::fit(data)?;
    let bytes = fitted.to_bytes(&key)?;
    let written = std::fs::create_dir_all(folder)
        .map_err(|e| DataError::io(folder, e))
        .and_then(|()| write_bytes_atomic(&path, &bytes));
    if let Err(why) = written {
        tracing::info!(%why, "the reference is not kept for other runs");
    }
    Ok(fitted)
}

fn file(folder: &Path, program: &str, key: &str) -> PathBuf {
    let short = |hash: &str| hash.get(..16).unwrap_or(hash).to_owned();
    folder.join(format!("{}-{}.safetensors", short(key), short(program)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sc_data::Dataset;
    use sc_data::io::store::CountsPolicy;
    use sc_data::simulate::{SimConfig, simulate_to_file};
    use sc_eval::benchmark::Design;

    #[test]
    fn a_second_run_reads_the_fit_of_the_first_and_another_program_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cells.h5ad");
        let simulated = SimConfig {
            cells: 200,
            genes: 60,
            ..SimConfig::default()
        };
        simulate_to_file(&simulated, &file, |_| ()).unwrap();
        let dataset = Dataset::open(&file, &CountsPolicy::RequireCounts).unwrap();
        let data = EvalData::open(&dataset, &Design::default()).unwrap();
        let folder = folder.path().join("references");
        let reference = |program| reference_in(&folder, program, &data).unwrap();
        // The seconds of the fit are part of what is read, so an equal text means it was not fitted again.
        let first = format!("{:?}", reference("one"));
        assert_eq!(format!("{:?}", reference("one")), first);
        reference("two");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        // A damaged file is fitted again.
        for file in std::fs::read_dir(&folder).unwrap().flatten() {
            std::fs::write(file.path(), b"half").unwrap();
        }
        reference("one");
    }
}
