//! `cargo xtask llvm`: the LLVM that a build with CUDA needs, from PyPI.
//!
//! burn compiles CUDA kernels with LLVM; its build script downloads it from GitHub unless a copy
//! lies where it looks. The same static libraries are on PyPI, which many closed networks mirror.

use crate::error::Error;
use crate::process::{failed, root};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The packages, of one release: LLVM, and the code generators that the first leaves out.
const PACKAGES: [&str; 2] = ["mlc-llvm-static", "mlc-llvm-static-extra-targets"];
/// Their release, of the same LLVM as burn's.
const RELEASE: &str = "23.1.1.post0";
/// The crate whose build script looks for it.
const BUNDLER: &str = "tracel-llvm-bundler";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A Python 3.10 or newer with pip; the build runs it as well, by the name python3.
    #[arg(long, default_value = "python3")]
    python: String,
    /// Replace a copy that is there.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Error> {
    let lock = root().join("Cargo.lock");
    let text = fs::read_to_string(&lock).map_err(Error::io(&lock))?;
    let version = version(&text, BUNDLER).ok_or_else(|| {
        Error::config(lock.display().to_string(), format!("it holds no {BUNDLER}"))
    })?;
    let folder = data_folder()?
        .join("tracel")
        .join(format!("tracel-llvm-{version}"));
    let marker = folder.join(".tracel-llvm-installed");
    if marker.exists() && !args.force {
        println!("{} is there already", folder.display());
        return Ok(ExitCode::SUCCESS);
    }
    let parent = folder.parent().expect("invariant: a folder in another");
    fs::create_dir_all(parent).map_err(Error::io(parent))?;
    // Beside its place, so that it arrives whole or not at all.
    let work = parent.join(format!(".scfm-llvm-{}", std::process::id()));
    let filled = fill(&args.python, &work);
    let placed = filled.and_then(|tree| {
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(Error::io(&folder))?;
        }
        fs::rename(&tree, &folder).map_err(Error::io(&folder))
    });
    // What is left of the packages; the error above is the one to tell.
    let _ = fs::remove_dir_all(&work);
    placed?;
    println!(
        "LLVM {RELEASE} is in {}; now build with `--features cuda`",
        folder.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// Downloads and unpacks the packages below `work` and returns the tree of LLVM, marked as complete.
fn fill(python: &str, work: &Path) -> Result<PathBuf, Error> {
    let wheels = work.join("wheels");
    fs::create_dir_all(&wheels).map_err(Error::io(&wheels))?;
    let mut download = Command::new(python);
    download.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
    ]);
    download.arg("--dest").arg(&wheels);
    download.args(PACKAGES.map(|p| format!("{p}=={RELEASE}")));
    done(&mut download)?;
    for entry in fs::read_dir(&wheels).map_err(Error::io(&wheels))?.flatten() {
        let mut unpack = Command::new(python);
        unpack
            .args(["-m", "zipfile", "-e"])
            .arg(entry.path())
            .arg(work);
        done(&mut unpack)?;
    }
    let tree = work.join("mlc_llvm_static").join("static");
    let program = tree.join("bin").join("llvm-config");
    executable(&program).map_err(Error::io(&program))?;
    let marker = tree.join(".tracel-llvm-installed");
    fs::write(&marker, "").map_err(Error::io(&marker))?;
    Ok(tree)
}

/// Runs a command that must succeed; what it says goes to the terminal.
fn done(command: &mut Command) -> Result<(), Error> {
    let status = command.status().map_err(|e| failed(command, &e))?;
    match status.success() {
        true => Ok(()),
        false => Err(failed(command, &status)),
    }
}

/// Zip files keep no permissions here.
#[cfg(unix)]
fn executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn executable(path: &Path) -> std::io::Result<()> {
    fs::metadata(path).map(|_| ())
}

/// The folder of programs' data of this user, where the build script looks.
fn data_folder() -> Result<PathBuf, Error> {
    let absolute = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|p| p.is_absolute())
    };
    let home = || absolute("HOME");
    let found = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        home().map(|h| h.join("Library/Application Support"))
    } else {
        absolute("XDG_DATA_HOME").or_else(|| home().map(|h| h.join(".local/share")))
    };
    found.ok_or_else(|| Error::config("HOME", "is not set, so there is no folder for LLVM"))
}

/// The version of a package in a `Cargo.lock`.
fn version<'t>(lock: &'t str, package: &str) -> Option<&'t str> {
    let mut lines = lock.lines();
    lines.find(|l| *l == format!("name = \"{package}\""))?;
    let line = lines.next()?.strip_prefix("version = \"")?;
    line.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_tells_which_llvm_is_wanted() {
        let lock = root().join("Cargo.lock");
        let text = fs::read_to_string(lock).unwrap();
        let found = version(&text, BUNDLER).unwrap();
        let release = |v: &str| v.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(release(found), release(RELEASE));
        assert_eq!(version(&text, "no-such-crate"), None);
    }

    #[test]
    fn a_python_that_fails_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let error = fill("false", &folder.path().join("work")).unwrap_err();
        assert!(error.to_string().contains("`false`"), "{error}");
        assert!(!folder.path().join("work/mlc_llvm_static").exists());
    }
}
