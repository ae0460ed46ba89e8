//! Tables that come with a vocabulary: UCE's chromosomes, Nicheformer's technology means, Geneformer's
//! medians.

use std::collections::HashMap;
use std::path::Path;

use super::{LIMIT, Pickled};
use crate::error::{DataError, Result};
use crate::io::gzip;
use crate::tokens::uce::ChromosomeRow;

/// Reads UCE's `species_chrom.csv`: columns `species`, `gene_symbol`, `chromosome`, `start`, in any
/// order and among others.
///
/// # Errors
/// [`DataError::Io`] when the system refuses; [`DataError::File`] names a missing column, or the line and
/// value that is no position.
pub fn chromosome_rows(path: &Path) -> Result<Vec<ChromosomeRow>> {
    let bytes = gzip::read(path, LIMIT)?;
    let text = String::from_utf8_lossy(&bytes);
    let fail = |message: String| DataError::file(path, message);
    let mut lines = text.lines();
    let header: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .collect();
    let column = |names: &[&str]| {
        header
            .iter()
            .position(|h| names.contains(h))
            .ok_or_else(|| fail(format!("line 1: has no column '{}'", names[0])))
    };
    let columns = [
        column(&["species"])?,
        column(&["gene_symbol", "symbol"])?,
        column(&["chromosome", "chrom"])?,
        column(&["start"])?,
    ];
    let mut rows = Vec::new();
    for (number, line) in (2..).zip(lines).filter(|(_, l)| !l.trim().is_empty()) {
        let fields: Vec<&str> = line
            .split(',')
            .map(|f| f.trim().trim_matches('"'))
            .collect();
        let mut found = columns
            .iter()
            .map(|&c| fields.get(c).copied().unwrap_or_default());
        let mut next = || found.next().unwrap_or_default().to_owned();
        let (species, symbol, chromosome, start) = (next(), next(), next(), next());
        // pandas writes integers of a column with gaps as 5.0.
        let start = start.strip_suffix(".0").unwrap_or(&start).parse();
        rows.push(ChromosomeRow {
            species,
            symbol: symbol.to_uppercase(),
            chromosome,
            start: start
                .map_err(|_| fail(format!("line {number}: start is not a position: '{line}'")))?,
        });
    }
    Ok(rows)
}

/// Reads a one-dimensional array of float32 or float64 (`.npy`, also `.npy.gz`) as float32, such as
/// Nicheformer's technology means.
///
/// # Errors
/// [`DataError::Io`] when the system refuses; [`DataError::File`] when it is no such array.
pub fn npy_vector(path: &Path) -> Result<Vec<f32>> {
    let bytes = gzip::read(path, LIMIT)?;
    parse_npy(&bytes).ok_or_else(|| {
        DataError::file(
            path,
            "is not a .npy array of float32 or float64 with one axis; save it with numpy.save",
        )
    })
}

/// One number a gene.
#[derive(Clone, Debug, PartialEq)]
pub enum GeneValues {
    /// In an order that the file does not say.
    InOrder(Vec<f32>),
    /// By name.
    ByName(HashMap<String, f32>),
}

/// Reads numbers of genes: an array as [`npy_vector`] does, or a dictionary as JSON or a pickle, such as
/// Geneformer's `gene_median_dictionary.pkl`. Nothing of a pickle is executed.
///
/// # Errors
/// [`DataError::Io`] when the system refuses; [`DataError::File`] when it is none of them.
pub fn gene_values(path: &Path) -> Result<GeneValues> {
    let bytes = gzip::read(path, LIMIT)?;
    let fail = |e: String| DataError::file(path, e);
    if let Some(pairs) = super::pickled(&bytes).map_err(|e| fail(e.to_string()))? {
        let number = |(name, value)| match value {
            Pickled::Integer(v) => (name, v as f32),
            Pickled::Float(v) => (name, v as f32),
        };
        return Ok(GeneValues::ByName(pairs.into_iter().map(number).collect()));
    }
    if bytes.trim_ascii_start().starts_with(b"{") {
        let read: Result<HashMap<String, f32>, _> = serde_json::from_slice(&bytes);
        let what = |e| {
            fail(format!(
                "is not a JSON dictionary of genes and numbers: {e}"
            ))
        };
        return read.map(GeneValues::ByName).map_err(what);
    }
    parse_npy(&bytes).map(GeneValues::InOrder).ok_or_else(|| {
        fail(
            "is neither a .npy array of float32 or float64 with one axis nor a dictionary of genes and \
             numbers, pickled or as JSON"
                .to_owned(),
        )
    })
}

