//! Messages about invalid settings.

use super::*;
use sc_data::settings::keys::parse;
use sc_models::cellplm::CellPlmConfig;
use serde_json::json;

fn message<T: DeserializeOwned + std::fmt::Debug>(value: Value) -> String {
    parse::<T>(value).unwrap_err()
}

#[test]
fn errors_name_the_key() {
    let spec = |part: Value| json!({ "architecture": "vae", "train": part });
    assert_eq!(
        message::<ModelSpec>(spec(json!({ "minibatch": 5, "steps": -1 }))),
        "train.steps: invalid value: integer `-1`, expected an integer of 0 or more"
    );
    let error = message::<ModelSpec>(spec(json!({ "clip": "x", "steps": 3 })));
    assert!(
        error.starts_with("train.clip: ") && error.ends_with("a number"),
        "{error}"
    );
    let error = message::<ModelSpec>(spec(json!({ "stpes": 3 })));
    assert!(error.starts_with("train: unknown field `stpes`"), "{error}");
    let error = message::<ModelSpec>(json!({ "train": {} }));
    assert_eq!(error, "missing field `architecture`");
    let latent = |latent: Value| message::<CellPlmConfig>(json!({ "heads": 2, "latent": latent }));
    let error = latent(json!({ "kind": "vae", "free_nats": null }));
    assert!(
        error.starts_with("latent.free_nats: invalid type: null"),
        "{error}"
    );
    let error = latent(json!({ "kind": "vae" }));
    assert!(error.ends_with("missing field `free_nats`"), "{error}");
    let error = latent(json!({ "kind": "dream" }));
    assert!(
        error.starts_with("latent.kind: unknown variant `dream`"),
        "{error}"
    );
}
