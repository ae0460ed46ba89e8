//! [`H5Source`] by the pure-Rust `hdf5-reader`.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hdf5_reader::group::Group;
use hdf5_reader::storage::FileStorage;
use hdf5_reader::{
    Dataset, Datatype, ExternalLinkResolver, Hdf5File, OpenOptions, SliceInfo, SliceInfoElem,
};

use super::{
    Attribute, DatasetInfo, Extents, FieldValues, H5Source, NodeKind, Numbers, allocation_limit,
    filters,
};
use crate::error::{DataError, Result};

/// Decompressed chunks cached between reads: enough for the chunks of `indices` and `data` that
/// consecutive reads share, and small compared with a minibatch.
const CHUNK_CACHE_BYTES: usize = 32 << 20;

mod elements;
mod extents;

use elements::{AnyInt, element_type, empty_numbers, read_field, read_numbers, type_message};

pub(super) struct Reader {
    path: PathBuf,
    file: Hdf5File,
    datasets: Mutex<HashMap<String, Arc<Dataset>>>,
    members: Mutex<HashMap<String, Arc<Members>>>,
    links: Arc<Links>,
}

/// Names of other files that links point to; none is followed.
#[derive(Default)]
struct Links(Mutex<BTreeSet<String>>);

impl ExternalLinkResolver for Links {
    fn resolve_external_link(&self, filename: &str) -> H5Result<Option<Hdf5File>> {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.insert(filename.to_owned());
        Ok(None)
    }
}

/// Names of the groups and datasets in one group.
type Members = (Vec<String>, Vec<String>);

type H5Result<T> = std::result::Result<T, hdf5_reader::error::Error>;

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|e| DataError::io(path, e))?;
        let meta = file.metadata().map_err(|e| DataError::io(path, e))?;
        if meta.is_dir() {
            return Err(DataError::file(path, "is a folder, not an .h5ad file"));
        }
        if meta.len() == 0 {
            return Err(DataError::file(path, "is empty; copy or download it again"));
        }
        let mut magic = [0u8; 8];
        let read = file.read(&mut magic).map_err(|e| DataError::io(path, e))?;
        let limit = usize::try_from(allocation_limit(meta.len())).unwrap_or(usize::MAX);
        let links = Arc::new(Links::default());
        let options = OpenOptions::default()
            .with_external_link_resolver(Arc::clone(&links) as Arc<dyn ExternalLinkResolver>)
            .with_chunk_cache_bytes(CHUNK_CACHE_BYTES)
            .with_max_chunk_bytes(limit)
            .with_max_read_bytes(limit)
            .with_filter_registry(filters::registry(limit));
        let storage = FileStorage::from_file(file)
            .map_err(|e| DataError::file(path, format!("cannot be read: {e}")))?;
        let file = Hdf5File::from_storage_with_options(Arc::new(storage), options)
            .map_err(|e| not_hdf5(path, &magic[..read], &e.to_string()))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            datasets: Mutex::default(),
            members: Mutex::default(),
            links,
        })
    }

    fn error(&self, node: &str, error: &hdf5_reader::error::Error) -> DataError {
        use hdf5_reader::error::Error as E;
        let place = if node.is_empty() { "root group" } else { node };
        let text = error.to_string();
        let mut cause = error;
        while let E::Context { source, .. } = cause {
            cause = source;
        }
        let way_out = match cause {
            // The layout class of virtual datasets.
            E::UnsupportedLayoutClass(3) => {
                return DataError::file(
                    &self.path,
                    format!(
                        "{place}: is a virtual dataset with values in other files, which are \
                         not followed; read it with anndata and write one file (adata.write_h5ad(path))"
                    ),
                );
            }
            _ if text.contains("external file") => {
                return DataError::file(
                    &self.path,
                    format!(
                        "{place}: its values are in another file, which is not followed; read it with \
                         anndata and write one file (adata.write_h5ad(path))"
                    ),
                );
            }
            E::UnsupportedFilter(_) => {
                return DataError::file(
                    &self.path,
                    format!(
                        "{place}: {}; write the file again with gzip \
                         (adata.write_h5ad(path, compression=\"gzip\"))",
                        filter_name(&text)
                    ),
                );
            }
            E::UnsupportedEncoding(_) => "open and save it with a current anndata",
            _ => "the file is truncated or damaged: copy or download it again",
        };
        DataError::file(&self.path, format!("{place}: {text}; {way_out}"))
    }

    fn wrong(&self, node: &str, message: impl std::fmt::Display) -> DataError {
        DataError::file(&self.path, format!("{node}: {message}"))
    }

    fn group(&self, node: &str) -> Result<Group> {
        let root = self.file.root_group();
        if node.is_empty() {
            root
        } else {
            self.file.group(node)
        }
        .map_err(|e| self.error(node, &e))
    }

    fn dataset(&self, node: &str) -> Result<Arc<Dataset>> {
        let mut open = self.datasets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dataset) = open.get(node) {
            return Ok(Arc::clone(dataset));
        }
        let dataset = Arc::new(self.file.dataset(node).map_err(|e| self.error(node, &e))?);
        open.insert(node.to_owned(), Arc::clone(&dataset));
        Ok(dataset)
    }

    fn members(&self, group: &str) -> Result<Arc<Members>> {
        let mut known = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(members) = known.get(group) {
            return Ok(Arc::clone(members));
        }
        let members = Arc::new(
            self.group(group)?
                .member_names()
                .map_err(|e| self.error(group, &e))?,
        );
        known.insert(group.to_owned(), Arc::clone(&members));
        Ok(members)
    }

    fn find_attribute(&self, node: &str, name: &str) -> Result<Option<hdf5_reader::Attribute>> {
        let found = match self.kind(node)? {
            None => return Ok(None),
            Some(NodeKind::Dataset) => self.dataset(node)?.attribute(name),
            Some(NodeKind::Group) => self.group(node)?.attribute(name),
        };
        match found {
            Ok(attribute) => Ok(Some(attribute)),
            Err(hdf5_reader::error::Error::AttributeNotFound(_)) => Ok(None),
            Err(e) => Err(self.error(node, &e)),
        }
    }
}

