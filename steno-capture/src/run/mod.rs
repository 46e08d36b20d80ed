//! Puts a capture together, watches it, and takes it apart again.
//!
//! [`start`] goes through the steps that may fail, in an order in which each can be taken back; [`watch`] runs while packets
//! are captured. The main thread captures nothing itself.

mod account;
pub(crate) mod clock;
mod directories;
mod rings;
mod signals;
mod start;
mod watch;

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::{
    CaptureError, Flags,
    console::{self, debug},
    control::Control,
};

/// Runs a capture with these flags until a signal ends it, or `--count` packets have come.
///
/// # Errors
/// What keeps it from starting, in a sentence that says what to do; nothing half-made is left behind then. What went wrong
/// while it ran; everything that reached the disk is published then, or stays hidden.
pub fn run(flags: &Flags) -> Result<(), CaptureError> {
    console::start(flags.verbosity());
    // Before anything is opened here.
    let control = Control::of_environment();
    if control.is_none() {
        end_with_parent();
    }
    control.starting(flags.dir.as_deref());
    let result = start::start(flags, control).and_then(watch::watch);
    console::flush();
    result
}

/// Ends as by SIGTERM when whoever started it ends, as 1.0.1 does: its daemon leaves its capture behind, and starts another
/// one the next time. Becoming another user undoes this (prctl(2), PR_SET_PDEATHSIG), there as here. Our own daemon takes
/// a capture over instead.
fn end_with_parent() {
    if let Err(e) = set_parent_process_death_signal(Some(Signal::TERM)) {
        debug!("the end of the parent is not told: {e}");
    }
}

/// Says on standard error why a capture failed. Unlike `eprintln!` it bears that nobody reads there any more.
pub fn complain(error: &CaptureError) {
    console::last_words(format_args!("{error}"));
}
