//! The `scfm` executable: built by cargo, identified by its hash.

use super::Profile;
use crate::error::Error;
use crate::process::{cargo, failed, root};
use sc_data::io::atomic::hash_file;
use sc_experiment::check::DEVICES;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// An executable and its identity.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// First line of `scfm --version`.
    pub(crate) version: String,
    /// blake3 of the file: another build is another program, whatever its version.
    pub(crate) hash: String,
}

impl Program {
    pub(crate) fn inspect(path: &Path) -> Result<Self, Error> {
        let path = std::path::absolute(path).map_err(Error::io(path))?;
        let hash = hash_file(&path)?;
        let text = crate::process::text_of(&path.to_string_lossy(), &["--version"], &root());
        let version = text.and_then(|t| t.lines().next().map(str::to_owned));
        Ok(Self {
            version: version.unwrap_or_else(|| "unknown".to_owned()),
            path,
            hash,
        })
    }
}

/// A line of `cargo build --message-format=json`, as far as needed.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Builds `scfm` with the features that `devices` need and returns its path.
pub(crate) fn scfm(profile: Profile, devices: &[String]) -> Result<PathBuf, Error> {
    let mut command = cargo();
    command.current_dir(root()).args([
        "build",
        // Without a package: features are then those of the workspace, as in tests.
        "--bin",
        "scfm",
        "--message-format=json-render-diagnostics",
    ]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    command.args(feature_flags(devices));
    eprintln!("building scfm …");
    built(&mut command, "scfm")
}

/// Runs a build with JSON messages and returns the path of one executable.
pub(crate) fn built(command: &mut std::process::Command, name: &str) -> Result<PathBuf, Error> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| failed(command, &e))?;
    let fail = |what: String| Error::Process {
        command: format!("cargo build of {name}"),
        what,
    };
    if !output.status.success() {
        return Err(fail("failed; its messages are above".to_owned()));
    }
    executable(&String::from_utf8_lossy(&output.stdout), name)
        .ok_or_else(|| fail(format!("reported no executable `{name}`")))
}

fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let parsed = messages
        .lines()
        .filter_map(|l| serde_json::from_str::<Message>(l).ok());
    parsed
        .filter(|m| m.reason == "compiler-artifact")
        .filter(|m| m.target.as_ref().is_some_and(|t| t.name == name))
        .find_map(|m| m.executable)
}

/// The flags of a build for `devices`.
pub(crate) fn feature_flags(devices: &[String]) -> Vec<String> {
    let of_package: Vec<String> = (features(devices).iter())
        .map(|f| format!("sc-cli/{f}"))
        .collect();
    match of_package.is_empty() {
        true => Vec::new(),
        false => vec!["--features".to_owned(), of_package.join(",")],
    }
}

/// Cargo features of `sc-cli` beyond its defaults; `cuda:1` needs `cuda`.
fn features(devices: &[String]) -> Vec<&str> {
    let mut out: Vec<&str> = devices
        .iter()
        .map(|d| d.split(':').next().unwrap_or(d))
        // Others are always there, or unknown: scfm says so, cargo would name a feature.
        .filter(|d| DEVICES.contains(d) && !matches!(*d, "flex" | "cpu"))
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_name_their_features() {
        let devices = ["flex", "cuda:1", "cuda:0", "wgpu"].map(str::to_owned);
        assert_eq!(features(&devices), ["cuda", "wgpu"]);
    }

    #[test]
    fn the_executable_is_found_among_messages() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"sc_data\"},\"executable\":null}\n",
            "not json\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"scfm\"},\"executable\":\"t/scfm\"}\n",
            "{\"reason\":\"build-finished\",\"success\":true}\n",
        );
        assert_eq!(executable(messages, "scfm"), Some(PathBuf::from("t/scfm")));
        assert_eq!(executable(messages, "loader"), None);
    }
}