impl H5Source for Reader {
    fn path(&self) -> &Path {
        &self.path
    }

    fn kind(&self, node: &str) -> Result<Option<NodeKind>> {
        let (parent, name) = node.rsplit_once('/').unwrap_or(("", node));
        if name.is_empty() {
            return Ok(Some(NodeKind::Group));
        }
        if self
            .datasets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(node)
        {
            return Ok(Some(NodeKind::Dataset));
        }
        if !parent.is_empty() && self.kind(parent)? != Some(NodeKind::Group) {
            return Ok(None);
        }
        let members = self.members(parent)?;
        Ok(if members.0.iter().any(|g| g == name) {
            Some(NodeKind::Group)
        } else if members.1.iter().any(|d| d == name) {
            Some(NodeKind::Dataset)
        } else {
            None
        })
    }

    fn unfollowed(&self) -> Vec<String> {
        let links = self.links.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.iter().cloned().collect()
    }

    fn children(&self, group: &str) -> Result<Vec<String>> {
        let members = self.members(group)?;
        Ok(members.0.iter().chain(&members.1).cloned().collect())
    }

    fn attribute(&self, node: &str, name: &str) -> Result<Option<Attribute>> {
        let Some(attribute) = self.find_attribute(node, name)? else {
            return Ok(None);
        };
        let fail = |e| self.error(node, &e);
        if let Ok(strings) = attribute.read_strings() {
            return Ok(Some(Attribute::Strings(strings)));
        }
        let value = match &attribute.datatype {
            Datatype::String { .. } | Datatype::VarLen { .. } => attribute
                .read_string()
                .map_or(Attribute::Other, |s| Attribute::Strings(vec![s])),
            Datatype::FloatingPoint { size: 4, .. } => Attribute::Floats(
                attribute
                    .read_1d::<f32>()
                    .map_err(fail)?
                    .into_iter()
                    .map(f64::from)
                    .collect(),
            ),
            Datatype::FloatingPoint { size: 8, .. } => {
                Attribute::Floats(attribute.read_1d::<f64>().map_err(fail)?)
            }
            Datatype::FixedPoint { .. } | Datatype::Enum { .. } => Attribute::Ints(
                attribute
                    .read_1d::<AnyInt>()
                    .map_err(fail)?
                    .into_iter()
                    .map(|x| x.0)
                    .collect(),
            ),
            _ => Attribute::Other,
        };
        Ok(Some(value))
    }

    fn info(&self, dataset: &str) -> Result<DatasetInfo> {
        let dataset = self.dataset(dataset)?;
        Ok(DatasetInfo {
            shape: dataset.shape().to_vec(),
            element: element_type(dataset.dtype()),
        })
    }

