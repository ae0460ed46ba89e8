//! scGPT trained by each of its objectives from files and settings, as users do it.

use crate::common::{SMALL_SCGPT, fail, pretraining, succeed, text, tiny};
use sc_data::CsrMatrix;
use sc_data::io::h5ad::{Column, NewFrame, write_h5ad};
use std::fs;
use std::path::{Path, PathBuf};

const CELLS: usize = 48;
const GENES: usize = 12;

/// Genes and peaks of cells with labels, two batches and a screen.
fn cells(folder: &Path) -> PathBuf {
    let path = folder.join("screen.h5ad");
    let of = |names: [&str; 4]| Column::from_strings((0..CELLS).map(|i| names[i % 4].to_string()));
    let obs = NewFrame {
        index: (0..CELLS).map(|i| format!("cell{i}")).collect(),
        columns: vec![
            ("cell_type".into(), of(["a", "b", "b", "a"])),
            ("batch".into(), of(["x", "x", "y", "y"])),
            (
                "perturbation".into(),
                of(["control", "GENE1", "GENE2+control", "GENE1+GENE3"]),
            ),
        ],
    };
    let name = |j: usize| match j < 8 {
        true => format!("GENE{j}"),
        false => format!("chr1:{j}00-{j}50"),
    };
    let var = NewFrame {
        index: (0..GENES).map(name).collect(),
        columns: Vec::new(),
    };
    let values: Vec<f32> = (0..CELLS * GENES)
        .map(|k| ((k * 7 + k / 5) % 6) as f32)
        .collect();
    let rows = [Ok(CsrMatrix::from_dense(GENES, &values))];
    write_h5ad(&path, &obs, &var, rows, &[]).unwrap();
    path
}

#[test]
fn scgpt_trains_by_every_objective() {
    let folder = tempfile::tempdir().unwrap();
    let file = cells(folder.path());
    let batch: &[&str] = &["--batch", "batch"];
    let label: &[&str] = &["--set", "obs.label=cell_type"];
    for (preset, objective, more, term) in [
        ("scgpt", "masked", [].as_slice(), "gep"),
        ("scgpt-integration", "integration", batch, "dab"),
        ("scgpt", "multiomic", [].as_slice(), "gepc"),
        ("scgpt", "annotation", label, "cls"),
        ("scgpt", "generative", [].as_slice(), "prompted"),
        ("scgpt-perturbation", "perturbation", [].as_slice(), "mse"),
    ] {
        let (config, model) = (tiny(preset), folder.path().join(objective));
        let objective = format!("objective={objective}");
        let mut args = pretraining(&file, &config, &model);
        args.extend_from_slice(&["--set", &objective]);
        args.extend_from_slice(more);
        args.extend_from_slice(SMALL_SCGPT);
        succeed(&args);
        let log = fs::read_to_string(model.join("train.jsonl")).unwrap();
        assert_eq!(log.lines().count(), 24, "{objective}");
        assert!(
            log.lines().all(|l| l.contains(&format!("\"{term}\""))),
            "{objective}"
        );

        let vectors = model.join("cells.npy");
        let embed = [
            "embed",
            text(&file),
            "-m",
            text(&model),
            "-o",
            text(&vectors),
        ];
        match preset {
            "scgpt-integration" => {
                fail(
                    &embed,
                    &["a norm for every sequencing batch", "--batch COLUMN"],
                );
                succeed(&[&embed[..], batch].concat());
            }
            _ => {
                succeed(&embed);
            }
        }
        assert!(vectors.is_file(), "{objective}");
    }
}
