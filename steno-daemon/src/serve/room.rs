//! How many connections there may be at once: of those who are not known yet, and of those who are.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::access::ClientKey;

/// Handshakes that are under way. Who holds them is not known, so that there is no telling those apart who mean it: one that
/// takes its time makes room for one that has just come.
#[derive(Debug)]
pub(super) struct Handshakes {
    most: usize,
    state: Mutex<(u64, BTreeMap<u64, CancellationToken>)>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Handshake {
    of: Arc<Handshakes>,
    number: u64,
    out: CancellationToken,
}

impl Handshakes {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), state: Mutex::default() }
    }

    /// One more. Where there are as many as may be, the oldest is over.
    pub(super) fn enter(self: &Arc<Self>) -> Handshake {
        let mut state = self.state();
        if state.1.len() >= self.most
            && let Some((_, oldest)) = state.1.pop_first()
        {
            oldest.cancel();
        }
        let (number, out) = (state.0, CancellationToken::new());
        state.0 += 1;
        let _new = state.1.insert(number, out.clone());
        drop(state);
        Handshake { of: Arc::clone(self), number, out }
    }

    fn state(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, CancellationToken>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handshake {
    /// Waits until it has to make room.
    pub(super) async fn is_over(&self) {
        self.out.cancelled().await;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let _gone = self.of.state().1.remove(&self.number);
    }
}

/// Connections of clients that are known. A quarter of the room is kept from any one of them.
#[derive(Debug)]
pub(super) struct Room {
    most: usize,
    most_of_one: usize,
    there: Mutex<BTreeMap<ClientKey, usize>>,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    of: Arc<Room>,
    who: ClientKey,
}

impl Room {
    pub(super) fn new(most: usize) -> Self {
        Self { most, most_of_one: most.saturating_mul(3).div_ceil(4), there: Mutex::default() }
    }

    /// A place for one more connection; or the sentence that says why there is none.
    pub(super) fn enter(self: &Arc<Self>, who: ClientKey) -> Result<Seat, &'static str> {
        let mut there = self.there();
        if there.values().sum::<usize>() >= self.most {
            return Err("too many connections at once");
        }
        let of_this = there.entry(who.clone()).or_default();
        if *of_this >= self.most_of_one {
            return Err("too many connections of this client at once");
        }
        *of_this += 1;
        Ok(Seat { of: Arc::clone(self), who })
    }

    fn there(&self) -> MutexGuard<'_, BTreeMap<ClientKey, usize>> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut there = self.of.there();
        if let Some(n) = there.get_mut(&self.who) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                let _gone = there.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_that_takes_longest_makes_room() {
        let all = Arc::new(Handshakes::new(2));
        let (first, second) = (all.enter(), all.enter());
        assert!(!first.out.is_cancelled());
        let third = all.enter();
        assert!(first.out.is_cancelled() && !second.out.is_cancelled() && !third.out.is_cancelled());
        drop((first, second));
        let _fourth = all.enter();
        assert!(!third.out.is_cancelled(), "there was room");
    }

    #[test]
    fn nobody_takes_all_of_the_room() {
        let room = Arc::new(Room::new(4));
        let client = |serial: &str, host: u8| (serial.to_owned(), [10, 0, 0, host].into());
        let mut seats: Vec<Seat> = (0..3).map(|_| room.enter(client("01", 1)).unwrap()).collect();
        assert_eq!(room.enter(client("01", 1)).unwrap_err(), "too many connections of this client at once");
        seats.push(room.enter(client("01", 2)).unwrap());
        assert_eq!(room.enter(client("02", 1)).unwrap_err(), "too many connections at once");
        drop(seats.pop());
        let _other = room.enter(client("02", 1)).unwrap();
        seats.clear();
        assert_eq!(room.there().len(), 1);
    }
}
