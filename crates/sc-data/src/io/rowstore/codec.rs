//! Encoding of a row: gaps between gene indices, and counts, in as few bytes as possible.
//!
//! ```text
//! entries u32 · exceptions of gaps u16 · exceptions of values u16 · width of values u8
//! gaps      entries × u8         distance to the gene before, minus one; what exceeds 255 is
//! patched patches   exceptions × (distance between patched entries u16, gap u32)
//! values    entries × width      count minus one in 4, 8 or 16 bits; or float32
//! patches   exceptions × (distance between patched entries u16, count minus one u32)
//! ```
//! All numbers are little-endian. Both loops run over whole rows without a branch per entry; the few
//! patches are applied afterwards (values) or split the row into runs (gaps).

use std::ops::Range;

/// Bytes before the gaps.
const HEADER: usize = 9;
/// Bytes of one patch.
const PATCH: usize = 6;

/// How the values of a row are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Width {
    Bits4 = 4,
    Bits8 = 8,
    Bits16 = 16,
    Float = 32,
}

impl Width {
    fn bytes(self, entries: usize) -> usize {
        match self {
            Self::Bits4 => entries.div_ceil(2),
            Self::Bits8 => entries,
            Self::Bits16 => 2 * entries,
            Self::Float => 4 * entries,
        }
    }

    /// The largest `count − 1` that fits.
    fn limit(self) -> u32 {
        match self {
            Self::Bits4 => 15,
            Self::Bits8 => 255,
            _ => 65_535,
        }
    }

    fn parse(byte: u8) -> Option<Self> {
        [Self::Bits4, Self::Bits8, Self::Bits16, Self::Float]
            .into_iter()
            .find(|w| *w as u8 == byte)
    }
}

/// A position and its value.
type Patch = (usize, u32);

/// Appends one row; `indices` ascend strictly and no value is zero.
pub(super) fn encode(indices: &[u32], values: &[f32], out: &mut Vec<u8>) {
    debug_assert!(indices.windows(2).all(|w| w[0] < w[1]) && indices.len() == values.len());
    let mut gaps = Vec::with_capacity(indices.len());
    let mut gap_patches: Vec<Patch> = Vec::new();
    let mut next = 0u32;
    for (k, &j) in indices.iter().enumerate() {
        let gap = j - next;
        gaps.push(u8::try_from(gap).unwrap_or_else(|_| {
            gap_patches.push((k, gap));
            0
        }));
        next = j + 1;
    }
    let (width, value_patches) = narrowest(values);
    let Some((gap_bytes, value_bytes)) = patches(&gap_patches).zip(patches(&value_patches)) else {
        // Many or very distant patches mean a row that does not compress.
        return encode_plain(indices, values, out);
    };
    out.extend_from_slice(&(indices.len() as u32).to_le_bytes());
    out.extend_from_slice(&(gap_patches.len() as u16).to_le_bytes());
    out.extend_from_slice(&(value_patches.len() as u16).to_le_bytes());
    out.push(width as u8);
    out.extend_from_slice(&gaps);
    out.extend_from_slice(&gap_bytes);
    let less_one = |v: f32| (v as u32).wrapping_sub(1);
    match width {
        Width::Bits4 => out.extend(values.chunks(2).map(|pair| {
            let nibble = |v: Option<&f32>| v.map_or(0, |&v| less_one(v).min(15) as u8);
            nibble(pair.first()) | nibble(pair.get(1)) << 4
        })),
        Width::Bits8 => out.extend(values.iter().map(|&v| less_one(v).min(255) as u8)),
        Width::Bits16 => values.iter().for_each(|&v| {
            out.extend_from_slice(&(less_one(v).min(65_535) as u16).to_le_bytes());
        }),
        Width::Float => values
            .iter()
            .for_each(|v| out.extend_from_slice(&v.to_le_bytes())),
    }
    out.extend_from_slice(&value_bytes);
}

/// Marks a row stored as plain indices and values.
const PLAIN: u8 = 0;

fn encode_plain(indices: &[u32], values: &[f32], out: &mut Vec<u8>) {
    out.extend_from_slice(&(indices.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0, 0, 0, 0, PLAIN]);
    indices
        .iter()
        .for_each(|j| out.extend_from_slice(&j.to_le_bytes()));
    values
        .iter()
        .for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
}