fn parse_npy(bytes: &[u8]) -> Option<Vec<f32>> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (version, rest) = rest.split_at_checked(2)?;
    let (length, rest) = match version[0] {
        1 => {
            let (n, rest) = rest.split_at_checked(2)?;
            (u16::from_le_bytes(n.try_into().ok()?) as usize, rest)
        }
        _ => {
            let (n, rest) = rest.split_at_checked(4)?;
            (u32::from_le_bytes(n.try_into().ok()?) as usize, rest)
        }
    };
    let (header, data) = rest.split_at_checked(length)?;
    let header: String = std::str::from_utf8(header)
        .ok()?
        .split_whitespace()
        .collect();
    let shape = header.split("'shape':(").nth(1)?.split(')').next()?;
    let n: usize = shape.strip_suffix(',').unwrap_or(shape).parse().ok()?;
    if header.contains("'descr':'<f4'") {
        let values = data.as_chunks::<4>().0;
        (values.len() == n).then(|| values.iter().map(|v| f32::from_le_bytes(*v)).collect())
    } else if header.contains("'descr':'<f8'") {
        let values = data.as_chunks::<8>().0;
        (values.len() == n).then(|| {
            values
                .iter()
                .map(|v| f64::from_le_bytes(*v) as f32)
                .collect()
        })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chromosome_tables_name_their_faults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chrom.csv");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            chromosome_rows(&path)
        };
        let rows = read("start,species,gene_symbol,chromosome\n5.0,human,tp53,17\n").unwrap();
        assert_eq!((rows[0].symbol.as_str(), rows[0].start), ("TP53", 5));
        let error = read("species,chromosome,start\n").unwrap_err().to_string();
        assert!(error.contains("no column 'gene_symbol'"), "{error}");
        let error = read("species,gene_symbol,chromosome,start\nhuman,A,1,x\n").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("line 2: start is not a position"),
            "{error}"
        );
    }

    #[test]
    fn numbers_of_genes_are_read_by_name_or_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("medians");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            gene_values(&path)
        };
        let by_name = GeneValues::ByName([("A".to_owned(), 1.5)].into());
        let pickled = b"\x80\x04}\x8c\x01AG?\xf8\0\0\0\0\0\0s.";
        assert_eq!(read(pickled).unwrap(), by_name);
        assert_eq!(read(b"{\"A\": 1.5}").unwrap(), by_name);
        for (bytes, wanted) in [
            (&b"A,1.5\n"[..], "neither a .npy array"),
            (b"{\"A\": \"x\"}", "not a JSON dictionary"),
            (b"\x80\x04cposix\nsystem\n.", "asks Python for posix.system"),
        ] {
            let error = read(bytes).unwrap_err().to_string();
            assert!(
                error.contains("medians: ") && error.contains(wanted),
                "{error}"
            );
        }
    }

    #[test]
    fn arrays_are_read_and_others_refused() {
        let array = |descr: &str, shape: &str, data: &[u8]| {
            let header =
                format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}\n");
            let mut out = b"\x93NUMPY\x01\x00".to_vec();
            out.extend((header.len() as u16).to_le_bytes());
            out.extend(header.as_bytes());
            out.extend(data);
            out
        };
        let data: Vec<u8> = [1.5f64, f64::NAN]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let read = parse_npy(&array("<f8", "2,", &data)).unwrap();
        assert!(read[0] == 1.5 && read[1].is_nan());
        assert_eq!(parse_npy(&array("<f8", "3,", &data)), None);
        assert_eq!(parse_npy(&array("<i8", "2,", &data)), None);
        assert_eq!(parse_npy(b"\x93NUMPY\x01\x00\xff\xff"), None);
    }
}
