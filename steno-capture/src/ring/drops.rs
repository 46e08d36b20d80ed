//! Packets that the kernel dropped, by second.

use std::sync::{Arc, Mutex, PoisonError};

use steno_core::{Clock, TimestampNs};
use steno_index::Drops;

use crate::{counters::Counters, segment::DropSource, sys::PacketSocket};

/// Reads a socket's statistics, and keeps what was dropped until an index takes it.
pub(crate) struct DropMeter {
    socket: Arc<PacketSocket>,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    read: TimestampNs,
    drops: Vec<Drops>,
}

impl DropMeter {
    pub(crate) fn new(socket: Arc<PacketSocket>, counters: Arc<Counters>, clock: Arc<dyn Clock>) -> Self {
        let state = Mutex::new(State { read: clock.now(), drops: Vec::new() });
        Self { socket, counters, clock, state }
    }

    /// Reads the kernel's counters. What was dropped since the last time counts for the second in the middle, so this is
    /// best called as each second begins.
    pub(crate) fn read(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let Ok(counts) = self.socket.statistics() else { return };
        let second = middle(state.read, now).secs();
        state.read = now;
        self.counters.freezes.add(counts.freezes);
        self.counters.drops.add(counts.drops);
        add(&mut state.drops, second, counts.drops);
    }
}

impl DropSource for Arc<DropMeter> {
    fn take(&self) -> Vec<Drops> {
        self.read();
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).drops)
    }
}

/// The moment between two; a clock that was set back counts for nothing.
fn middle(from: TimestampNs, to: TimestampNs) -> TimestampNs {
    TimestampNs::new(to.as_ns() - to.as_ns().saturating_sub(from.as_ns()) / 2)
}

/// Adds to the last second, or to a new one.
fn add(drops: &mut Vec<Drops>, second: u64, packets: u64) {
    match drops.last_mut() {
        _ if packets == 0 => {}
        Some(last) if last.second == second => last.packets += packets,
        _ => drops.push(Drops { second, packets }),
    }
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
        let mut drops = Vec::new();
        for (second, packets) in [(7, 0), (7, 2), (7, 3), (8, 0), (9, 4)] {
            add(&mut drops, second, packets);
        }
        let expected = [(7, 5), (9, 4)].map(|(second, packets)| Drops { second, packets });
        assert_eq!(drops, expected);
    }
}