/// The width that takes the fewest bytes, and the values that exceed it.
fn narrowest(values: &[f32]) -> (Width, Vec<Patch>) {
    let integral = |v: f32| v.fract() == 0.0 && (1.0..4_294_967_040.0).contains(&v);
    if !values.iter().all(|&v| integral(v)) {
        return (Width::Float, Vec::new());
    }
    let beyond = |limit: u32| values.iter().filter(|v| **v as u32 - 1 > limit).count();
    let cost = |w: Width| w.bytes(values.len()) + PATCH * beyond(w.limit());
    let width = [Width::Bits4, Width::Bits8, Width::Bits16]
        .into_iter()
        .min_by_key(|w| cost(*w))
        .unwrap_or(Width::Float);
    if cost(width) > Width::Float.bytes(values.len()) {
        return (Width::Float, Vec::new());
    }
    let patched = values.iter().enumerate();
    let patched = patched.map(|(k, v)| (k, *v as u32 - 1));
    (width, patched.filter(|(_, v)| *v > width.limit()).collect())
}

/// Patches as bytes; `None` when a field overflows.
fn patches(list: &[Patch]) -> Option<Vec<u8>> {
    u16::try_from(list.len()).ok()?;
    let mut out = Vec::with_capacity(PATCH * list.len());
    let mut before = 0;
    for &(at, value) in list {
        out.extend_from_slice(&u16::try_from(at - before).ok()?.to_le_bytes());
        out.extend_from_slice(&value.to_le_bytes());
        before = at;
    }
    Some(out)
}

/// The parts of a packed row, with validated lengths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed<'a> {
    entries: usize,
    width: Option<Width>,
    gaps: &'a [u8],
    gap_patches: &'a [u8],
    values: &'a [u8],
    value_patches: &'a [u8],
}

impl<'a> Packed<'a> {
    /// Splits the bytes of a row; `None` when they are not a valid row.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let (header, mut rest) = bytes.split_at_checked(HEADER)?;
        let entries = u32::from_le_bytes(header[..4].try_into().ok()?) as usize;
        let counts = [4, 6].map(|at| usize::from(u16::from_le_bytes([header[at], header[at + 1]])));
        let mut take = |n: usize| {
            let (head, tail) = rest.split_at_checked(n)?;
            rest = tail;
            Some(head)
        };
        let row = if header[8] == PLAIN {
            Self {
                entries,
                width: None,
                gaps: take(entries.checked_mul(4)?)?,
                gap_patches: &[],
                values: take(entries.checked_mul(4)?)?,
                value_patches: &[],
            }
        } else {
            let width = Width::parse(header[8])?;
            Self {
                entries,
                width: Some(width),
                gaps: take(entries)?,
                gap_patches: take(PATCH * counts[0])?,
                values: take(width.bytes(entries))?,
                value_patches: take(PATCH * counts[1])?,
            }
        };
        rest.is_empty().then_some(row)
    }

    /// Number of entries of the row.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// Decodes into two slices of [`Self::entries`] elements; `None` when an index is not below
    /// `cols` or the patches do not match.
    pub(super) fn decode(
        &self,
        cols: usize,
        indices: &mut [u32],
        values: &mut [f32],
    ) -> Option<()> {
        let Some(width) = self.width else {
            words(self.gaps, indices, u32::from_le_bytes);
            words(self.values, values, f32::from_le_bytes);
            let rises = indices.windows(2).all(|w| w[0] < w[1]);
            return (rises && indices.last().is_none_or(|&j| (j as usize) < cols)).then_some(());
        };
        // Gaps only add, so the last position is the largest.
        if self.decode_indices(indices)? > cols as u64 {
            return None;
        }
        match width {
            Width::Bits4 => nibbles(self.values, values),
            Width::Bits8 => {
                for (out, &v) in values.iter_mut().zip(self.values) {
                    *out = f32::from(v) + 1.0;
                }
            }
            Width::Bits16 => {
                for (out, v) in values.iter_mut().zip(self.values.chunks_exact(2)) {
                    *out = f32::from(u16::from_le_bytes([v[0], v[1]])) + 1.0;
                }
            }
            Width::Float => words(self.values, values, f32::from_le_bytes),
        }
        for (at, value) in read_patches(self.value_patches) {
            *values.get_mut(at)? = value as f32 + 1.0;
        }
        Some(())
    }

    /// Decodes the indices and returns the one after the last.
    fn decode_indices(&self, out: &mut [u32]) -> Option<u64> {
        let mut next = 0;
        let mut from = 0;
        for (at, gap) in read_patches(self.gap_patches) {
            next = run(self.gaps, out, from..at, next)? + u64::from(gap);
            *out.get_mut(at)? = next as u32;
            next += 1;
            from = at + 1;
        }
        run(self.gaps, out, from..self.entries, next)
    }
}

