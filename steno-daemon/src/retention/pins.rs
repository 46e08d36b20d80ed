//! What running queries read, and what retention is removing: the one place where the two meet.
//!
//! A segment is pinned by any number of queries or claimed by retention, never both. A segment that was removed stays
//! known as gone, so that a query which still holds a catalogue from before is told, makes itself a new one, and never
//! takes a segment that went by the rules for one that is damaged.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use steno_core::SegmentId;

/// How many removed segments are remembered; the oldest ones make room.
const MAX_GONE: usize = 100_000;

/// How many of those that were removed last are listed.
const MAX_REMOVED: usize = 10_000;

/// A segment among all threads.
type Key = (u32, SegmentId);

/// Segments of a thread, from one name to another: a query over all of a large store pins one run a thread.
pub type Run = (u32, RangeInclusive<SegmentId>);

/// The registry. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    state: Arc<Mutex<State>>,
    files: Arc<Mutex<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// What each pin holds, by its number.
    pinned: BTreeMap<u64, Vec<Run>>,
    /// How many pins there were.
    pins: u64,
    /// Being removed, or removed.
    gone: BTreeSet<Key>,
    /// The last ones that were removed, and how many there were before them.
    removed: VecDeque<Key>,
    removed_before: u64,
}

/// A segment that was asked for has been removed, or is about to be: list the store again and ask for what it holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("segment {id} of thread {thread} was removed by retention")]
pub struct Gone {
    /// The thread.
    pub thread: u32,
    /// The segment.
    pub id: SegmentId,
}

/// Keeps segments from being removed until it is dropped.
#[derive(Debug)]
pub struct Pin {
    pins: Pins,
    number: u64,
}

/// Retention's hold on a segment that it removes. Dropped without [`Claim::removed`], the segment is as before.
#[derive(Debug)]
pub(crate) struct Claim {
    pins: Pins,
    key: Key,
    removed: bool,
}

impl Pins {
    /// Nothing is pinned.
    pub fn new() -> Self {
        Self::default()
    }

    /// Pins all segments of `runs` or, if one of them that `is_there` is gone, none.
    ///
    /// # Errors
    /// [`Gone`], with the first one that is.
    pub fn pin(&self, runs: Vec<Run>, is_there: impl Fn(u32, SegmentId) -> bool) -> Result<Pin, Gone> {
        let mut state = self.state();
        for (thread, names) in &runs {
            let mut gone = state.gone.range((*thread, *names.start())..=(*thread, *names.end()));
            if let Some(&(thread, id)) = gone.find(|(thread, id)| is_there(*thread, *id)) {
                return Err(Gone { thread, id });
            }
        }
        Ok(self.pinned_in(&mut state, runs))
    }

    /// Pins those segments of `runs` that are not gone.
    pub fn pin_what_is_left(&self, runs: Vec<Run>) -> Pin {
        self.pinned_in(&mut self.state(), runs)
    }

    fn pinned_in(&self, state: &mut State, runs: Vec<Run>) -> Pin {
        let number = state.pins;
        state.pins += 1;
        let _none = state.pinned.insert(number, runs);
        Pin { pins: self.clone(), number }
    }

    /// All that is pinned.
    #[cfg(test)]
    pub(crate) fn runs(&self) -> Vec<Run> {
        self.state().pinned.values().flatten().cloned().collect()
    }

    /// A segment of this name is there (again): say so for each one that appears.
    pub fn appeared(&self, thread: u32, id: SegmentId) {
        let _ = self.state().gone.remove(&(thread, id));
    }

    pub(super) fn is_pinned(&self, thread: u32, id: SegmentId) -> bool {
        self.state().is_pinned(thread, id)
    }

    /// Takes a segment away from queries to come. None: one that runs has pinned it.
    pub(crate) fn claim(&self, thread: u32, id: SegmentId) -> Option<Claim> {
        let key = (thread, id);
        let mut state = self.state();
        if state.is_pinned(thread, id) {
            return None;
        }
        if state.gone.len() >= MAX_GONE {
            let _ = state.gone.pop_first();
        }
        let _ = state.gone.insert(key);
        drop(state);
        Some(Claim { pins: self.clone(), key, removed: false })
    }

    /// How many segments have been removed so far.
    pub(crate) fn removals(&self) -> u64 {
        let state = self.state();
        state.removed_before.saturating_add(state.removed.len() as u64)
    }

    /// Those that were removed after so many: as far as they are remembered, and how many are not.
    pub(crate) fn removed_since(&self, removals: u64) -> (Vec<(u32, SegmentId)>, u64) {
        let state = self.state();
        let skipped = usize::try_from(removals.saturating_sub(state.removed_before)).unwrap_or(usize::MAX);
        (state.removed.iter().skip(skipped).copied().collect(), state.removed_before.saturating_sub(removals))
    }

