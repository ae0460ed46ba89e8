//! Lines on standard output and standard error.
//!
//! The macros of std panic when a line cannot be written. `println!` and `eprintln!` in this crate
//! use this module instead.

use sc_data::io::atomic::remove_unfinished;
use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether only errors, warnings and results are written.
static QUIET: AtomicBool = AtomicBool::new(false);

/// From here on only errors, warnings and results are written.
pub(crate) fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether that is so.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Writes a line of progress to standard error, unless nobody wants it.
pub(crate) fn note(text: Arguments<'_>) {
    if !is_quiet() {
        error_line(text);
    }
}

/// Writes bytes to standard output; on a closed pipe (`| head`) the process ends silently, and on
/// other errors with a message.
pub(crate) fn bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if let Err(e) = out.write_all(bytes).and_then(|()| out.flush()) {
        remove_unfinished();
        if e.kind() == ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        error_line(format_args!("scfm: standard output: {e}"));
        std::process::exit(2);
    }
}

/// Writes a line to standard output, see [`bytes`].
pub(crate) fn line(text: Arguments<'_>) {
    bytes(format!("{text}\n").as_bytes());
}

/// Writes a line to standard error; a failure is ignored, since it cannot be reported.
pub(crate) fn error_line(text: Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
