//! Where the time of day comes from: the system, or a test.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::TimestampNs;

/// A source of the time of day.
pub trait Clock: Send + Sync {
    /// The time now, by this clock.
    fn now(&self) -> TimestampNs;
}

/// CLOCK_REALTIME, which also stamps the packets (packet(7)).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> TimestampNs {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TimestampNs(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// A clock that stands still.
#[derive(Clone, Copy, Debug)]
pub struct FixedClock(pub TimestampNs);

impl Clock for FixedClock {
    fn now(&self) -> TimestampNs {
        self.0
    }
}
