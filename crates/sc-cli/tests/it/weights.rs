//! Published weights: every container loads, everything wrong is reported, nothing is executed.

use crate::common::{dense, fail, run, scfm, succeed};
use sc_models::weights::{Checkpoint, read_safetensors};
use std::path::{Path, PathBuf};

fn published(rest: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/published");
    root.join(rest).display().to_string()
}

fn manifest() -> serde_json::Value {
    let text = std::fs::read_to_string(published("manifest.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The value that the script gave to element `i` of a tensor.
fn given(name: &str, i: usize) -> f32 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |h, b| {
        (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
    });
    let k = (hash as usize + 37 * i) % 256;
    (k as f32 - 128.0) / 64.0
}

fn convert(from: &str, weights: &str, more: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    let output = model.display().to_string();
    let weights = published(weights);
    let mut args = vec!["convert", &weights, "--from", from, "-o", &output];
    args.extend(more);
    succeed(&args);
    (folder, model)
}

#[test]
fn weights_of_every_publisher_become_models() {
    let vocabulary = published("nicheformer/huggingface/vocab.json");
    for (from, weights, more, tensor) in [
        ("scgpt", "scgpt-human", vec![], "decoder.fc.0.weight"),
        ("scgpt", "scgpt-finetuned", vec![], "mvc_decoder.W.weight"),
        ("cellplm", "cellplm-gmvae", vec![], "embedder.feat_enc.emb"),
        (
            "cellplm",
            "cellplm-vae",
            vec![],
            "decoder.out_layer.dec_1.weight",
        ),
        ("scprint", "scprint-v1", vec![], "expr_decoder.fc.0.weight"),
        (
            "nicheformer",
            "nicheformer/huggingface",
            vec![],
            "embeddings.weight",
        ),
        (
            "nicheformer",
            "nicheformer/nicheformer.ckpt",
            vec!["--vocab", &vocabulary],
            "embeddings.weight",
        ),
    ] {
        let (_folder, model) = convert(from, weights, &more);
        let tensors = read_safetensors(&model.join("model.safetensors")).unwrap();
        for (i, &value) in tensors[tensor].data.iter().enumerate() {
            assert_eq!(value, given(tensor, i), "{weights} {tensor} {i}");
        }
    }
}

#[test]
fn what_an_architecture_does_not_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("model").display().to_string();
    let scgpt = published("scgpt-human");
    let args = ["convert", &scgpt, "-o", &output];
    let with = |more: &[&str], parts: &[&str]| fail(&[&args[..], more].concat(), parts);
    let reads = "it reads --config FILE, --vocab FILE";
    for more in [
        ["--heads", "4"],
        ["--chromosomes", "chrom.csv"],
        ["--offset", "3"],
        ["--species", "mouse"],
        ["--means", "means.npy"],
    ] {
        let wanted = format!("--from scgpt does not read {}", more[0]);
        with(
            &[&["--from", "scgpt"], &more[..]].concat(),
            &[&wanted, reads],
        );
    }
    with(
        &["--from", "scgpt", "--counts", "X"],
        &["--counts", "leave them out"],
    );
    with(
        &["--from", "scgpt", "--to", "store"],
        &["--from scgpt", "leave one of them out"],
    );
    assert!(!Path::new(&output).exists());
}

#[test]
fn a_converted_scgpt_embeds_by_its_vocabulary() {
    let (folder, model) = convert("scgpt", "scgpt-human", &[]);
    // Rows of the table follow the tokens of vocab.json, whatever order they stand in there.
    let genes = std::fs::read_to_string(model.join("genes.tsv")).unwrap();
    let first = genes.lines().nth(1).unwrap().split('\t').next().unwrap();
    let vocabulary = std::fs::read_to_string(published("scgpt-human/vocab.json")).unwrap();
    let vocabulary: serde_json::Value = serde_json::from_str(&vocabulary).unwrap();
    let row = vocabulary[first].as_u64().unwrap() as usize;
    let table = read_safetensors(&model.join("model.safetensors")).unwrap();
    let table = &table["encoder.embedding.weight"];
    let width = table.shape[1];
    let name = "encoder.embedding.weight";
    let expected: Vec<f32> = (0..width).map(|i| given(name, row * width + i)).collect();
    assert_eq!(table.data[..width], expected);

    let cells = dense(
        folder.path(),
        "cells.h5ad",
        3,
        &[1.0, 0.0, 4.0, 2.0, 3.0, 0.0],
    );
    let (cells, model) = (cells.display().to_string(), model.display().to_string());
    let vectors = folder.path().join("cells.npy").display().to_string();
    // Two of the file's three genes have names of the model's.
    succeed(&["embed", &cells, "--model", &model, "-o", &vectors]);
    assert!(Path::new(&vectors).is_file());
}

#[test]
fn of_uce_the_rows_of_one_species_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    // 14 rows: four special tokens, two genes of another species, five of this, three chromosomes.
    let symbols = file("genes.txt", "A\nB\nC\nD\nE\n");
    let places = file(
        "species_chrom.csv",
        "species,gene_symbol,chromosome,start\nhuman,A,1,500\nhuman,B,2,10\nhuman,C,1,20\n\
         human,E,2,30\nfrog,Z,1,5\n",
    );
    let more = |offset| {
        vec![
            "--vocab",
            &symbols,
            "--chromosomes",
            &places,
            "--offset",
            offset,
            "--heads",
            "2",
        ]
    };
    for weights in ["uce-4layer", "uce-33layer"] {
        let (_model, model) = convert("uce", weights, &more("6"));
        let genes = std::fs::read_to_string(model.join("genes.tsv")).unwrap();
        // D has no place, and codes of chromosomes are those of this species.
        let rows: Vec<&str> = genes.lines().skip(1).collect();
        let rows: Vec<String> = rows.iter().map(|r| r.replace('\t', " ")).collect();
        assert_eq!(rows, ["A   0:500", "B   1:10", "C   0:20", "E   1:30"]);
        let table = read_safetensors(&model.join("model.safetensors")).unwrap();
        let table = &table["pe_embedding.weight"];
        let width = table.shape[1];
        let name = "pe_embedding.weight";
        // Three chromosomes of two species are the last three rows; ours are the last two.
        for (ours, theirs) in [0, 1, 2, 3, 6, 7, 8, 10, 12, 13].into_iter().enumerate() {
            for i in 0..width {
                let value = table.data[ours * width + i];
                assert_eq!(value, given(name, theirs * width + i), "row {ours}");
            }
        }
    }
    let weights = published("uce-4layer");
    let output = folder.path().join("model").display().to_string();
    let args = ["convert", &weights, "--from", "uce", "-o", &output];
    fail(&args, &["--vocab"]);
    let mut args = args.to_vec();
    args.extend(more("9"));
    fail(&args, &["14 rows", "another model"]);
    assert!(!Path::new(&output).exists());
}

