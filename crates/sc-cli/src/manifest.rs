//! What an output was made from.

use sc_data::identity::TrainingRecord;
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// Everything needed to make an output again.
#[derive(Debug, Serialize)]
pub(crate) struct Manifest {
    /// Version of scfm.
    pub(crate) version: &'static str,
    /// Revision of its code.
    pub(crate) revision: &'static str,
    /// Verb and arguments.
    pub(crate) command: Vec<String>,
    /// blake3 of the data file.
    pub(crate) data_hash: String,
    /// The resolved configuration.
    pub(crate) config: serde_json::Value,
    /// Seeds by purpose.
    pub(crate) seed: u64,
    /// Device.
    pub(crate) device: String,
    /// Threads.
    pub(crate) threads: usize,
    /// Operating system and processor architecture.
    pub(crate) platform: String,
    /// Start, seconds since 1970.
    pub(crate) started: u64,
    /// End, seconds since 1970.
    pub(crate) finished: u64,
    /// Peak memory, bytes; 0 where the system does not tell.
    pub(crate) peak_memory_bytes: u64,
    /// What was taken for granted about the counts, where they had to be taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) assumed: Option<String>,
    /// What a model was trained on, where one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) training: Option<TrainingRecord>,
}

impl Manifest {
    pub(crate) fn new(data_hash: &str, config: serde_json::Value, seed: u64, device: &str) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            revision: env!("SCFM_REVISION"),
            command: std::env::args().collect(),
            data_hash: data_hash.to_string(),
            config,
            seed,
            device: device.to_string(),
            threads: rayon::current_num_threads(),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            started: now(),
            finished: 0,
            peak_memory_bytes: 0,
            assumed: None,
            training: None,
        }
    }

    /// The manifest as JSON, closed now.
    pub(crate) fn close(mut self) -> serde_json::Result<Vec<u8>> {
        self.finished = now();
        self.peak_memory_bytes = peak_memory();
        serde_json::to_vec_pretty(&self)
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Peak resident memory of this process in bytes; 0 where the system does not tell.
pub(crate) fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}
