//! `cargo metadata`, as far as the checks need it.

use crate::error::Error;
use crate::process::{cargo, failed};
use serde::Deserialize;
use std::path::Path;

/// Packages and their dependencies.
#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) packages: Vec<Package>,
    pub(super) workspace_members: Vec<String>,
    pub(super) resolve: Option<Resolve>,
}

#[derive(Deserialize)]
pub(super) struct Package {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) license: Option<String>,
    pub(super) dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// Absent for normal dependencies, else `dev` or `build`.
    pub(super) kind: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Resolve {
    pub(super) nodes: Vec<Node>,
}

#[derive(Deserialize)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) deps: Vec<NodeDependency>,
}

#[derive(Deserialize)]
pub(super) struct NodeDependency {
    pub(super) pkg: String,
    pub(super) dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
pub(super) struct DependencyKind {
    pub(super) kind: Option<String>,
}

impl Metadata {
    /// Packages of the workspace.
    pub(super) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|p| self.workspace_members.contains(&p.id))
    }
}

pub(super) fn read(root: &Path) -> Result<Metadata, Error> {
    let mut command = cargo();
    command
        .current_dir(root)
        .args(["metadata", "--format-version", "1"]);
    let output = command.output().map_err(|e| failed(&command, &e))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(&command, &said));
    }
    serde_json::from_slice(&output.stdout).map_err(Error::json("cargo metadata"))
}
