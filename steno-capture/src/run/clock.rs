//! Whether the clock was set: the time of day against the time since the start of the machine, which nobody sets.
//!
//! Packets are stamped by the time of day (packet(7)). That it was set is written down beside them, so that a reader of an
//! answer knows why an hour is missing, or is there twice.

use rustix::time::{ClockId, clock_gettime};
use steno_core::{Clock, TimestampNs};
use steno_index::ClockStep;

/// By how much the two clocks must come apart within a second to be told: far more than a clock is slewed by (adjtimex(2) slews
/// by 0.5 ms a second, chrony by up to 83 ms), and than reading both takes.
const STEP_LEAST_NS: u64 = 100_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// Two reads that are as close to each other are not tried again.
const CLOSE_NS: u64 = 20_000;
/// How often reads are tried.
const TRIES: u32 = 5;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) of_day: TimestampNs,
    /// CLOCK_BOOTTIME, which goes on while the machine sleeps.
    pub(crate) since_boot_ns: u64,
}

/// Looks for steps from one reading to the next.
#[derive(Debug)]
pub(crate) struct ClockWatch {
    last: Reading,
}

impl Reading {
    /// Reads both clocks, and again where something came between.
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        let read = || {
            let before = since_boot_ns();
            let of_day = clock.now();
            let apart = since_boot_ns().saturating_sub(before);
            (apart, Self { of_day, since_boot_ns: before.saturating_add(apart / 2) })
        };
        let (mut closest, mut reading) = read();
        for _ in 1..TRIES {
            if closest <= CLOSE_NS {
                break;
            }
            let (apart, another) = read();
            if apart < closest {
                (closest, reading) = (apart, another);
            }
        }
        reading
    }
}

impl ClockWatch {
    pub(crate) fn new(reading: Reading) -> Self {
        Self { last: reading }
    }

    /// The step that the time of day has made since the last reading, if it has.
    pub(crate) fn look(&mut self, now: Reading) -> Option<ClockStep> {
        let last = std::mem::replace(&mut self.last, now);
        let elapsed_ns = now.since_boot_ns.saturating_sub(last.since_boot_ns);
        let expected = last.of_day.saturating_add_ns(elapsed_ns);
        // The longer between two readings, the more a clock may have been slewed.
        let most = STEP_LEAST_NS.saturating_mul(elapsed_ns.div_ceil(SECOND_NS).max(1));
        let is_step = now.of_day.as_ns().abs_diff(expected.as_ns()) > most;
        is_step.then_some(ClockStep { from: expected, to: now.of_day })
    }
}

fn since_boot_ns() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(time.tv_sec).unwrap_or_default();
    secs.saturating_mul(SECOND_NS).saturating_add(u64::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use steno_core::SystemClock;

    use super::*;

    const MS: u64 = 1_000_000;
    const HOUR: u64 = 3_600 * SECOND_NS;

    fn at(of_day_ns: u64, since_boot_ns: u64) -> Reading {
        Reading { of_day: TimestampNs::new(of_day_ns), since_boot_ns }
    }

    #[test]
    fn a_step_says_where_the_clock_would_have_been_and_where_it_is() {
        let start = 1_700_000_000 * SECOND_NS;
        let mut watch = ClockWatch::new(at(start, 5));
        assert_eq!(watch.look(at(start + SECOND_NS, SECOND_NS + 5)), None);
        let step = watch.look(at(start + 2 * SECOND_NS + HOUR, 2 * SECOND_NS + 5)).unwrap();
        assert_eq!((step.from.as_ns(), step.by_ns()), (start + 2 * SECOND_NS, 3_600_000_000_000));
        assert_eq!(watch.look(at(start + 3 * SECOND_NS + HOUR, 3 * SECOND_NS + 5)), None, "told once");
        let step = watch.look(at(start + 4 * SECOND_NS, 4 * SECOND_NS + 5)).unwrap();
        assert_eq!((step.to.as_ns(), step.by_ns()), (start + 4 * SECOND_NS, -3_600_000_000_000));
    }

    #[test]
    fn a_clock_that_is_slewed_makes_no_step() {
        let mut watch = ClockWatch::new(at(HOUR, 0));
        assert_eq!(watch.look(at(HOUR + SECOND_NS + 83 * MS, SECOND_NS)), None, "as fast as chrony slews");
        assert_eq!(watch.look(at(HOUR + 11 * SECOND_NS - 700 * MS, 11 * SECOND_NS)), None, "over ten seconds");
        assert!(watch.look(at(HOUR + 12 * SECOND_NS - 700 * MS - 101 * MS, 12 * SECOND_NS)).is_some());
    }

    #[test]
    fn a_machine_that_slept_makes_no_step() {
        let mut watch = ClockWatch::new(at(HOUR, 7));
        assert_eq!(watch.look(at(9 * HOUR, 8 * HOUR + 7)), None);
    }

    #[test]
    fn the_clocks_of_this_machine_go_alike() {
        let mut watch = ClockWatch::new(Reading::now(&SystemClock));
        std::thread::sleep(std::time::Duration::from_millis(30));
        assert_eq!(watch.look(Reading::now(&SystemClock)), None);
    }
}
