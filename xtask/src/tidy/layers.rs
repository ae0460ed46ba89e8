//! The dependencies between crates, and which may use HDF5 and burn.

use super::Finding;
use super::metadata::{Metadata, Package};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Crates of the workspace that a crate may depend on. Crates not listed here (tests, benches) may
/// depend on all.
const ARROWS: &[(&str, &[&str])] = &[
    ("sc-data", &[]),
    ("sc-models", &["sc-data"]),
    ("sc-train", &["sc-data", "sc-models"]),
    ("sc-eval", &["sc-data"]),
    ("sc-experiment", &["sc-data", "sc-eval"]),
    (
        "sc-run",
        &[
            "sc-data",
            "sc-models",
            "sc-train",
            "sc-eval",
            "sc-experiment",
        ],
    ),
    (
        "sc-cli",
        &[
            "sc-data",
            "sc-models",
            "sc-train",
            "sc-eval",
            "sc-experiment",
            "sc-run",
        ],
    ),
    ("xtask", &["sc-data", "sc-eval", "sc-experiment"]),
];

/// Crates that must not depend on burn, even indirectly.
const WITHOUT_BURN: &[&str] = &["sc-data", "sc-eval", "sc-experiment", "xtask"];

pub(super) fn check(metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    let members: BTreeSet<&str> = metadata.members().map(|p| p.name.as_str()).collect();
    for package in metadata.members() {
        arrows(package, &members, &mut findings);
        hdf5(package, &mut findings);
        if WITHOUT_BURN.contains(&package.name.as_str())
            && let Some(chain) = path_to_burn(metadata, &package.id)
        {
            let what = format!(
                "{} depends on burn through {}; move what needs tensors to sc-models or sc-train",
                package.name,
                chain.join(" → ")
            );
            findings.push(Finding::new(manifest(&package.name), 0, what));
        }
    }
    findings
}

/// Path of a member's manifest.
fn manifest(name: &str) -> String {
    match name {
        "xtask" | "benches" => format!("{name}/Cargo.toml"),
        _ if name.starts_with("sc-") => format!("crates/{name}/Cargo.toml"),
        _ => "Cargo.toml".to_owned(),
    }
}

fn arrows(package: &Package, members: &BTreeSet<&str>, findings: &mut Vec<Finding>) {
    let Some((_, allowed)) = ARROWS.iter().find(|a| a.0 == package.name) else {
        return;
    };
    let used = package
        .dependencies
        .iter()
        .filter(|d| d.kind.as_deref() != Some("dev"));
    for dependency in used {
        let name = dependency.name.as_str();
        if members.contains(name) && !allowed.contains(&name) {
            let what = format!(
                "{} must not depend on {name}; it may depend on {}",
                package.name,
                if allowed.is_empty() {
                    "no crate of the workspace".to_owned()
                } else {
                    allowed.join(", ")
                }
            );
            findings.push(Finding::new(manifest(&package.name), 0, what));
        }
    }
}

fn hdf5(package: &Package, findings: &mut Vec<Finding>) {
    let is_hdf5 = |name: &str| name.contains("hdf5") || name.contains("netcdf");
    let used = package.dependencies.iter().filter(|d| is_hdf5(&d.name));
    for dependency in used.filter(|_| package.name != "sc-data") {
        let what = format!(
            "{} depends on {}; only sc-data touches HDF5, use its readers",
            package.name, dependency.name
        );
        findings.push(Finding::new(manifest(&package.name), 0, what));
    }
}

/// The shortest chain of normal and build dependencies from a package to a crate of burn.
fn path_to_burn(metadata: &Metadata, from: &str) -> Option<Vec<String>> {
    let nodes = &metadata.resolve.as_ref()?.nodes;
    let edges: BTreeMap<&str, _> = nodes.iter().map(|n| (n.id.as_str(), &n.deps)).collect();
    let names: BTreeMap<&str, &str> = metadata
        .packages
        .iter()
        .map(|p| (p.id.as_str(), p.name.as_str()))
        .collect();
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(id) = queue.pop_front() {
        let name = names.get(id).copied().unwrap_or(id);
        if name == "burn" || name.starts_with("burn-") {
            let mut chain = vec![name.to_owned()];
            let mut at = id;
            while let Some(previous) = before.get(at) {
                chain.insert(
                    0,
                    names.get(previous).copied().unwrap_or(previous).to_owned(),
                );
                at = previous;
            }
            return Some(chain);
        }
        let Some(deps) = edges.get(id) else { continue };
        for dependency in deps.iter() {
            let linked = dependency
                .dep_kinds
                .iter()
                .any(|k| k.kind.as_deref() != Some("dev"));
            let target = dependency.pkg.as_str();
            if linked && target != from && !before.contains_key(target) {
                before.insert(target, id);
                queue.push_back(target);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(edges: &[(&str, &[&str])]) -> Metadata {
        let packages: Vec<serde_json::Value> = edges
            .iter()
            .map(|(name, deps)| {
                let deps: Vec<_> =
                    deps.iter().map(|d| serde_json::json!({"name": d, "kind": null})).collect();
                serde_json::json!({
                    "id": name, "name": name, "version": "1.0.0", "license": "MIT", "dependencies": deps
                })
            })
            .collect();
        let nodes: Vec<serde_json::Value> = edges
            .iter()
            .map(|(name, deps)| {
                let deps: Vec<_> = deps
                    .iter()
                    .map(|d| serde_json::json!({"pkg": d, "dep_kinds": [{"kind": null}]}))
                    .collect();
                serde_json::json!({"id": name, "deps": deps})
            })
            .collect();
        let members: Vec<&str> = edges
            .iter()
            .map(|e| e.0)
            .filter(|n| n.starts_with("sc-") || *n == "xtask")
            .collect();
        serde_json::from_value(serde_json::json!({
            "packages": packages, "workspace_members": members, "resolve": {"nodes": nodes}
        }))
        .expect("metadata")
    }

    #[test]
    fn the_designed_arrows_pass() {
        let fine = metadata(&[
            ("sc-data", &["rust-hdf5"]),
            ("sc-models", &["sc-data", "burn"]),
            ("sc-train", &["sc-models", "sc-data", "burn"]),
            ("sc-eval", &["sc-data"]),
            ("sc-cli", &["sc-data", "sc-models", "sc-train", "sc-eval"]),
            ("xtask", &["sc-data", "sc-eval"]),
            ("rust-hdf5", &[]),
            ("burn", &[]),
        ]);
        assert_eq!(check(&fine), []);
    }

    #[test]
    fn wrong_arrows_are_found() {
        let wrong = metadata(&[
            ("sc-data", &["sc-eval"]),
            ("sc-eval", &["sc-data", "helper", "hdf5-reader"]),
            ("helper", &["burn-core"]),
            ("burn-core", &[]),
            ("hdf5-reader", &[]),
        ]);
        let said: Vec<String> = check(&wrong).into_iter().map(|f| f.what).collect();
        assert!(
            said.iter()
                .any(|s| s.contains("sc-data must not depend on sc-eval")),
            "{said:?}"
        );
        assert!(
            said.iter()
                .any(|s| s.contains("sc-eval → helper → burn-core")),
            "{said:?}"
        );
        assert!(
            said.iter().any(|s| s.contains("only sc-data touches HDF5")),
            "{said:?}"
        );
    }
}
