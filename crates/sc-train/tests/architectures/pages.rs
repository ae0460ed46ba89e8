//! The pages say of every architecture what the registry says.

use sc_train::registry::ARCHITECTURES;
use std::path::{Path, PathBuf};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src")
}

#[test]
fn the_table_of_models_is_the_registry() {
    let page = std::fs::read_to_string(docs().join("models.md")).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|l| l.starts_with("| [") && l.contains(".md)"))
        .map(|l| l.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(
        rows.len(),
        ARCHITECTURES.len(),
        "rows of docs/src/models.md"
    );
    let summary = std::fs::read_to_string(docs().join("SUMMARY.md")).unwrap();
    for (row, known) in rows.iter().zip(ARCHITECTURES) {
        let [title, name, paper, _, objectives, licence] = row[..] else {
            panic!("{row:?} has another number of columns");
        };
        assert_eq!(name, format!("`{}`", known.name));
        let listed: Vec<String> = (known.objectives.iter())
            .map(|o| format!("`{o}`"))
            .collect();
        assert_eq!(objectives, listed.join(", "), "{name}");
        assert_eq!(paper, known.paper, "{name}");
        assert_eq!(licence, known.licence, "{name}");
        let link = title.split(['(', ')']).nth(1).unwrap();
        assert!(docs().join(link).exists(), "{name}: {link}");
        assert!(
            summary.contains(link),
            "{name}: {link} is not in SUMMARY.md"
        );
    }
}
