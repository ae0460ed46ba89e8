//! Zarr stores written by hand: every way of storing a chunk, and what is said of damaged ones.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use sc_data::error::Result;
use sc_data::io::store::CellStore;
use sc_data::{H5ad, MatrixSlot};
use serde_json::{Value, json};

fn put(root: &Path, key: &str, bytes: &[u8]) {
    let path = root.join(key);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn put_json(root: &Path, key: &str, value: &Value) {
    put(root, key, value.to_string().as_bytes());
}

fn texts(values: &[&str]) -> Vec<u8> {
    let mut out = (values.len() as u32).to_le_bytes().to_vec();
    for value in values {
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    out
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// A store of version 2 with three cells and two genes; `array` describes `X`.
fn version2(folder: &Path, array: &Value, chunks: &[(&str, &[u8])]) -> PathBuf {
    let root = folder.join("a.zarr");
    let _ = std::fs::remove_dir_all(&root);
    put_json(&root, ".zgroup", &json!({"zarr_format": 2}));
    for (frame, names) in [("obs", &["c1", "c2", "c3"][..]), ("var", &["A", "B"][..])] {
        put_json(
            &root,
            &format!("{frame}/.zgroup"),
            &json!({"zarr_format": 2}),
        );
        put_json(
            &root,
            &format!("{frame}/.zattrs"),
            &json!({"_index": "_index", "column-order": []}),
        );
        put_json(
            &root,
            &format!("{frame}/_index/.zarray"),
            &json!({"zarr_format": 2, "shape": [names.len()], "chunks": [names.len()],
                    "dtype": "|O", "filters": [{"id": "vlen-utf8"}], "compressor": null,
                    "order": "C", "fill_value": 0}),
        );
        put(&root, &format!("{frame}/_index/0"), &texts(names));
    }
    put_json(&root, "X/.zarray", array);
    for (name, bytes) in chunks {
        put(&root, &format!("X/{name}"), bytes);
    }
    root
}

/// As [`version2`], of version 3.
fn version3(folder: &Path, array: &Value, chunks: &[(&str, &[u8])]) -> PathBuf {
    let root = folder.join("b.zarr");
    let _ = std::fs::remove_dir_all(&root);
    let group = |attributes: Value| json!({"zarr_format": 3, "node_type": "group", "attributes": attributes});
    put_json(&root, "zarr.json", &group(json!({})));
    for (frame, names) in [("obs", &["c1", "c2", "c3"][..]), ("var", &["A", "B"][..])] {
        put_json(
            &root,
            &format!("{frame}/zarr.json"),
            &group(json!({"_index": "_index", "column-order": []})),
        );
        put_json(
            &root,
            &format!("{frame}/_index/zarr.json"),
            &json!({"zarr_format": 3, "node_type": "array", "shape": [names.len()],
                    "data_type": "string", "fill_value": "",
                    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [names.len()]}},
                    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
                    "codecs": [{"name": "vlen-utf8"}]}),
        );
        put(&root, &format!("{frame}/_index/c/0"), &texts(names));
    }
    put_json(&root, "X/zarr.json", array);
    for (name, bytes) in chunks {
        put(&root, &format!("X/{name}"), bytes);
    }
    root
}

fn dense(path: &Path) -> Result<Vec<f32>> {
    let file = H5ad::open(path)?;
    file.obs_names()?;
    let store = CellStore::of(&file, MatrixSlot::X)?;
    Ok(store.read_range(0..store.rows())?.to_dense())
}

fn array2(changes: &Value) -> Value {
    let mut array = json!({"zarr_format": 2, "shape": [3, 2], "chunks": [2, 2], "dtype": "<f4",
                           "filters": null, "compressor": null, "order": "C", "fill_value": 0.0});
    for (key, value) in changes.as_object().unwrap() {
        array[key] = value.clone();
    }
    array
}

fn array3(codecs: &Value) -> Value {
    json!({"zarr_format": 3, "node_type": "array", "shape": [3, 2], "data_type": "float32",
           "fill_value": 0.0, "attributes": {},
           "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 2]}},
           "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
           "codecs": codecs})
}

const BYTES: &str = r#"{"name": "bytes", "configuration": {"endian": "little"}}"#;

fn bytes() -> Value {
    serde_json::from_str(BYTES).unwrap()
}

#[test]
fn version_2_is_read_in_either_order_and_with_chunks_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (floats(&[1.0, 2.0, 3.0, 4.0]), floats(&[5.0, 6.0, 9.0, 9.0]));
    let all = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let path = version2(
        folder.path(),
        &array2(&json!({})),
        &[("0.0", &a), ("1.0", &b)],
    );
    assert_eq!(dense(&path).unwrap(), all);
    let path = version2(
        folder.path(),
        &array2(&json!({"dimension_separator": "/", "compressor": {"id": "gzip", "level": 1}})),
        &[("0/0", &gzip(&a)), ("1/0", &gzip(&b))],
    );
    assert_eq!(dense(&path).unwrap(), all);
    let path = version2(
        folder.path(),
        &array2(&json!({"fill_value": 7.0})),
        &[("0.0", &a)],
    );
    assert_eq!(dense(&path).unwrap(), [1.0, 2.0, 3.0, 4.0, 7.0, 7.0]);
    let (a, b) = (floats(&[1.0, 3.0, 2.0, 4.0]), floats(&[5.0, 9.0, 6.0, 9.0]));
    let path = version2(
        folder.path(),
        &array2(&json!({"order": "F"})),
        &[("0.0", &a), ("1.0", &b)],
    );
    assert_eq!(dense(&path).unwrap(), all);
    let big: Vec<u8> = [1i16, 2, 3, 4]
        .iter()
        .flat_map(|v| v.to_be_bytes())
        .collect();
    let path = version2(
        folder.path(),
        &array2(&json!({"dtype": ">i2", "fill_value": 0})),
        &[("0.0", &big)],
    );
    assert_eq!(dense(&path).unwrap(), [1.0, 2.0, 3.0, 4.0, 0.0, 0.0]);
}

