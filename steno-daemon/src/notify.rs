//! What the service manager is told (sd_notify(3)): ready, alive, stopping. Without one, every call does nothing.
//!
//! Whoever runs the async runtime calls [`alive`] from it, so that a runtime that hangs is noticed.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

/// Queries are answered from now on.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A line for `systemctl status`.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The end has begun, and may take up to `within` from now.
pub fn stopping(within: Duration) {
    let extend = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(extend)]);
}

/// All is well; to be said at least every [`alive_every`].
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] is to be called: twice as often as the service manager asks. None: it does not ask.
pub fn alive_every() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|within| within / 2)
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(state) {
        debug!("cannot tell the service manager: {e}");
    }
}