    /// Held while the files of a segment go, one after the other, and while the directories are listed: so nobody sees half
    /// of a segment and takes it for one that is damaged.
    pub(crate) fn files(&self) -> MutexGuard<'_, ()> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_pinned(&self, thread: u32, id: SegmentId) -> bool {
        self.pinned.values().flatten().any(|(of, names)| *of == thread && names.contains(&id))
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let _runs = self.pins.state().pinned.remove(&self.number);
    }
}

impl Claim {
    pub(crate) fn removed(mut self) {
        self.removed = true;
        let mut state = self.pins.state();
        if state.removed.len() >= MAX_REMOVED {
            let _ = state.removed.pop_front();
            state.removed_before += 1;
        }
        state.removed.push_back(self.key);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.removed {
            let _ = self.pins.state().gone.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_is_told_as_far_as_it_is_remembered() {
        let pins = Pins::new();
        let remove = |id| pins.claim(0, SegmentId(id)).unwrap().removed();
        remove(1);
        let mark = pins.removals();
        assert_eq!((mark, pins.removed_since(mark)), (1, (Vec::new(), 0)));
        drop(pins.claim(0, SegmentId(2)));
        remove(3);
        assert_eq!(pins.removed_since(mark), (vec![(0, SegmentId(3))], 0));
        (10..10 + MAX_REMOVED as u64).for_each(remove);
        let (listed, more) = pins.removed_since(mark);
        assert_eq!((listed.len(), more), (MAX_REMOVED, 1));
        assert_eq!(pins.removed_since(pins.removals()), (Vec::new(), 0));
    }

    const A: Key = (0, SegmentId(1));
    const B: Key = (1, SegmentId(1));

    fn run((thread, id): Key) -> Run {
        (thread, id..=id)
    }

    /// Pins what is there.
    fn pin<const N: usize>(pins: &Pins, segments: [Key; N]) -> Result<Pin, Gone> {
        pins.pin(segments.map(run).to_vec(), |_, _| true)
    }

    #[test]
    fn what_is_pinned_cannot_be_claimed_until_the_last_pin_goes() {
        let pins = Pins::new();
        let first = pin(&pins, [A, B]).unwrap();
        let second = pin(&pins, [A]).unwrap();
        drop(first);
        assert!(pins.is_pinned(A.0, A.1) && !pins.is_pinned(B.0, B.1));
        assert!(pins.claim(A.0, A.1).is_none());
        assert!(pins.claim(B.0, B.1).is_some());
        drop(second);
        assert_eq!(pins.runs(), []);
        assert!(pins.claim(A.0, A.1).is_some());
    }

    #[test]
    fn a_run_pins_what_lies_in_it_and_what_comes_there() {
        let pins = Pins::new();
        let pinned = pins.pin(vec![(3, SegmentId(5)..=SegmentId(9))], |_, _| true).unwrap();
        let claimed = |thread, id| pins.claim(thread, SegmentId(id)).is_some();
        assert!([5, 7, 9].into_iter().all(|id| !claimed(3, id)));
        assert!(claimed(3, 4) && claimed(3, 10) && claimed(2, 7));
        drop(pinned);
        assert!(claimed(3, 7));
    }

    #[test]
    fn what_went_long_ago_keeps_no_run_from_being_pinned() {
        let pins = Pins::new();
        pins.claim(0, SegmentId(7)).unwrap().removed();
        let run = || vec![(0, SegmentId(5)..=SegmentId(9))];
        assert_eq!(pins.pin(run(), |_, _| true).unwrap_err(), Gone { thread: 0, id: SegmentId(7) });
        let pin = pins.pin(run(), |thread, id| (thread, id) != (0, SegmentId(7))).unwrap();
        assert!(pins.is_pinned(0, SegmentId(5)));
        drop(pin);
        assert!(pins.claim(0, SegmentId(5)).is_some(), "and nothing stays pinned of what was refused");
        drop(pins.pin_what_is_left(run()));
    }

    #[test]
    fn what_is_claimed_or_gone_cannot_be_pinned_until_it_appears() {
        let pins = Pins::new();
        let claim = pins.claim(A.0, A.1).unwrap();
        assert_eq!(pin(&pins, [B, A]).unwrap_err(), Gone { thread: A.0, id: A.1 });
        assert!(!pins.is_pinned(B.0, B.1), "all or nothing");
        drop(claim);
        drop(pin(&pins, [A]).unwrap());
        pins.claim(A.0, A.1).unwrap().removed();
        assert!(pin(&pins, [A]).is_err());
        pins.appeared(A.0, A.1);
        assert!(pin(&pins, [A]).is_ok());
    }

    #[test]
    fn the_memory_of_what_is_gone_is_bounded() {
        let pins = Pins::new();
        for id in 0..MAX_GONE as u64 + 3 {
            pins.claim(0, SegmentId(id)).unwrap().removed();
        }
        assert_eq!(pins.state().gone.len(), MAX_GONE);
        assert!(pin(&pins, [(0, SegmentId(2))]).is_ok() && pin(&pins, [(0, SegmentId(3))]).is_err());
    }
}