#[test]
fn texts_of_fixed_length_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = version2(folder.path(), &array2(&json!({})), &[]);
    let index = |dtype: &str, bytes: &[u8]| {
        put_json(
            &path,
            "obs/_index/.zarray",
            &json!({"zarr_format": 2, "shape": [3], "chunks": [3], "dtype": dtype,
                    "filters": null, "compressor": null, "order": "C", "fill_value": ""}),
        );
        put(&path, "obs/_index/0", bytes);
        H5ad::open(&path).unwrap().obs_names().unwrap()
    };
    assert_eq!(index("|S2", b"a\0bbc\0"), ["a", "bb", "c"]);
    let wide: Vec<u8> = ['x', '\0', 'é', 'y', 'z', '\0']
        .iter()
        .flat_map(|&c| (c as u32).to_le_bytes())
        .collect();
    assert_eq!(index("<U2", &wide), ["x", "éy", "z"]);
}

/// A shard of two parts `[2, 2]`, the second left out when `second` is `None`.
fn shard(second: Option<&[u8]>) -> Vec<u8> {
    let first = gzip(&floats(&[1.0, 2.0, 3.0, 4.0]));
    let mut out = first.clone();
    let mut index = vec![0u64, first.len() as u64];
    match second {
        Some(bytes) => {
            index.extend([out.len() as u64, bytes.len() as u64]);
            out.extend_from_slice(bytes);
        }
        None => index.extend([u64::MAX, u64::MAX]),
    }
    out.extend(index.iter().flat_map(|w| w.to_le_bytes()));
    out
}

fn sharded() -> Value {
    array3(&json!([{"name": "sharding_indexed", "configuration": {
        "chunk_shape": [2, 2], "codecs": [bytes(), {"name": "gzip", "configuration": {"level": 1}}],
        "index_codecs": [bytes()], "index_location": "end"}}]))
}

#[test]
fn version_3_is_read_with_shards_and_axes_swapped() {
    let folder = tempfile::tempdir().unwrap();
    let whole = floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0]);
    let all = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let path = version3(
        folder.path(),
        &array3(&json!([bytes()])),
        &[("c/0/0", &whole)],
    );
    assert_eq!(dense(&path).unwrap(), all);
    let swapped = floats(&[1.0, 3.0, 5.0, 0.0, 2.0, 4.0, 6.0, 0.0]);
    let codecs = json!([{"name": "transpose", "configuration": {"order": [1, 0]}}, bytes()]);
    let path = version3(folder.path(), &array3(&codecs), &[("c/0/0", &swapped)]);
    assert_eq!(dense(&path).unwrap(), all);
    let second = gzip(&floats(&[5.0, 6.0, 0.0, 0.0]));
    let path = version3(
        folder.path(),
        &sharded(),
        &[("c/0/0", &shard(Some(&second)))],
    );
    assert_eq!(dense(&path).unwrap(), all);
    let path = version3(folder.path(), &sharded(), &[("c/0/0", &shard(None))]);
    assert_eq!(dense(&path).unwrap(), [1.0, 2.0, 3.0, 4.0, 0.0, 0.0]);
}

