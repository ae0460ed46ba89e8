//! How fast the products of a run are, beside the fastest that the machine does.

use crate::training::timing::Work;
use burn::tensor::Device;
use sc_models::device::product_rate;
use sc_models::operations::counted;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Counts products from [`Speed::begin`] on.
pub struct Speed {
    begun: Instant,
    before: u64,
}

impl Speed {
    /// Begins to count. Products of other work in this process are counted with those of the run.
    pub fn begin() -> Self {
        Self {
            begun: Instant::now(),
            before: counted(),
        }
    }

    /// Additions and multiplications since then, those of backward passes included.
    pub fn operations(&self, work: Work) -> u64 {
        let passes = match work {
            // Each product has two more of its size in the backward pass.
            Work::Train => 3,
            Work::Embed => 1,
        };
        passes * (counted() - self.before)
    }

    /// Tells the log the speed of the products, in GFLOP/s over all the time since, and its share
    /// of what `device` reaches with large matrices. The latter is measured once in a process, and
    /// only for those who read the log.
    pub(crate) fn tell(&self, work: Work, device: &Device) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        let operations = self.operations(work) as f64;
        let seconds = self.begun.elapsed().as_secs_f64();
        if operations == 0.0 {
            return;
        }
        let reached = operations / seconds / 1e9;
        let most = fastest(device);
        tracing::info!(
            reached = format!("{reached:.1} GFLOP/s"),
            of = format!("{most:.0} GFLOP/s"),
            share = format!("{:.2}", reached / most),
            "matrix products per second of this run, and of the device with large matrices"
        );
    }
}

/// Speed of large products on `device`, measured once.
fn fastest(device: &Device) -> f64 {
    static KNOWN: Mutex<Vec<(Device, f64)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, rate)) = known.iter().find(|(d, _)| d == device) {
        return *rate;
    }
    let rate = product_rate(device);
    known.push((device.clone(), rate));
    rate
}
