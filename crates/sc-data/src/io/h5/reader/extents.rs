//! Where the bytes of a one-dimensional dataset are, from its object header and chunk index.

use hdf5_reader::btree_v1::{BTreeV1Key, collect_btree_v1_leaves_storage};
use hdf5_reader::chunk_index::{
    ChunkEntry, collect_implicit_chunk_entries, collect_v2_chunk_entries_storage,
    single_chunk_entry,
};
use hdf5_reader::error::{ByteOrder, Error};
use hdf5_reader::extensible_array::collect_extensible_array_chunk_entries_storage;
use hdf5_reader::filters::{FILTER_DEFLATE, FILTER_SHUFFLE};
use hdf5_reader::fixed_array::collect_fixed_array_chunk_entries_storage;
use hdf5_reader::messages::HdfMessage;
use hdf5_reader::messages::layout::{ChunkIndexing, DataLayout};
use hdf5_reader::{Dataset, Datatype, Hdf5File};

use super::H5Result;
use crate::io::h5::{Extents, Filter, Piece};

/// The extents of a dataset, or `None` when its layout is not simple enough: another number of
/// dimensions, another byte order, other filters, missing or overlapping chunks, a user block.
pub(super) fn extents(file: &Hdf5File, dataset: &Dataset) -> H5Result<Option<Extents>> {
    let &[len] = dataset.shape() else {
        return Ok(None);
    };
    let little = match dataset.dtype() {
        Datatype::FixedPoint { byte_order, .. } | Datatype::FloatingPoint { byte_order, .. } => {
            *byte_order == ByteOrder::LittleEndian
        }
        _ => false,
    };
    if !little || len == 0 || file.superblock().base_address != 0 {
        return Ok(None);
    }
    let header = file.get_or_parse_header(dataset.address())?;
    let mut layout = None;
    let mut filters = Vec::new();
    for message in &header.messages {
        match message {
            HdfMessage::DataLayout(m) => layout = Some(&m.layout),
            HdfMessage::FilterPipeline(m) => {
                for filter in &m.filters {
                    filters.push(match filter.id {
                        FILTER_SHUFFLE => Filter::Shuffle,
                        FILTER_DEFLATE => Filter::Deflate,
                        _ => return Ok(None),
                    });
                }
            }
            HdfMessage::ExternalFiles(_) => return Ok(None),
            _ => {}
        }
    }
    let width = dataset.raw_element_size()? as u64;
    let bytes = len.saturating_mul(width);
    let (chunk, mut pieces) = match layout {
        Some(DataLayout::Contiguous { address, size }) if *size >= bytes => {
            let whole = Piece {
                offset: *address,
                bytes,
                skipped: 0,
            };
            (len, vec![(0, whole)])
        }
        Some(DataLayout::Chunked {
            address,
            dims,
            chunk_indexing,
            ..
        }) => {
            let entries = entries(file, dataset, *address, dims, chunk_indexing.as_ref())?;
            let Some(&chunk) = dims.first() else {
                return Ok(None);
            };
            let plain = filters.is_empty();
            let pieces = entries.into_iter().map(|e| {
                let piece = Piece {
                    offset: e.address,
                    // A single chunk without filters has no size of its own.
                    bytes: if plain {
                        u64::from(chunk) * width
                    } else {
                        e.size
                    },
                    skipped: e.filter_mask,
                };
                (e.offsets.first().copied().unwrap_or(u64::MAX), piece)
            });
            (u64::from(chunk), pieces.collect())
        }
        _ => return Ok(None),
    };
    pieces.sort_by_key(|p| p.0);
    pieces.retain(|p| p.0 < len);
    let whole = pieces.len() as u64 == len.div_ceil(chunk.max(1))
        && pieces.iter().zip(0u64..).all(|(p, k)| p.0 == k * chunk)
        && pieces.iter().all(|(_, p)| {
            let end = p.offset.checked_add(p.bytes);
            end.is_some_and(|end| end <= file.storage().len())
        });
    Ok(whole.then(|| Extents {
        element: super::element_type(dataset.dtype()),
        width: width as usize,
        len,
        chunk,
        filters,
        pieces: pieces.into_iter().map(|p| p.1).collect(),
    }))
}

fn entries(
    file: &Hdf5File,
    dataset: &Dataset,
    address: u64,
    dims: &[u32],
    indexing: Option<&ChunkIndexing>,
) -> H5Result<Vec<ChunkEntry>> {
    let (storage, sizes) = (file.storage(), file.superblock());
    let (offset_size, length_size) = (sizes.offset_size, sizes.length_size);
    let shape = dataset.shape();
    Ok(match indexing {
        None => collect_btree_v1_leaves_storage(
            storage,
            address,
            offset_size,
            length_size,
            Some(1),
            dims,
            None,
        )?
        .into_iter()
        .map(|(key, address)| match key {
            BTreeV1Key::RawData {
                chunk_size,
                filter_mask,
                offsets,
            } => Ok(ChunkEntry {
                address,
                size: u64::from(chunk_size),
                filter_mask,
                offsets,
            }),
            _ => Err(Error::InvalidData("chunk index of another kind".into())),
        })
        .collect::<H5Result<_>>()?,
        Some(ChunkIndexing::SingleChunk {
            filtered_size,
            filters,
        }) => vec![single_chunk_entry(address, *filtered_size, *filters, 1)],
        Some(ChunkIndexing::BTreeV2) => collect_v2_chunk_entries_storage(
            storage,
            address,
            offset_size,
            length_size,
            1,
            dims,
            None,
        )?,
        Some(ChunkIndexing::Implicit) => collect_implicit_chunk_entries(
            address,
            shape,
            dims,
            dataset.raw_element_size()?,
            None,
            storage.len(),
        )?,
        Some(ChunkIndexing::FixedArray { .. }) => collect_fixed_array_chunk_entries_storage(
            storage,
            address,
            offset_size,
            length_size,
            shape,
            dims,
            None,
        )?,
        Some(ChunkIndexing::ExtensibleArray { .. }) => {
            collect_extensible_array_chunk_entries_storage(
                storage,
                address,
                offset_size,
                length_size,
                shape,
                dataset.max_dims(),
                dims,
                None,
            )?
        }
    })
}