#[test]
fn scclip_takes_its_features_from_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("features.txt");
    let genes = (0..12).map(|i| format!("G{i}\n"));
    let peaks = (0..14).map(|i| format!("chr1-{}-{}\n", 1000 * i, 1000 * i + 500));
    std::fs::write(&list, genes.chain(peaks).collect::<String>()).unwrap();
    let list = list.display().to_string();
    let (_folder, model) = convert("scclip", "scclip", &["--vocab", &list, "--heads", "2"]);
    let tensors = read_safetensors(&model.join("model.safetensors")).unwrap();
    assert_eq!(tensors["atac_projection.weight"].shape, [4, 4]);
}

#[test]
fn every_wrong_tensor_is_told_and_nothing_is_written() {
    let faults = manifest()["faults"].clone();
    for (file, names) in faults.as_object().unwrap() {
        let weights = published(&format!("scgpt-faults/{file}"));
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        let output = model.display().to_string();
        let result = run(&["convert", &weights, "--from", "scgpt", "-o", &output]);
        let told = String::from_utf8_lossy(&result.stderr).into_owned();
        assert_eq!(result.status.code(), Some(2), "{file}: {told}");
        let text = names.to_string();
        let wanted = text.split('"').filter(|t| t.contains('.'));
        for name in wanted {
            assert!(told.contains(name), "{file}: {name} is not in: {told}");
        }
        assert!(!model.exists(), "{file}: something was written");
    }
}

