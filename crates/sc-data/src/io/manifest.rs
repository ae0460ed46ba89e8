//! Provenance of an output.

use crate::identity::TrainingRecord;
use crate::memory;
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// Everything needed to reproduce an output.
#[derive(Debug, Serialize)]
pub struct Manifest {
    /// Version of scfm.
    pub version: &'static str,
    /// Git revision.
    pub revision: &'static str,
    /// Subcommand and arguments.
    pub command: Vec<String>,
    /// blake3 of the data file.
    pub data_hash: String,
    /// The resolved configuration.
    pub config: serde_json::Value,
    /// Seeds by purpose.
    pub seed: u64,
    /// Device.
    pub device: String,
    /// Threads.
    pub threads: usize,
    /// Operating system and processor architecture.
    pub platform: String,
    /// Start, seconds since 1970.
    pub started: u64,
    /// End, seconds since 1970.
    pub finished: u64,
    /// Peak memory, bytes; 0 where the system does not report it.
    pub peak_memory_bytes: u64,
    /// Assumption on the values, where counts were recovered from log-normalised ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assumed: Option<String>,
    /// Training cells of the model, where one was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingRecord>,
}

impl Manifest {
    /// A manifest that starts now, of a program of this `revision`.
    pub fn new(
        revision: &'static str,
        data_hash: &str,
        config: serde_json::Value,
        (seed, device): (u64, &str),
    ) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            revision,
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

    /// The manifest as JSON, ending now.
    ///
    /// # Errors
    /// Any error of serde_json on the configuration.
    pub fn close(mut self) -> serde_json::Result<Vec<u8>> {
        self.finished = now();
        self.peak_memory_bytes = memory::peak();
        serde_json::to_vec_pretty(&self)
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}
