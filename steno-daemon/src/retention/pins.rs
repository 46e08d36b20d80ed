//! What running queries read, and what retention is removing: the one place where the two meet.
//!
//! A segment is pinned by any number of queries or claimed by retention, never both. A segment that was removed stays
//! known as gone, so that a query which still holds a catalogue from before is told, makes itself a new one, and never
//! takes a segment that went by the rules for one that is damaged.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use steno_core::SegmentId;

/// How many removed segments are remembered; the oldest ones make room.
const MAX_GONE: usize = 100_000;

/// How many of those that were removed last are listed.
const MAX_REMOVED: usize = 10_000;

/// A segment among all threads.
type Key = (u32, SegmentId);

/// The registry. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    state: Arc<Mutex<State>>,
    files: Arc<Mutex<()>>,
}

#[derive(Debug, Default)]
struct State {
    pinned: BTreeMap<Key, u64>,
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
    keys: Vec<Key>,
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

    /// Pins all of `segments` (thread and name of each) or, if one of them is gone, none.
    ///
    /// # Errors
    /// [`Gone`], with the first one that is.
    pub fn pin(&self, segments: impl IntoIterator<Item = (u32, SegmentId)>) -> Result<Pin, Gone> {
        let keys: Vec<Key> = segments.into_iter().collect();
        let mut state = self.state();
        if let Some(&(thread, id)) = keys.iter().find(|key| state.gone.contains(key)) {
            return Err(Gone { thread, id });
        }
        for key in &keys {
            *state.pinned.entry(*key).or_default() += 1;
        }
        drop(state);
        Ok(Pin { pins: self.clone(), keys })
    }

    /// Pins those of `segments` that are not gone.
    pub fn pin_what_is_left(&self, segments: impl IntoIterator<Item = (u32, SegmentId)>) -> Pin {
        let mut state = self.state();
        let keys: Vec<Key> = segments.into_iter().filter(|key| !state.gone.contains(key)).collect();
        for key in &keys {
            *state.pinned.entry(*key).or_default() += 1;
        }
        drop(state);
        Pin { pins: self.clone(), keys }
    }

    /// How many segments are pinned.
    pub fn pinned(&self) -> usize {
        self.state().pinned.len()
    }

    /// A segment of this name is there (again): say so for each one that appears.
    pub fn appeared(&self, thread: u32, id: SegmentId) {
        let _ = self.state().gone.remove(&(thread, id));
    }

    pub(super) fn is_pinned(&self, thread: u32, id: SegmentId) -> bool {
        self.state().pinned.contains_key(&(thread, id))
    }

    /// Takes a segment away from queries to come. None: one that runs has pinned it.
    pub(crate) fn claim(&self, thread: u32, id: SegmentId) -> Option<Claim> {
        let key = (thread, id);
        let mut state = self.state();
        if state.pinned.contains_key(&key) {
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

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.pins.state();
        for key in &self.keys {
            if let Some(count) = state.pinned.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    let _ = state.pinned.remove(key);
                }
            }
        }
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

    #[test]
    fn what_is_pinned_cannot_be_claimed_until_the_last_pin_goes() {
        let pins = Pins::new();
        let first = pins.pin([A, B]).unwrap();
        let second = pins.pin([A]).unwrap();
        drop(first);
        assert!(pins.is_pinned(A.0, A.1) && !pins.is_pinned(B.0, B.1));
        assert!(pins.claim(A.0, A.1).is_none());
        assert!(pins.claim(B.0, B.1).is_some());
        drop(second);
        assert_eq!(pins.pinned(), 0);
        assert!(pins.claim(A.0, A.1).is_some());
    }

    #[test]
    fn what_is_claimed_or_gone_cannot_be_pinned_until_it_appears() {
        let pins = Pins::new();
        let claim = pins.claim(A.0, A.1).unwrap();
        assert_eq!(pins.pin([B, A]).unwrap_err(), Gone { thread: A.0, id: A.1 });
        assert_eq!(pins.pinned(), 0, "all or nothing");
        drop(claim);
        drop(pins.pin([A]).unwrap());
        pins.claim(A.0, A.1).unwrap().removed();
        assert!(pins.pin([A]).is_err());
        pins.appeared(A.0, A.1);
        assert!(pins.pin([A]).is_ok());
    }

    #[test]
    fn the_memory_of_what_is_gone_is_bounded() {
        let pins = Pins::new();
        for id in 0..MAX_GONE as u64 + 3 {
            pins.claim(0, SegmentId(id)).unwrap().removed();
        }
        assert_eq!(pins.state().gone.len(), MAX_GONE);
        assert!(pins.pin([(0, SegmentId(2))]).is_ok() && pins.pin([(0, SegmentId(3))]).is_err());
    }
}