/// Sums gaps from `next` on; returns the position after the last entry. A row has fewer than 2^32
/// entries of at most 2^32 each, so 64 bits never overflow.
#[inline]
fn run(gaps: &[u8], out: &mut [u32], range: Range<usize>, mut next: u64) -> Option<u64> {
    for (slot, &gap) in out.get_mut(range.clone())?.iter_mut().zip(gaps.get(range)?) {
        let index = next + u64::from(gap);
        *slot = index as u32;
        next = index + 1;
    }
    Some(next)
}

fn nibbles(bytes: &[u8], out: &mut [f32]) {
    let (pairs, rest) = out.as_chunks_mut::<2>();
    for (pair, &byte) in pairs.iter_mut().zip(bytes) {
        *pair = [f32::from(byte & 15) + 1.0, f32::from(byte >> 4) + 1.0];
    }
    if let (Some(last), Some(&byte)) = (rest.first_mut(), bytes.last()) {
        *last = f32::from(byte & 15) + 1.0;
    }
}

fn words<T>(bytes: &[u8], out: &mut [T], convert: impl Fn([u8; 4]) -> T) {
    for (slot, word) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *slot = convert(*word);
    }
}

fn read_patches(bytes: &[u8]) -> impl Iterator<Item = (usize, u32)> {
    let mut at = 0;
    bytes.as_chunks::<PATCH>().0.iter().map(move |p| {
        at += usize::from(u16::from_le_bytes([p[0], p[1]]));
        (at, u32::from_le_bytes([p[2], p[3], p[4], p[5]]))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(indices: &[u32], values: &[f32], cols: usize) -> usize {
        let mut bytes = Vec::new();
        encode(indices, values, &mut bytes);
        let row = Packed::new(&bytes).unwrap();
        assert_eq!(row.entries(), indices.len());
        let (mut i, mut v) = (vec![0; indices.len()], vec![0.0; indices.len()]);
        row.decode(cols, &mut i, &mut v).unwrap();
        assert_eq!((&i[..], &v[..]), (indices, values));
        bytes.len()
    }

    #[test]
    fn small_counts_take_a_byte_and_a_half() {
        let indices: Vec<u32> = (0..1000).map(|k| k * 20).collect();
        let values: Vec<f32> = (0..1000).map(|k| (k % 16 + 1) as f32).collect();
        assert_eq!(round_trip(&indices, &values, 20_000), 9 + 1000 + 500);
        round_trip(&[], &[], 0);
    }

    #[test]
    fn far_genes_large_counts_and_fractions_survive() {
        round_trip(
            &[5, 70_000, u32::MAX - 1],
            &[1.0, 90_000.0, 16_777_216.0],
            usize::MAX,
        );
        round_trip(&[0, 9], &[0.25, -3.0], 10);
        let indices: Vec<u32> = (0..80_000).map(|k| k * 300).collect();
        round_trip(&indices, &vec![1.0; 80_000], usize::MAX);
    }

    proptest! {
        #[test]
        fn any_row_survives(
            entries in prop::collection::btree_map(0u32..100_000, 1u32..70_000, 0..300),
            scale in prop::sample::select(vec![1.0f32, 0.5]),
        ) {
            let (indices, values): (Vec<u32>, Vec<f32>) =
                entries.into_iter().map(|(j, v)| (j, (v % 40 + v / 60_000 * v) as f32 * scale))
                    .filter(|e| e.1 != 0.0).unzip();
            round_trip(&indices, &values, 100_000);
        }

        #[test]
        fn damaged_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = bytes;
            if let Some(count) = bytes.get_mut(..4) {
                // Small entry counts get past the length checks now and then.
                count[1..].fill(0);
            }
            if let Some(row) = Packed::new(&bytes) {
                let n = row.entries();
                let (mut indices, mut values) = (vec![0; n], vec![0.0; n]);
                if row.decode(1000, &mut indices, &mut values).is_some() {
                    // Whatever the bytes were, the result is a valid row.
                    prop_assert!(indices.iter().all(|&i| i < 1000), "{indices:?}");
                    prop_assert!(indices.windows(2).all(|w| w[0] < w[1]), "{indices:?}");
                }
            }
        }
    }
}
