//! Presets are what their names say, and refuse what no setting can be.

use super::*;
use crate::registry::ARCHITECTURES;
use serde_json::{Value, json};

// The tests of the folder beside `src` need it as well, and cannot see this one's.
#[path = "../../tests/architectures/numbers.rs"]
mod numbers;
use numbers::numbers;

#[test]
fn every_preset_is_of_the_architecture_and_size_that_its_name_says() {
    for (name, text) in PRESETS {
        let spec: ModelSpec = settings::parse(text.parse().unwrap(), name).unwrap();
        let rest = name.strip_prefix(&format!("{}-", spec.architecture));
        // Before the size may stand an objective: `scgpt-integration-tiny`.
        let size = rest.and_then(|r| r.rsplit('-').next());
        assert!(size.is_some_and(|s| SIZES.contains(&s)), "{name}");
    }
    for a in ARCHITECTURES {
        assert!(of(a.name, "tiny").unwrap().is_some(), "{}", a.name);
    }
}

#[test]
fn a_file_wins_over_a_preset_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scgpt-tiny");
    std::fs::write(&file, "architecture = 'vae'").unwrap();
    let architecture = |named: &Path| read(named, &[]).unwrap()["architecture"].to_string();
    assert_eq!(architecture(&file), "\"vae\"");
    assert_eq!(architecture(Path::new("scgpt-tiny")), "\"scgpt\"");
    assert!(read(folder.path(), &[]).is_err());
}

/// The settings of `preset` with another value at `path`.
fn with(preset: &Value, path: &[String], value: Value) -> Value {
    let mut changed = preset.clone();
    let place = path.iter().try_fold(&mut changed, |v, k| v.get_mut(k));
    *place.unwrap() = value;
    changed
}

/// Data that every architecture can be counted on.
fn data() -> DataSpec {
    let mut data = assumed_with(600, 600);
    data.batches = numbered_batches(2);
    let conditions = ["ctrl", "1", "2"].map(String::from).to_vec();
    data.levels.insert(Role::Perturbation, conditions);
    data
}

/// Parameters of the model of these settings, or why there is none.
fn built(settings: &Value) -> std::result::Result<usize, String> {
    let spec: ModelSpec = sc_data::settings::keys::parse(settings.clone())?;
    spec.train.check().map_err(|e| e.to_string())?;
    let counted = size(&spec, &data()).map_err(|e| e.to_string())?;
    Ok(counted.parameters)
}

#[test]
fn every_number_of_every_preset_is_in_its_range_or_told_by_its_key() {
    for (name, text) in PRESETS {
        let table: Table = text.parse().unwrap();
        let preset = serde_json::to_value(table).unwrap();
        built(&preset).unwrap_or_else(|e| panic!("{name}: {e}"));
        let paths = numbers(&preset);
        assert!(paths.len() > 8, "{name}");
        for path in paths {
            let key = path.join(".");
            let last = path.last().unwrap();
            let wrong = [
                (json!(-1), "negative"),
                (json!("many"), "a word"),
                (json!(null), "nothing"),
                (json!([1, 2]), "a list"),
                (json!(4_000_000_000_u64), "huge"),
                (json!(0), "0"),
                (json!(1e-9), "tiny"),
                (json!(1.5), "a fraction"),
                (json!(1e300), "as large as can be"),
            ];
            for (value, kind) in wrong {
                let asked = with(&preset, &path, value.clone());
                // What is built must be countable; what is not must say which setting it was.
                if let Err(error) = built(&asked) {
                    assert!(
                        error.contains(last.as_str()),
                        "{name}: {key} = {value}: {error}"
                    );
                    continue;
                }
                let may = !["negative", "a word", "a list"].contains(&kind)
                    || path == ["network", "temperature", "log_scale"]
                    // A cosine.
                    || path == ["input", "ecs_threshold"]
                    || path == ["network", "filter", "frequency"];
                assert!(may, "{name}: {key} = {value} ({kind}) was taken");
            }
        }
    }
}

#[test]
fn settings_that_would_do_nothing_are_refused() {
    let tiny = |name: &str| {
        let table: Table = text(name).unwrap().parse().unwrap();
        serde_json::to_value(table).unwrap()
    };
    let head = |head: Value| {
        let mut cellplm = tiny("cellplm-tiny");
        cellplm["network"]["head"] = head;
        built(&cellplm).unwrap_err()
    };
    let decode = json!({
        "kind": "decode", "hidden": 8, "layers": 2, "batches": 0, "datasets": 0, "objective": "impute"
    });
    assert!(head(decode).contains("network.head.objective = 'impute'"));
    let mlp = json!({ "kind": "mlp", "outputs": 3, "hidden": 8, "layers": 2 });
    assert!(head(mlp).contains("network.head.kind = 'mlp'"));
    for (name, key, value) in [
        ("vae-tiny", "zero_inflated", json!(true)),
        ("vae-tiny", "genes", json!(17)),
        ("mlp-tiny", "classes", json!(77)),
        ("mlp-tiny", "decoder", json!(true)),
        ("uce-tiny", "tokens", json!(17)),
        ("scgpt-tiny", "pad", json!(17)),
        ("composed-tiny", "positions", json!(true)),
        ("nicheformer-tiny", "table", json!(17)),
        ("scprint-tiny", "genes", json!(17)),
    ] {
        let mut preset = tiny(name);
        preset["network"][key] = value;
        let error = built(&preset).unwrap_err();
        let begins = format!("network.{key} = ");
        assert!(
            error.contains(&begins) && error.contains("remove it"),
            "{name}: {error}"
        );
    }
}
