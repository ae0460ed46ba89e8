//! Other programs: cargo, git, and the two tasks that only call one.

use crate::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The root of the workspace: of the running cargo, else of the one it was built in.
pub(crate) fn root() -> PathBuf {
    let built = || env!("CARGO_MANIFEST_DIR").into();
    let here: PathBuf = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(built, PathBuf::from);
    here.parent().map_or_else(|| here.clone(), Path::to_owned)
}

/// The running cargo, or the one on the path.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Command::new(program)
}

/// `cargo xtask golden`.
pub(crate) fn golden(args: &[OsString]) -> Result<ExitCode, Error> {
    // Without a package: features are then those of the workspace, which is compiled already.
    let mut command = cargo();
    command.args(["run", "--quiet", "--bin", "golden", "--manifest-path"]);
    command.arg(root().join("Cargo.toml"));
    let mut following = args.iter().skip_while(|a| *a != "--device").skip(1);
    if let Some(device) = following.next().and_then(|d| d.to_str()) {
        let devices = [device.to_owned()];
        command.args(crate::experiment::build::feature_flags(&devices));
    }
    hand_on(command.arg("--").args(args))
}

/// `cargo xtask ci`.
pub(crate) fn ci() -> Result<ExitCode, Error> {
    hand_on(Command::new("bash").arg(root().join(".ci/run")))
}

/// Runs a command to its end and exits with its exit code.
fn hand_on(command: &mut Command) -> Result<ExitCode, Error> {
    let status = command.status().map_err(|e| failed(command, &e))?;
    // A signal has no exit code; 2 means an error.
    let code = status
        .code()
        .and_then(|c| u8::try_from(c).ok())
        .unwrap_or(2);
    Ok(ExitCode::from(code))
}

/// The error for a command that could not be started or read.
pub(crate) fn failed(command: &Command, why: &dyn std::fmt::Display) -> Error {
    Error::Process {
        command: command.get_program().to_string_lossy().into_owned(),
        what: format!("could not be run: {why}"),
    }
}

/// Standard output of a command, trimmed; `None` when it fails or is absent.
pub(crate) fn text_of(program: &str, args: &[&str], folder: &Path) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .current_dir(folder)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
