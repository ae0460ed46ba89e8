//! Ctrl-C, SIGTERM and SIGUSR1: training stops after its step, with a checkpoint, and ends with a code on
//! which a scheduler queues it again; everything else ends immediately without leaving temporary files.

use sc_data::io::atomic::remove_unfinished;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether training checks [`STOP`].
static TRAINING: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);
/// The exit code that shells give to a process ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Handles interrupts from now on.
pub(crate) fn handle() {
    handle_warning();
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

/// The exit code of a training that was stopped and goes on when it is started again (`EX_TEMPFAIL`).
pub(crate) const STOPPED: u8 = 75;

/// Stops a training on SIGUSR1, by which schedulers tell that its time is nearly over. Other programs of
/// this process ignore it.
#[cfg(unix)]
fn handle_warning() {
    use signal_hook::consts::SIGUSR1;
    use signal_hook::iterator::Signals;
    if let Ok(mut signals) = Signals::new([SIGUSR1]) {
        std::thread::spawn(move || {
            for _ in signals.forever() {
                STOP.store(TRAINING.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        });
    }
}

#[cfg(not(unix))]
fn handle_warning() {}

/// A flag that the first interrupt sets from now on; the second ends the process.
pub(crate) fn stop_flag() -> &'static AtomicBool {
    TRAINING.store(true, Ordering::Relaxed);
    &STOP
}
