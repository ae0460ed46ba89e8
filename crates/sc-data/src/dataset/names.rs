//! Names of the files of a data set.

use std::collections::BTreeSet;
use std::path::Path;

/// Candidate names of a file: its stem, then that with the parent folder, and so on.
pub(super) fn names_of(path: &Path) -> Vec<String> {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let stem = whole.file_stem().unwrap_or_default();
    let mut name = stem.to_string_lossy().into_owned();
    let mut names = vec![name.clone()];
    for folder in whole.ancestors().skip(1).filter_map(Path::file_name) {
        name = format!("{}/{name}", folder.to_string_lossy());
        names.push(name.clone());
    }
    names
}

/// One name per path: the stem, with as many parent folders as are needed to make them distinct.
pub(super) fn file_names(paths: &[&Path]) -> Vec<String> {
    let all: Vec<Vec<String>> = paths.iter().map(|p| names_of(p)).collect();
    let longest = all.iter().map(Vec::len).max().unwrap_or(0);
    let named = |depth: usize| -> Vec<String> {
        let at = |names: &Vec<String>| names.get(depth).or(names.last()).cloned();
        all.iter().map(|n| at(n).unwrap_or_default()).collect()
    };
    let distinct = |names: &[String]| names.iter().collect::<BTreeSet<_>>().len();
    let found = (0..longest)
        .map(named)
        .find(|names| distinct(names) == names.len());
    // Files that differ only in their extension, or parts of one file.
    found.unwrap_or_else(|| {
        let numbered = named(0).into_iter().zip(1..);
        numbered.map(|(name, k)| format!("{name} ({k})")).collect()
    })
}
