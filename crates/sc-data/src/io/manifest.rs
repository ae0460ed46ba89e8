//! What an output was made from.

use crate::identity::TrainingRecord;
use crate::memory;
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// Everything needed to make an output again.
#[derive(Debug, Serialize)]
pub struct Manifest {
    /// Version of scfm.
    pub version: &'static str,
    /// Revision of its code.
    pub revision: &'static str,
    /// Verb and arguments.
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
    /// Peak memory, bytes; 0 where the system does not tell.
    pub peak_memory_bytes: u64,
    /// What was taken for granted about the counts, where they had to be taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assumed: Option<String>,
    /// What a model was trained on, where one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingRecord>,
}

impl Manifest {
    /// A manifest of what begins now, made by a program of this `revision` of the code.
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

    /// The manifest as JSON, closed now.
    ///
    /// # Errors
    /// What serde_json says of a configuration it cannot write.
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
