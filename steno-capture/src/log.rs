//! Log lines on standard error: time, level, thread, text. `-v` shows more of them.

use std::sync::atomic::{AtomicI32, Ordering};

use steno_core::{Clock, SystemClock};

static VERBOSITY: AtomicI32 = AtomicI32::new(0);

/// Sets what is shown: errors and warnings at 0, more with each step.
pub(crate) fn set_verbosity(level: i32) {
    VERBOSITY.store(level, Ordering::Relaxed);
}

/// Whether lines of this level are shown.
pub(crate) fn shows(level: i32) -> bool {
    VERBOSITY.load(Ordering::Relaxed) >= level
}

/// One line, whole, so that lines of several threads do not mix.
pub(crate) fn line(level: &str, text: &str) {
    let now = SystemClock.now();
    let thread = std::thread::current();
    eprintln!("{now} {level} [{}] {text}", thread.name().unwrap_or("?"));
}

/// A line about something that was lost or does not work.
macro_rules! error {
    ($($part:tt)*) => { $crate::log::line("ERROR", &format!($($part)*)) };
}
/// A line about something that goes on in another way than asked.
macro_rules! warning {
    ($($part:tt)*) => { if $crate::log::shows(-1) { $crate::log::line("WARN", &format!($($part)*)) } };
}
/// A line that -v shows.
macro_rules! info {
    ($($part:tt)*) => { if $crate::log::shows(1) { $crate::log::line("INFO", &format!($($part)*)) } };
}
pub(crate) use {error, info, warning};
