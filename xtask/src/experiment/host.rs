//! The machine, the repository and the clock.

use crate::process::{root, text_of};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine and the sources, for the manifest.
#[derive(Serialize)]
pub(crate) struct Host {
    pub(crate) cpu: String,
    pub(crate) threads: usize,
    pub(crate) system: String,
    pub(crate) rustc: String,
    pub(crate) git_revision: String,
    /// Whether tracked files differ from that revision.
    pub(crate) git_dirty: Option<bool>,
}

impl Host {
    pub(crate) fn inspect() -> Self {
        let unknown = || "unknown".to_owned();
        let root = root();
        let git = |args: &[&str]| text_of("git", args, &root);
        let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
        Self {
            cpu: sc_data::memory::processor().unwrap_or_else(unknown),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            rustc: text_of("rustc", &["--version"], &root).unwrap_or_else(unknown),
            git_revision: git(&["rev-parse", "HEAD"]).unwrap_or_else(unknown),
            git_dirty: changes.map(|c| !c.is_empty()),
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// `2026-01-02 03:04:05 UTC`.
pub(crate) fn utc(seconds: u64) -> String {
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + u64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!(
        "{year}-{month:02}-{:02} {:02}:{:02}:{:02} UTC",
        days + 1,
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_767_323_045), "2026-01-02 03:04:05 UTC");
    }
}
