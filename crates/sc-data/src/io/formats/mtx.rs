//! Matrix Market triplets of 10x: `matrix.mtx`, `barcodes.tsv` and `features.tsv` or `genes.tsv`,
//! plain or gzip, in a folder or named by the matrix (with any prefix, as in GEO).

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::view::View;
use crate::error::{DataError, Result};
use crate::genes::features::GENES;
use crate::io::gzip;
use crate::io::h5::{H5Source, Numbers};

/// Whether a folder holds a `matrix.mtx`.
pub(super) fn is_folder(path: &Path) -> bool {
    matrix_in(path).is_some()
}

/// Whether a file name is that of a triplet matrix.
pub(super) fn is_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.is_file() && (name.ends_with(".mtx") || name.ends_with(".mtx.gz"))
}

/// The matrix of a folder: `matrix.mtx`, else the only file with that suffix, as in GEO.
fn matrix_in(folder: &Path) -> Option<PathBuf> {
    let plain = ["matrix.mtx", "matrix.mtx.gz"].map(|n| folder.join(n));
    if let Some(found) = plain.into_iter().find(|p| p.is_file()) {
        return Some(found);
    }
    let mut prefixed = std::fs::read_dir(folder).ok()?.flatten().filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.ends_with("matrix.mtx") || name.ends_with("matrix.mtx.gz")
    });
    match (prefixed.next(), prefixed.next()) {
        (Some(only), None) => Some(only.path()),
        _ => None,
    }
}

/// Reads the three files into memory.
pub(super) fn open(path: &Path) -> Result<Arc<dyn H5Source>> {
    let matrix = match path.is_dir() {
        true => matrix_in(path).unwrap_or_else(|| path.join("matrix.mtx")),
        false => path.to_path_buf(),
    };
    let barcodes = table(&beside(&matrix, &["barcodes.tsv"])?)?;
    let features = table(&beside(&matrix, &["features.tsv", "genes.tsv"])?)?;
    let cells: Vec<String> = barcodes.into_iter().map(first).collect();
    let Triplets { shape, entries } = parse(&matrix)?;
    let turned = match (features.len(), cells.len()) {
        (f, c) if shape == [f, c] => false,
        // Some tools write cells by features.
        (f, c) if shape == [c, f] => true,
        (f, c) => {
            return Err(DataError::file(
                &matrix,
                format!(
                    "is {} x {}, which does not match {f} features and {c} barcodes next to it",
                    shape[0], shape[1]
                ),
            ));
        }
    };
    let bytes = |p: &Path| std::fs::metadata(p).map_or(0, |m| m.len());
    let mut view = View::new(path, bytes(&matrix) + 16 * entries.len() as u64);
    view.csr("X", cells.len(), features.len());
    let (indptr, indices, data) = rows(&entries, cells.len(), turned);
    view.hold("X/indptr", Numbers::I64(indptr));
    view.hold("X/indices", Numbers::U32(indices));
    view.hold("X/data", data);
    view.frame("obs", cells);
    let column =
        |k: usize| -> Option<Vec<String>> { features.iter().map(|f| f.get(k).cloned()).collect() };
    let (ids, names, kinds) = (column(0), column(1), column(2));
    view.frame("var", names.clone().or(ids.clone()).unwrap_or_default());
    if let (Some(ids), Some(_)) = (ids, names) {
        view.texts("var/gene_ids", ids);
    }
    if let Some(kinds) = kinds {
        if kinds.iter().any(|k| k == GENES) {
            view.want(GENES);
        }
        view.texts("var/feature_types", kinds);
    }
    Ok(Arc::new(view))
}

/// A file with one of these names next to the matrix, with the matrix's prefix, plain or gzip.
fn beside(matrix: &Path, names: &[&str]) -> Result<PathBuf> {
    let own = matrix.file_name().unwrap_or_default().to_string_lossy();
    let prefix = own
        .split_once("matrix.mtx")
        .map_or("", |(before, _)| before);
    let folder = matrix.parent().unwrap_or(Path::new(""));
    let candidates = names.iter().flat_map(|n| {
        let plain = folder.join(format!("{prefix}{n}"));
        [plain.clone(), folder.join(format!("{prefix}{n}.gz"))]
    });
    candidates.into_iter().find(|p| p.is_file()).ok_or_else(|| {
        DataError::file(
            matrix,
            format!(
                "has no {prefix}{} (or .gz) next to it",
                names.join(&format!(" or {prefix}"))
            ),
        )
    })
}

/// Fields of every line of a table without a header.
fn table(path: &Path) -> Result<Vec<Vec<String>>> {
    let mut out = Vec::new();
    for line in gzip::reader(path)?.lines() {
        let line = line.map_err(|e| DataError::io(path, e))?;
        out.push(
            line.trim_end_matches('\r')
                .split('\t')
                .map(str::to_owned)
                .collect(),
        );
    }
    Ok(out)
}

