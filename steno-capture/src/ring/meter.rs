//! What is lost beside a packet thread: what the kernel drops, when the clock is set.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use steno_core::{Clock, TimestampNs};
use steno_index::ClockStep;

use crate::{
    counters::Counters,
    segment::{LossSource, Losses},
    sys::PacketSocket,
};

/// Reads a socket's statistics, and keeps what was lost until an index takes it.
pub(crate) struct LossMeter {
    socket: Arc<PacketSocket>,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    read: TimestampNs,
    losses: Losses,
}

impl LossMeter {
    pub(crate) fn new(socket: Arc<PacketSocket>, counters: Arc<Counters>, clock: Arc<dyn Clock>) -> Self {
        let state = Mutex::new(State { read: clock.now(), losses: Losses::default() });
        Self { socket, counters, clock, state }
    }

    /// Reads the kernel's counters. What was dropped since the last time counts for the second in the middle, so this is
    /// best called as each second begins.
    pub(crate) fn read(&self) {
        let mut state = self.state();
        let now = self.clock.now();
        let Ok(counts) = self.socket.statistics() else { return };
        let second = middle(state.read, now).secs();
        state.read = now;
        self.counters.freezes.add(counts.freezes);
        self.counters.drops.add(counts.drops);
        state.losses.dropped(second, counts.drops);
    }

    /// The clock was set.
    pub(crate) fn clock_step(&self, step: ClockStep) {
        self.state().losses.clock_step(step);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
}
