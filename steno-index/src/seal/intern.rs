//! Numbers for keys, in the order of their first appearance.
//!
//! A hash table of our own, because the traffic that fills it is hostile and its memory is used again: open addressing
//! over 8-byte slots that hold 32 bits of a randomly seeded hash beside the number, so that a probe seldom leaves the
//! table, and growth needs no hashing. Numbers do not depend on the seed: the same keys give the same numbers.

use std::{
    hash::{BuildHasher, Hash},
    hint::select_unpredictable,
};

use foldhash::quality::RandomState;

use super::{ROOM, forget};
use crate::le::low32;

/// Keys that are looked up together.
pub(crate) const TOGETHER: usize = 64;
/// No number: there are fewer keys.
const NOT_FOUND: u32 = u32::MAX;
/// Slots of a new table.
const LEAST_SLOTS: usize = 1 << 10;

#[derive(Debug)]
pub(crate) struct Interner<K> {
    hasher: RandomState,
    /// Bits 63 to 32: hash; 31 to 0: number + 1, or 0 where the slot is free. A power of two of them.
    slots: Vec<u64>,
    keys: Vec<K>,
}

impl<K: Hash + Eq> Interner<K> {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::default(), slots: vec![0; LEAST_SLOTS], keys: Vec::new() }
    }

    /// Forgets all keys and keeps the memory, but for what is far more than they took.
    pub(crate) fn clear(&mut self) {
        let enough = (self.keys.len() * 2 * ROOM).next_power_of_two().max(LEAST_SLOTS);
        if self.slots.len() > enough {
            self.slots = vec![0; enough];
        } else {
            self.slots.fill(0);
        }
        forget(&mut self.keys);
    }

    /// The keys, by number.
    pub(crate) fn keys(&self) -> &[K] {
        &self.keys
    }

    /// The number of `key`, and whether it is new.
    #[inline]
    pub(crate) fn intern(&mut self, key: K) -> (u32, bool) {
        let hash = self.hasher.hash_one(&key) >> 32;
        self.intern_hashed(hash, key)
    }

    /// The numbers of some keys, as if each was given to [`Self::intern`] in turn. Table and keys are larger than any
    /// cache: here the memory that one key needs is on its way while those of others are waited for.
    pub(crate) fn intern_all(&mut self, some: &[K], numbers: &mut [u32; TOGETHER])
    where
        K: Copy,
    {
        let (mut hashes, mut slots) = ([0; TOGETHER], [0; TOGETHER]);
        let slot_at = |at: usize| self.slots.get(at & (self.slots.len() - 1)).copied().unwrap_or_default();
        for ((hash, slot), key) in hashes.iter_mut().zip(&mut slots).zip(some) {
            *hash = self.hasher.hash_one(key) >> 32;
            let home = self.home(*hash);
            let (first, second) = (slot_at(home), slot_at(home + 1));
            // Nearly all keys are in one of the two, which of them nobody can foresee.
            *slot = select_unpredictable(first >> 32 == *hash, first, second);
        }
        let looked_up = hashes.iter().zip(&slots).zip(some);
        for (number, ((hash, slot), key)) in numbers.iter_mut().zip(looked_up) {
            let no = low32(*slot).wrapping_sub(1);
            let same = slot >> 32 == *hash && self.keys.get(no as usize) == Some(key);
            *number = if same { no } else { NOT_FOUND };
        }
        for (number, (hash, key)) in numbers.iter_mut().zip(hashes.iter().zip(some)) {
            if *number == NOT_FOUND {
                *number = self.intern_hashed(*hash, *key).0;
            }
        }
    }

    #[inline]
    fn intern_hashed(&mut self, hash: u64, key: K) -> (u32, bool) {
        let mut at = self.home(hash);
        loop {
            let slot = self.slots.get(at).copied().unwrap_or_default();
            if slot == 0 {
                return (self.insert(at, hash, key), true);
            }
            // A slot that is not free holds a number below `keys.len()`, plus 1.
            let no = low32(slot) - 1;
            if slot >> 32 == hash && self.keys.get(no as usize) == Some(&key) {
                return (no, false);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    fn insert(&mut self, at: usize, hash: u64, key: K) -> u32 {
        // At most one key a packet, and packets have numbers of 32 bits.
        let no = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        self.keys.push(key);
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = hash << 32 | (u64::from(no) + 1);
        }
        if self.keys.len() * 2 > self.slots.len() {
            self.grow();
        }
        no
    }

    #[cold]
    fn grow(&mut self) {
        let larger = vec![0; self.slots.len() * 2];
        let old = std::mem::replace(&mut self.slots, larger);
        for slot in old.into_iter().filter(|&slot| slot != 0) {
            let mut at = self.home(slot >> 32);
            while self.slots.get(at).is_some_and(|&taken| taken != 0) {
                at = (at + 1) & (self.slots.len() - 1);
            }
            if let Some(place) = self.slots.get_mut(at) {
                *place = slot;
            }
        }
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        low32(hash) as usize & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_first_appearance_across_growth() {
        let mut interner = Interner::new();
        for round in 0..2 {
            for key in 0..5000u64 {
                let (no, new) = interner.intern(key * 7);
                assert_eq!((u64::from(no), new), (key, round == 0));
            }
        }
        assert_eq!(interner.keys().len(), 5000);
        interner.clear();
        assert_eq!(interner.intern(35), (0, true));
    }

    #[test]
    fn a_table_is_as_large_as_its_keys_of_late() {
        let mut interner = Interner::new();
        for keys in [100_000u64, 90_000, 100, 100, 100_000] {
            (0..keys).for_each(|key| assert_eq!(u64::from(interner.intern(key).0), key));
            interner.clear();
            let most = 4 * ROOM * usize::try_from(keys).unwrap();
            assert!(interner.slots.len() <= most.max(LEAST_SLOTS), "{} slots after {keys}", interner.slots.len());
            assert_eq!(interner.intern(5), (0, true));
            interner.clear();
        }
    }

    #[test]
    fn keys_get_the_same_numbers_together_as_in_turn() {
        let key = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
        let keys: Vec<u64> = (0..20_000).map(|i| key(i / 3)).collect();
        let (mut together, mut in_turn) = (Interner::new(), Interner::new());
        for some in keys.chunks(TOGETHER) {
            let mut numbers = [9; TOGETHER];
            together.intern_all(some, &mut numbers);
            let expected: Vec<u32> = some.iter().map(|&key| in_turn.intern(key).0).collect();
            assert_eq!(numbers[..some.len()], expected);
        }
        assert_eq!(together.keys(), in_turn.keys());
        assert!(together.keys().len() > LEAST_SLOTS, "the table has grown meanwhile");
    }
}