#[test]
fn every_container_gives_the_same_tensors() {
    let loads = manifest()["loads"].clone();
    for (file, about) in loads.as_object().unwrap() {
        let path = PathBuf::from(published(file));
        if file.ends_with("opaque.ckpt") {
            // Entries set on an object of an absent class are beyond the reader; it says so.
            let error = Checkpoint::open(&path).err().expect("an unread opcode");
            assert!(error.to_string().contains("opaque.ckpt"), "{error}");
            continue;
        }
        let checkpoint = Checkpoint::open(&path).unwrap();
        let count = checkpoint.names().count();
        assert_eq!(count as u64, about["tensors"].as_u64().unwrap(), "{file}");
        if file.starts_with("variants/") && !file.contains("strided") {
            let expected = read_safetensors(Path::new(&published("variants/expected.safetensors")));
            let found = checkpoint.into_tensors("module.").unwrap();
            assert_eq!(found, expected.unwrap(), "{file}");
        }
    }
}

#[test]
fn hostile_and_broken_files_are_refused_and_run_nothing() {
    let refused = manifest()["refused"].clone();
    for (file, why) in refused.as_object().unwrap() {
        let path = PathBuf::from(published(file));
        let read = Checkpoint::open(&path).and_then(|c| c.into_tensors(""));
        // Its tensors are sound; what lies beside them must not run.
        if !file.contains("runs_beside") {
            let error = read
                .err()
                .unwrap_or_else(|| panic!("{file} was read: {why}"));
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(error.to_string().contains(&name), "{error}");
        }
    }
}

#[test]
fn calls_in_checkpoints_are_met_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    // The last value of the first two is a call and called `more`; the third is a call as a whole.
    for (file, met) in [
        ("runs.pt", "\"more\""),
        ("runs_legacy.pt", "\"more\""),
        ("runs_eval.pt", "root is not a dictionary"),
    ] {
        let file = published(&format!("refused/{file}"));
        let output = scfm(&["convert", &file, "--from", "scprint", "-o", "model"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(met), "{said}");
    }
    // What runs leaves a file in the working folder.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_pickle_that_runs_something_in_python_runs_nothing_here() {
    let folder = tempfile::tempdir().unwrap();
    let cells = dense(folder.path(), "cells.h5ad", 2, &[1.0, 2.0, 3.0, 4.0]);
    let (pickle, mark) = (
        folder.path().join("vocabulary.pkl"),
        folder.path().join("mark"),
    );
    // pickle.dumps({"A": x}, protocol=2), where x is unpickled by os.system("touch …").
    let touch = format!("touch '{}'", mark.display());
    let mut bytes = b"\x80\x02}X\x01\0\0\0Acposix\nsystem\nX".to_vec();
    bytes.extend((touch.len() as u32).to_le_bytes());
    bytes.extend(touch.as_bytes());
    bytes.extend(b"\x85Rs.");
    std::fs::write(&pickle, bytes).unwrap();
    let (cells, path) = (cells.display().to_string(), pickle.display().to_string());
    let parts = ["vocabulary.pkl", "asks Python for posix.system"];
    fail(&["doctor", &cells, "--model", &path], &parts);
    assert!(!mark.exists());
    // That the file is a danger can only be shown where there is Python.
    let load = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))";
    let python = std::process::Command::new("python3")
        .args(["-c", load, &path])
        .status();
    if let Ok(status) = python {
        assert!(status.success() && mark.exists(), "Python runs it");
    }
}