    fn numbers(&self, node: &str, ranges: &[Range<u64>]) -> Result<Numbers> {
        let dataset = self.dataset(node)?;
        if ranges.len() != dataset.ndim() {
            return Err(self.wrong(
                node,
                format!(
                    "expected {} dimensions, found shape {:?}",
                    ranges.len(),
                    dataset.shape()
                ),
            ));
        }
        for (range, &extent) in ranges.iter().zip(dataset.shape()) {
            if range.end > extent || range.start > range.end {
                return Err(self.wrong(
                    node,
                    format!(
                        "elements {range:?} are out of range for shape {:?}",
                        dataset.shape()
                    ),
                ));
            }
        }
        if ranges.iter().any(|r| r.is_empty()) {
            return empty_numbers(dataset.dtype())
                .ok_or_else(|| self.wrong(node, type_message(dataset.dtype())));
        }
        let selection = SliceInfo {
            selections: ranges
                .iter()
                .map(|r| SliceInfoElem::Slice {
                    start: r.start,
                    end: r.end,
                    step: 1,
                })
                .collect(),
        };
        read_numbers(&dataset, &selection)
            .map_err(|e| self.error(node, &e))?
            .ok_or_else(|| self.wrong(node, type_message(dataset.dtype())))
    }

    fn strings(&self, node: &str) -> Result<Vec<String>> {
        self.dataset(node)?
            .read_strings()
            .map_err(|e| self.error(node, &e))
    }

    fn field(&self, node: &str, name: &str) -> Result<FieldValues> {
        let dataset = self.dataset(node)?;
        let Datatype::Compound { size, fields } = dataset.dtype() else {
            return Err(self.wrong(node, "is not a table of records"));
        };
        let field = fields
            .iter()
            .find(|f| f.name == name)
            .ok_or_else(|| self.wrong(node, format!("has no field '{name}'")))?;
        let raw = dataset.read_raw_bytes().map_err(|e| self.error(node, &e))?;
        read_field(&dataset, &raw, *size as usize, field).map_err(|e| self.error(node, &e))
    }

    fn extents(&self, node: &str) -> Result<Option<Extents>> {
        let dataset = self.dataset(node)?;
        extents::extents(&self.file, &dataset).map_err(|e| self.error(node, &e))
    }
}

fn not_hdf5(path: &Path, magic: &[u8], error: &str) -> DataError {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let ends = |with: &[&str]| with.iter().any(|e| name.ends_with(e));
    let scanpy = "read it with scanpy and save it (adata.write_h5ad(path))";
    let message = match magic {
        [0x89, b'H', b'D', b'F', ..] => {
            format!("the file is truncated or damaged ({error}): copy or download it again")
        }
        _ if ends(&[".rds", ".rda", ".rdata"]) => {
            "is an R object; write it as .h5ad in R first (zellkonverter::writeH5AD)".into()
        }
        _ if ends(&[".pt", ".pth", ".ckpt"]) => {
            "is a PyTorch file: weights, not cells; give the file with the cells".into()
        }
        [0x1f, 0x8b, ..] if ends(&[".tar.gz", ".tgz"]) => {
            "is an archive; unpack it and give a file or folder in it (tar -xzf)".into()
        }
        [0x1f, 0x8b, ..] => "is compressed with gzip; unpack it first (gunzip)".into(),
        [b'P', b'A', b'R', b'1', ..] => format!("is a Parquet table, not an .h5ad file; {scanpy}"),
        _ if ends(&[".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz"]) => {
            format!("is a text table, not an .h5ad file; {scanpy}")
        }
        [b'%', b'%', b'M', ..] => {
            "is a Matrix Market file; name it matrix.mtx, with barcodes.tsv and features.tsv next to it"
                .into()
        }
        _ => {
            "is not an HDF5 file, so not an .h5ad; check the path, or copy or download it again".into()
        }
    };
    DataError::file(path, message)
}

fn filter_name(text: &str) -> String {
    let known = [
        ("32008", "bitshuffle"),
        ("32026", "blosc2"),
        ("32013", "zfp"),
        ("32017", "sz"),
        ("307", "bzip2"),
        ("32024", "sz3"),
    ];
    let id: String = text.chars().filter(char::is_ascii_digit).collect();
    match known.iter().find(|k| k.0 == id) {
        Some((_, name)) => {
            format!("is compressed with {name} (filter {id}), which is not supported")
        }
        None => format!("{text} is not supported"),
    }
}