fn first(fields: Vec<String>) -> String {
    fields.into_iter().next().unwrap_or_default()
}

struct Triplets {
    shape: [usize; 2],
    /// Row, column (from 0) and value.
    entries: Vec<(u32, u32, f64)>,
}

fn parse(path: &Path) -> Result<Triplets> {
    let mut reader = gzip::reader(path)?;
    let mut line = String::new();
    let mut number = 0u64;
    let mut next = |line: &mut String| -> Result<bool> {
        line.clear();
        number += 1;
        let read = reader.read_line(line).map_err(|e| {
            DataError::file(
                path,
                format!("line {number}: {e}; the file is truncated or damaged"),
            )
        })?;
        Ok(read > 0)
    };
    next(&mut line)?;
    let header: Vec<String> = line.split_whitespace().map(str::to_lowercase).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let pattern = match header[..] {
        [
            "%%matrixmarket",
            "matrix",
            "coordinate",
            "integer" | "real",
            "general",
        ] => false,
        [
            "%%matrixmarket",
            "matrix",
            "coordinate",
            "pattern",
            "general",
        ] => true,
        _ => {
            return Err(DataError::file(
                path,
                format!(
                    "line 1: expected '%%MatrixMarket matrix coordinate integer general', found '{}'",
                    line.trim().chars().take(80).collect::<String>()
                ),
            ));
        }
    };
    let mut at = 1u64;
    let mut sizes: Option<[u64; 3]> = None;
    let mut entries = Vec::new();
    while next(&mut line)? {
        at += 1;
        let text = line.trim();
        if text.is_empty() || text.starts_with('%') {
            continue;
        }
        let bad = |what: &str| {
            let shown: String = text.chars().take(80).collect();
            DataError::file(path, format!("line {at}: {what}: '{shown}'"))
        };
        let mut fields = text.split_ascii_whitespace();
        let mut whole = || fields.next().and_then(|f| f.parse::<u64>().ok());
        let (Some(row), Some(column)) = (whole(), whole()) else {
            return Err(bad("expected row and column"));
        };
        let Some([rows, columns, _]) = sizes else {
            let Some(count) = whole() else {
                return Err(bad("expected rows, columns and number of entries"));
            };
            if row > u64::from(u32::MAX) || column > u64::from(u32::MAX) {
                return Err(bad("more rows or columns than can be read"));
            }
            sizes = Some([row, column, count]);
            continue;
        };
        if row == 0 || column == 0 || row > rows || column > columns {
            return Err(bad(&format!("is out of range for {rows} x {columns}")));
        }
        let value = match (pattern, fields.next()) {
            (true, _) => 1.0,
            (false, Some(value)) => value.parse().map_err(|_| bad("expected a number"))?,
            (false, None) => return Err(bad("expected a value")),
        };
        entries.push((row as u32 - 1, column as u32 - 1, value));
    }
    let Some([rows, columns, count]) = sizes else {
        return Err(DataError::file(path, "ends before the size of the matrix"));
    };
    if entries.len() as u64 != count {
        return Err(DataError::file(
            path,
            format!(
                "declares {count} entries but holds {}; it is truncated: copy or download it again",
                entries.len()
            ),
        ));
    }
    Ok(Triplets {
        shape: [rows as usize, columns as usize],
        entries,
    })
}

/// Entries by cell; `turned` when the matrix has cells as rows. Values are kept in single precision
/// where that changes no integer.
fn rows(entries: &[(u32, u32, f64)], cells: usize, turned: bool) -> (Vec<i64>, Vec<u32>, Numbers) {
    let place = |e: &(u32, u32, f64)| if turned { (e.0, e.1) } else { (e.1, e.0) };
    let mut indptr = vec![0i64; cells + 1];
    for entry in entries {
        indptr[place(entry).0 as usize + 1] += 1;
    }
    for cell in 0..cells {
        indptr[cell + 1] += indptr[cell];
    }
    let mut next = indptr.clone();
    let (mut indices, mut data) = (vec![0; entries.len()], vec![0.0; entries.len()]);
    for entry in entries {
        let (cell, gene) = place(entry);
        let at = next[cell as usize] as usize;
        (indices[at], data[at]) = (gene, entry.2);
        next[cell as usize] += 1;
    }
    let is_exact = |v: &f64| v.fract() != 0.0 || f64::from(*v as f32) == *v;
    let data = match data.iter().all(is_exact) {
        true => Numbers::F32(data.into_iter().map(|v| v as f32).collect()),
        false => Numbers::F64(data),
    };
    (indptr, indices, data)
}
