//! What is lost beside a packet thread: what the kernel drops, when the clock is set.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use steno_core::{Clock, TimestampNs};
use steno_index::{Cause, ClockStep, Gap};

use super::source::DropCounter;
use crate::{
    counters::Counters,
    segment::{LossSource, Losses},
    sys::{LinkCounts, LinkStatistics},
};

/// Reads a source's statistics, and keeps what was lost until an index takes it.
pub(crate) struct LossMeter {
    drops: Arc<dyn DropCounter>,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    read: TimestampNs,
    /// Packets that were for the socket.
    received: u64,
    losses: Losses,
}

impl LossMeter {
    pub(crate) fn new(drops: Arc<dyn DropCounter>, counters: Arc<Counters>, clock: Arc<dyn Clock>) -> Self {
        let state = Mutex::new(State { read: clock.now(), received: 0, losses: Losses::default() });
        Self { drops, counters, clock, state }
    }

    /// Reads the kernel's counters. What was dropped since the last time counts for the second in the middle, so this is
    /// best called as each second begins.
    pub(crate) fn read(&self) {
        self.read_into(&mut self.state());
    }

    fn read_into(&self, state: &mut State) {
        let now = self.clock.now();
        let Ok(counts) = self.drops.statistics() else { return };
        let second = middle(state.read, now).secs();
        state.read = now;
        state.received = state.received.saturating_add(counts.received);
        self.counters.freezes.add(counts.freezes);
        self.counters.drops.add(counts.drops);
        state.losses.dropped(second, counts.drops);
        state.losses.add(second, Cause::RingFull, counts.freezes);
    }

    /// Packets that were for the socket so far, whatever became of them.
    pub(crate) fn received(&self) -> u64 {
        let mut state = self.state();
        self.read_into(&mut state);
        state.received
    }

    /// So many packets passed in a gap that began in this second.
    pub(crate) fn uncaptured(&self, second: u64, packets: u64) {
        self.counters.uncaptured.add(packets);
        self.state().losses.add(second, Cause::Uncaptured, packets);
    }

    /// The interface itself has dropped so much since the last time.
    pub(crate) fn interface(&self, more: LinkCounts, between: (TimestampNs, TimestampNs)) {
        let second = middle(between.0, between.1).secs();
        let counters = [
            (Cause::InterfaceDropped, &self.counters.interface_dropped, more.dropped),
            (Cause::InterfaceMissed, &self.counters.interface_missed, more.missed),
            (Cause::InterfaceOverrun, &self.counters.interface_overrun, more.overrun),
        ];
        let mut state = self.state();
        for (cause, counter, packets) in counters {
            counter.add(packets);
            state.losses.add(second, cause, packets);
        }
    }

    /// A time of which packets are missing, and nobody knows how many.
    pub(crate) fn gap(&self, gap: Gap) {
        self.state().losses.gap(gap);
    }

    /// The clock was set.
    pub(crate) fn clock_step(&self, step: ClockStep) {
        self.state().losses.clock_step(step);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what an interface counts for itself. Never on a packet thread: the answer may have to wait for who changes links.
#[derive(Debug)]
pub(crate) struct LinkMeter {
    statistics: LinkStatistics,
    read: TimestampNs,
    last: LinkCounts,
}

impl LinkMeter {
    /// Of what is counted from now on.
    pub(crate) fn new(interface: u32, now: TimestampNs) -> std::io::Result<Self> {
        let statistics = LinkStatistics::of(interface)?;
        let last = statistics.read()?;
        Ok(Self { statistics, read: now, last })
    }

    /// What was counted since the last time goes to `losses`.
    pub(crate) fn read(&mut self, losses: &LossMeter, now: TimestampNs) {
        // An interface that is gone counts nothing.
        let Ok(counts) = self.statistics.read() else { return };
        losses.interface(since(counts, self.last), (self.read, now));
        (self.read, self.last) = (now, counts);
    }
}

/// What was counted between two reads. A driver that was reset begins anew.
fn since(counts: LinkCounts, last: LinkCounts) -> LinkCounts {
    let more = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
    LinkCounts {
        passed: more(counts.passed, last.passed),
        dropped: more(counts.dropped, last.dropped),
        missed: more(counts.missed, last.missed),
        overrun: more(counts.overrun, last.overrun),
    }
}

impl LossSource for Arc<LossMeter> {
    fn take(&self) -> Losses {
        self.read();
        std::mem::take(&mut self.state().losses)
    }
}

/// The moment between two; a clock that was set back counts for nothing.
fn middle(from: TimestampNs, to: TimestampNs) -> TimestampNs {
    TimestampNs::new(to.as_ns() - to.as_ns().saturating_sub(from.as_ns()) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_count_for_the_second_in_which_they_happened() {
        let at = |ms: u64| TimestampNs::new(ms * 1_000_000);
        assert_eq!(middle(at(99_003), at(100_003)).secs(), 99, "read as each second begins");
        assert_eq!(middle(at(100_003), at(100_500)).secs(), 100, "read when a file is closed");
        assert_eq!(middle(at(200_000), at(100_000)).secs(), 100, "the clock was set back");
    }

    #[test]
    fn a_driver_that_was_reset_counts_from_nothing() {
        let counts = |dropped, missed, overrun| LinkCounts { passed: 0, dropped, missed, overrun };
        assert_eq!(since(counts(7, 3, 9), counts(5, 3, 10)), counts(2, 0, 9));
    }
}
