//! Filters beyond those of `hdf5-reader`: LZF (h5py), Zstandard and Blosc (hdf5plugin).

use hdf5_reader::FilterRegistry;
use hdf5_reader::error::Error;
use rust_hdf5::format::messages::filter::{Filter, FilterPipeline, reverse_filters_masked_bounded};

const LZF: u16 = 32000;
const BLOSC: u16 = 32001;
const ZSTD: u16 = 32015;

/// The built-in filters and these; `limit` bounds the decompressed size of a chunk, in bytes.
pub(super) fn registry(limit: usize) -> FilterRegistry {
    let mut registry = FilterRegistry::new();
    registry.register(
        LZF,
        Box::new(move |filter, data, _| {
            // The third client value is the chunk's size; a damaged one must not be trusted.
            let declared = filter.client_data.get(2).map_or(0, |&n| n as usize);
            lzf(data, declared.min(limit), limit)
                .ok_or_else(|| Error::DecompressionError("lzf chunk is damaged".into()))
        }),
    );
    for id in [BLOSC, ZSTD] {
        registry.register(
            id,
            Box::new(move |filter, data, _| {
                reverse(id, filter.client_data.clone(), data, limit)
                    .map_err(Error::DecompressionError)
            }),
        );
    }
    registry
}

/// Decompresses a Blosc 1 frame of at most `limit` bytes.
pub(crate) fn blosc(data: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    reverse(BLOSC, Vec::new(), data, limit)
}

/// Decompresses Zstandard frames of at most `limit` bytes.
pub(crate) fn zstd(data: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    reverse(ZSTD, Vec::new(), data, limit)
}

fn reverse(id: u16, cd_values: Vec<u32>, data: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let filter = Filter {
        id,
        flags: 0,
        cd_values,
    };
    let pipeline = FilterPipeline {
        filters: vec![filter],
    };
    reverse_filters_masked_bounded(&pipeline, data, 0, limit).map_err(|e| e.to_string())
}

/// Decompresses LibLZF data: literal runs, and copies from up to 8 KiB back.
///
/// `None` when the data is truncated, refers to before its start or exceeds `limit` bytes.
fn lzf(data: &[u8], capacity: usize, limit: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(capacity.min(data.len().saturating_mul(300)));
    let mut at = 0;
    while at < data.len() {
        let control = usize::from(data[at]);
        at += 1;
        if control < 32 {
            let run = data.get(at..at + control + 1)?;
            out.extend_from_slice(run);
            at += control + 1;
        } else {
            let mut length = control >> 5;
            if length == 7 {
                length += usize::from(*data.get(at)?);
                at += 1;
            }
            let back = ((control & 31) << 8) + usize::from(*data.get(at)?) + 1;
            at += 1;
            let start = out.len().checked_sub(back)?;
            // Source and destination may overlap: that is how LZF writes runs.
            for k in start..start + length + 2 {
                out.push(out[k]);
            }
        }
        if out.len() > limit {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::lzf;

    #[test]
    fn lzf_copies_overlap_and_damage_is_refused() {
        // Literal "ab", then a copy of 6 bytes from 2 back.
        let packed = [1, b'a', b'b', 4 << 5, 1];
        assert_eq!(lzf(&packed, 8, 100).unwrap(), b"abababab");
        assert_eq!(lzf(&packed, 8, 4), None);
        assert_eq!(lzf(&packed[..4], 8, 100), None);
        assert_eq!(lzf(&[4 << 5, 1], 8, 100), None);
    }
}
