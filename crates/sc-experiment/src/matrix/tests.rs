//! What is accepted and what is refused, with which words.

use super::*;

const SMALL: &str = r#"
name = "small"
seeds = [0, 1]
[data]
path = "a.h5ad"
[[methods]]
name = "m"
kind = "model"
model = "m.toml"
objective = ["denoise", "masked"]
[[methods]]
name = "pca"
kind = "baseline"
"#;

fn read(text: &str, set: &[&str]) -> Result<Loaded, String> {
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    parse(text, "x.toml", PathBuf::new(), &set).map_err(|e| e.to_string())
}

fn refusal(text: &str, set: &[&str]) -> String {
    read(text, set).err().expect("this must be refused")
}

#[test]
fn defaults_fill_what_is_left_out() {
    let loaded = read(SMALL, &[]).expect("a whole matrix");
    let e = loaded.matrix;
    assert_eq!(e.devices, ["flex"]);
    assert_eq!(e.data.0.len(), 1);
    assert_eq!(e.data.0[0].label, "cell_type");
    assert_eq!(e.eval.probe_neighbors, 15);
    assert_eq!(
        e.methods[0].objective,
        Some(OneOrMany(vec!["denoise".into(), "masked".into()]))
    );
}

#[test]
fn unknown_keys_name_themselves_and_the_known_ones() {
    let said = refusal(&SMALL.replace("[data]", "[data]\npat = 1"), &[]);
    for part in ["x.toml", "unknown field `pat`", "`path`", "line 5"] {
        assert!(said.contains(part), "{said}\nlacks {part}");
    }
    let said = refusal(SMALL, &["eval.bootstrap=3"]);
    assert!(
        said.contains("bootstrap") && said.contains("`probe_neighbors`"),
        "{said}"
    );
}

#[test]
fn a_value_that_does_not_fit_is_told_with_line_key_and_value() {
    let said = refusal(&SMALL.replace("[0, 1]", "[0, -1]"), &[]);
    for part in [
        "x.toml",
        "line 3",
        "seeds.1: ",
        "`-1`",
        "an integer of 0 or more",
    ] {
        assert!(said.contains(part), "{said}\nlacks {part}");
    }
    let pca = "kind = \"baseline\"\noptions = { genes = \"many\" }";
    let said = refusal(&SMALL.replace("kind = \"baseline\"", pca), &[]);
    for part in ["line 14", "methods.pca.options.genes: ", "\"many\""] {
        assert!(said.contains(part), "{said}\nlacks {part}");
    }
    let said = refusal(SMALL, &["split.test_donors=[]"]);
    assert!(
        said.contains("split.test_donors: invalid length 0"),
        "{said}"
    );
}

#[test]
fn faults_between_keys_are_found() {
    for (from, to, part) in [
        ("model = \"m.toml\"\n", "", "no `model`"),
        (
            "objective = [\"denoise\", \"masked\"]\n",
            "",
            "no `objective`",
        ),
        ("seeds = [0, 1]", "seeds = [1, 1]", "`1` twice"),
        ("seeds = [0, 1]", "seeds = []", "must not be empty"),
        (
            "seeds = [0, 1]",
            "devices = [\"flex\", \"tpu\"]",
            "there is no device 'tpu'; there are: flex",
        ),
        ("name = \"pca\"", "name = \"m\"", "`m` twice"),
        ("name = \"pca\"", "name = \"a/b\"", "names a folder"),
        (
            "kind = \"baseline\"",
            "kind = \"baseline\"\nmodel = \"x\"",
            "is not a model",
        ),
        (
            "kind = \"baseline\"",
            "kind = \"base\"",
            "unknown variant `base`",
        ),
        (
            "[data]",
            "[split]\ntest_fraction = 1.0\n[data]",
            "between 0 and 1",
        ),
        (
            "[data]",
            "[eval]\nmap_cells = 0\n[data]",
            "eval.map_cells = 0",
        ),
        (
            "[data]",
            "[data]\ndonor = \"cell_type\"",
            "is data.label as well",
        ),
    ] {
        let said = refusal(&SMALL.replace(from, to), &[]);
        assert!(said.contains(part), "{said}\nlacks {part}");
    }
}

#[test]
fn several_data_sets_are_an_array_of_tables() {
    let text = SMALL.replace("[data]", "[[data]]") + "[[data]]\npath = \"b.h5ad\"\n";
    let loaded = read(&text, &["data.1.label=type"]).expect("two data sets");
    let data = loaded.matrix.data.0;
    assert_eq!((data.len(), data[1].label.as_str()), (2, "type"));
}

#[test]
fn the_shipped_matrices_are_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/experiments");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path());
    let files: Vec<_> = files
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    assert!(files.len() > 8, "{files:?}");
    for file in files {
        let loaded = load(&file, &[]).map_err(|e| e.to_string());
        let matrix = loaded.expect("a shipped matrix").matrix;
        let name = file.file_name().unwrap().to_string_lossy();
        if ["quickstart.toml", "pancreas.toml", "backends.toml"].contains(&&*name) {
            let mut methods = matrix.methods.iter();
            let untrained = methods.any(|m| m.kind == MethodKind::RandomInit);
            assert!(untrained, "{name}");
        }
    }
}
