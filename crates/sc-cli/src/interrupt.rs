//! Ctrl-C and SIGTERM: training stops after its step, everything else ends immediately without
//! leaving temporary files.

use sc_data::io::atomic::remove_unfinished;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether training checks [`STOP`].
static TRAINING: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);
/// The exit code that shells give to a process ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Handles interrupts from now on.
pub(crate) fn handle() {
    // Without a handler the system ends the process; only temporary files stay behind.
    let _ = ctrlc::set_handler(|| {
        let first = !STOP.swap(true, Ordering::Relaxed);
        if first && TRAINING.load(Ordering::Relaxed) {
            return;
        }
        remove_unfinished();
        std::process::exit(INTERRUPTED);
    });
}

/// A flag that the first interrupt sets from now on; the second ends the process.
pub(crate) fn stop_flag() -> &'static AtomicBool {
    TRAINING.store(true, Ordering::Relaxed);
    &STOP
}