/// The error of reading, which must name the store and hold `part`.
fn refused(path: &Path, part: &str) {
    let error = dense(path).unwrap_err().to_string();
    assert!(
        error.contains(part) && error.starts_with(&path.display().to_string()),
        "{error}"
    );
}

#[test]
fn metadata_that_cannot_be_are_refused_without_allocating_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = floats(&[1.0, 2.0, 3.0, 4.0]);
    for (changes, part) in [
        (
            json!({"shape": [3, 1_000_000_000_000u64]}),
            "does not match",
        ),
        (
            json!({"chunks": [4_000_000_000u64, 4_000_000_000u64]}),
            "more than the store can hold",
        ),
        (json!({"chunks": [0, 2]}), "chunks of [0, 2]"),
        (json!({"chunks": [2]}), "chunks of [2]"),
        (json!({"chunks": [2, 3]}), "has 16 bytes instead of 24"),
        (
            json!({"compressor": {"id": "lzma"}}),
            "compressed with lzma",
        ),
        (json!({"compressor": {"id": "zlib"}}), "chunk [0, 0]"),
        (json!({"compressor": {"id": "blosc"}}), "chunk [0, 0]"),
        (json!({"fill_value": "what"}), "fill value"),
        (json!({"filters": [{"id": "delta"}]}), "filter delta"),
        (json!({"dtype": "<c8"}), "<c8"),
        (json!({"dtype": [["a", "<f4"]]}), "records"),
        (json!({"shape": "none"}), "has no shape"),
    ] {
        let path = version2(folder.path(), &array2(&changes), &[("0.0", &data)]);
        refused(&path, part);
    }
    let path = version2(folder.path(), &array2(&json!({})), &[]);
    put_json(
        &path,
        "obs/_index/.zarray",
        &json!({"zarr_format": 2, "shape": [1u64 << 50], "chunks": [1u64 << 50], "dtype": "|O",
                "filters": [{"id": "vlen-utf8"}], "compressor": null, "order": "C"}),
    );
    refused(&path, "obs");
    put(&path, "obs/.zattrs", b"{\"_index\": ");
    refused(&path, ".zattrs");
}

#[test]
fn frames_that_promise_terabytes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    // Zstandard: magic, a descriptor with a size of eight bytes, the window, 64 TiB.
    let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1100_0000, 0x58];
    zstd.extend_from_slice(&(1u64 << 46).to_le_bytes());
    zstd.extend_from_slice(&[1, 0, 0]);
    let codecs =
        json!([bytes(), {"name": "zstd", "configuration": {"level": 0, "checksum": false}}]);
    refused(
        &version3(folder.path(), &array3(&codecs), &[("c/0/0", &zstd)]),
        "chunk [0, 0]",
    );
    // Blosc: version 2, 2 GiB unpacked in one block.
    let mut blosc = vec![2, 1, 0x21, 4];
    for size in [i32::MAX, i32::MAX, 64] {
        blosc.extend_from_slice(&size.to_le_bytes());
    }
    blosc.resize(64, 0);
    let codecs = json!([bytes(), {"name": "blosc", "configuration": {}}]);
    refused(
        &version3(folder.path(), &array3(&codecs), &[("c/0/0", &blosc)]),
        "chunk [0, 0]",
    );
}

#[test]
fn shards_cut_off_or_with_a_wrong_index_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let second = gzip(&floats(&[5.0, 6.0, 0.0, 0.0]));
    let good = shard(Some(&second));
    for end in 0..good.len() {
        let path = version3(folder.path(), &sharded(), &[("c/0/0", &good[..end])]);
        assert!(dense(&path).is_err(), "{end}");
    }
    for offset in [u64::MAX - 1, 1 << 40, good.len() as u64] {
        let mut bad = good.clone();
        let at = bad.len() - 32;
        bad[at..at + 8].copy_from_slice(&offset.to_le_bytes());
        let path = version3(folder.path(), &sharded(), &[("c/0/0", &bad)]);
        refused(&path, "X: chunk [0, 0]");
    }
}
