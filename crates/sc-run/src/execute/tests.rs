//! The runs of the guide are runs.

use super::*;
use sc_experiment::matrix;
use sc_train::presets::{assumed, size};

/// The blocks of TOML of a page.
fn blocks(page: &str) -> Vec<&str> {
    let parts = page.split("```toml\n").skip(1);
    parts.filter_map(|p| p.split("\n```").next()).collect()
}

/// What every program does with a `run.toml` before it looks at the data.
fn is_run(text: &str, folder: &Path) -> Result<Run> {
    let path = folder.join("run.toml");
    std::fs::write(&path, text).expect("a file");
    let run = read(&path)?;
    check::run(&run)?;
    if run.method.kind.is_network() {
        let spec = spec(&run.method)?;
        spec.train.check()?;
        let features = spec.known()?.features;
        size(&spec, &assumed(features))?;
    }
    Ok(run)
}

#[test]
fn every_run_and_matrix_of_the_guide_is_one() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/guide");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut found = 0;
    for page in std::fs::read_dir(guide).expect("the guide").flatten() {
        let page = std::fs::read_to_string(page.path()).expect("a page");
        let blocks = blocks(&page);
        // A method alone stands for a run that has it instead of the first one's.
        let whole = blocks.iter().find(|b| b.contains("schema ="));
        let head = whole
            .and_then(|b| b.split("[method]").next())
            .unwrap_or_default();
        for block in blocks {
            found += 1;
            if block.contains("[[methods]]") {
                let path = folder.path().join("matrix.toml");
                std::fs::write(&path, block).expect("a file");
                matrix::load(&path, &[]).unwrap_or_else(|e| panic!("{e}\n{block}"));
                continue;
            }
            let text = match block.contains("schema =") {
                true => block.to_owned(),
                false => format!("{head}{block}"),
            };
            is_run(&text, folder.path()).unwrap_or_else(|e| panic!("{e}\n{text}"));
        }
    }
    assert!(found >= 4, "{found}");
}
