//! How tests wait: for what is to be, and not for a time in which it may have come to be.

use std::{
    thread,
    time::{Duration, Instant},
};

/// No test waits longer than this for anything: only one that fails waits so long, on a machine however slow.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until something is `so`.
///
/// # Panics
/// After [`PATIENCE`], with `what` it was.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
