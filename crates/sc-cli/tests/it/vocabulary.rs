//! Which genes make the vocabulary.

use crate::common::{SMALL_CELLPLM, fail, pretraining, simulated, succeed, tiny};
use std::collections::BTreeSet;

#[test]
fn flavours_choose_other_genes_and_an_unknown_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (simulated(folder.path(), 150), tiny("cellplm"));
    let mut found = BTreeSet::new();
    for flavor in ["seurat", "cell_ranger", "seurat_v3"] {
        let model = folder.path().join(flavor);
        let flavor = format!("vocabulary.flavor={flavor}");
        let sets = ["--set", "train.steps=1", "--set", "vocabulary.genes=20"];
        let args = pretraining(&file, &config, &model);
        succeed(&[&args[..], SMALL_CELLPLM, &sets, &["--set", &flavor]].concat());
        let genes = std::fs::read_to_string(model.join("genes.tsv")).unwrap();
        let names = genes.lines().filter_map(|l| l.split('\t').next());
        let names: BTreeSet<String> = names.map(str::to_owned).collect();
        // A header and 20 genes.
        assert_eq!(names.len(), 21, "{flavor}");
        found.insert(names);
    }
    assert_eq!(found.len(), 3, "two flavours chose the same genes");
    let model = folder.path().join("unknown");
    let args = pretraining(&file, &config, &model);
    let set = ["--set", "vocabulary.flavor=seurat_v4"];
    fail(
        &[&args[..], &set].concat(),
        &["vocabulary.flavor", "seurat_v3"],
    );
}
