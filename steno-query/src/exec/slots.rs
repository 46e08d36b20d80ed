//! The memory of the blocks that are loaded.

use std::thread::{self, ThreadId};

use super::{key::Key, loaded::Loaded};

/// Free slots that are kept for the threads that filled them, at the most.
const FREE_MAX: usize = 2;

/// The slots, each with the memory of a block.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// Slots that hold nothing.
    free: Vec<usize>,
    /// Bytes that all slots have.
    held_bytes: u64,
    /// Memory of a block of which only a part was kept.
    spare: Vec<u8>,
}

/// Memory for a block.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The segment and the block that are in it.
    pub(super) holds: Option<(u32, u32)>,
    pub(super) loaded: Loaded,
    /// The thread that filled it last. Its processor may have that memory at hand, and another would have to take it over.
    filled_by: Option<ThreadId>,
    /// What is counted of it in [`Slots::held_bytes`].
    counted_bytes: u64,
}

impl Slots {
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&Slot> {
        self.slots.get(at)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Slot> {
        self.slots.get_mut(at)
    }

    /// A free slot for a block that needs so many bytes. Where that comes to more than `most_bytes` of all slots, others give
    /// theirs back, as far as there are any.
    pub(super) fn take(&mut self, needed: u64, most_bytes: u64) -> usize {
        let at = self.free_slot().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let own = self.slots.get(at).map_or(0, |slot| slot.counted_bytes);
        let needed = needed.saturating_sub(own);
        while self.held_bytes.saturating_add(needed) > most_bytes && self.drop_one(at) {}
        at
    }

    /// Fills a slot that was taken with this block of this segment; where that fails, the slot is free again. Of a block of which
    /// little is wanted no more is kept.
    pub(super) fn fill<E>(
        &mut self,
        at: usize,
        with: (u32, u32),
        load: impl FnOnce(&mut Loaded) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(slot) = self.slots.get_mut(at) else { return Ok(()) };
        slot.loaded.use_memory(&mut self.spare);
        let loaded = load(&mut slot.loaded);
        if loaded.is_ok() {
            if let Some(rest) = slot.loaded.compact() {
                self.spare = rest;
            }
            slot.holds = Some(with);
            slot.filled_by = Some(thread::current().id());
        } else {
            self.free.push(at);
        }
        self.recount(at);
        loaded
    }

    /// Frees a slot. Gives what it held.
    pub(super) fn release(&mut self, at: usize) -> Option<(u32, u32)> {
        let slot = self.slots.get_mut(at)?;
        let held = slot.holds.take();
        if !slot.loaded.is_reusable() {
            slot.loaded = Loaded::default();
        }
        self.free.push(at);
        self.recount(at);
        held
    }

    /// A free slot, if possible one that this thread filled last. Of a few others none, so that each thread comes to have its own.
    fn free_slot(&mut self) -> Option<usize> {
        let own = Some(thread::current().id());
        let filled_by = |at: usize| self.slots.get(at).and_then(|slot| slot.filled_by);
        match self.free.iter().rposition(|&at| filled_by(at) == own) {
            Some(place) => Some(self.free.swap_remove(place)),
            None if self.free.len() < FREE_MAX => None,
            None => self.free.pop(),
        }
    }

    /// Gives back the memory of a slot other than `keep`: a free one, else the one whose next packet is latest. `false`
    /// where there is none.
    fn drop_one(&mut self, keep: usize) -> bool {
        let others = self.slots.iter().enumerate().filter(|(at, slot)| *at != keep && slot.loaded.memory_bytes() > 0);
        let next = |slot: &Slot| {
            let (segment, _) = slot.holds?;
            let entry = slot.loaded.peek()?;
            Some(Key { time: entry.time, segment, packet: entry.packet })
        };
        // A free slot has no next packet, and goes first.
        let victim = others.max_by_key(|(_, slot)| (slot.holds.is_none(), next(slot))).map(|(at, _)| at);
        let Some(at) = victim else { return false };
        if let Some(slot) = self.slots.get_mut(at) {
            slot.loaded = Loaded::default();
            if slot.holds.take().is_some() {
                self.free.push(at);
            }
        }
        self.recount(at);
        true
    }

    /// Counts what a slot has now.
    fn recount(&mut self, at: usize) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        let now = slot.loaded.memory_bytes();
        self.held_bytes = self.held_bytes.saturating_sub(slot.counted_bytes).saturating_add(now);
        slot.counted_bytes = now;
    }
}

#[cfg(test)]
mod tests {
    use steno_core::TimestampNs;

    use super::{super::loaded::Entry, *};

    const BYTES: usize = 1000;

    /// Fills a slot with a block of [`BYTES`] of which all is wanted, from this time on.
    fn fill(slots: &mut Slots, block: u32, most_bytes: u64) -> usize {
        let at = slots.take(BYTES as u64, most_bytes);
        let loaded = slots.fill(at, (0, block), |loaded| {
            loaded.clear();
            loaded.room(BYTES).1.fill(1);
            let entry = Entry { time: TimestampNs(block.into()), packet: block, offset_bytes: 0 };
            loaded.give_entries(vec![entry; 100]);
            Ok::<_, ()>(())
        });
        loaded.unwrap();
        at
    }

    fn by_another_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    #[test]
    fn a_thread_fills_the_memory_that_it_filled_before() {
        let mut slots = Slots::default();
        let mine = fill(&mut slots, 0, u64::MAX);
        assert_eq!(slots.release(mine), Some((0, 0)));
        let the_others = by_another_thread(|| {
            let its_own = fill(&mut slots, 1, u64::MAX);
            assert_eq!(slots.release(its_own), Some((0, 1)));
            let again = fill(&mut slots, 2, u64::MAX);
            assert_eq!(again, its_own);
            its_own
        });
        assert_ne!(the_others, mine);
        // In whatever order they were freed.
        assert_eq!(fill(&mut slots, 3, u64::MAX), mine);
        assert_eq!((slots.release(mine), slots.release(the_others)), (Some((0, 3)), Some((0, 2))));
        assert_eq!(fill(&mut slots, 4, u64::MAX), mine);
    }

    #[test]
    fn threads_that_come_and_go_take_no_more_memory() {
        let mut slots = Slots::default();
        for block in 0..20 {
            let at = by_another_thread(|| fill(&mut slots, block, u64::MAX));
            assert_eq!(slots.release(at), Some((0, block)));
        }
        assert_eq!(slots.slots.len(), FREE_MAX);
    }

    #[test]
    fn what_is_free_and_then_what_is_latest_gives_its_memory_back() {
        let mut slots = Slots::default();
        let first = fill(&mut slots, 7, u64::MAX);
        let each = slots.held_bytes;
        let (free, latest) = (fill(&mut slots, 0, u64::MAX), fill(&mut slots, 9, u64::MAX));
        assert_eq!(slots.held_bytes, 3 * each);
        // Free, but another thread's, so that it is not the one that is taken.
        assert_eq!(by_another_thread(|| slots.release(free)), Some((0, 0)));
        slots.slots[free].filled_by = None;
        let new = fill(&mut slots, 8, 3 * each);
        assert_eq!((slots.held_bytes, slots.slots[free].counted_bytes), (3 * each, 0));
        let holds = |slots: &Slots, at: usize| slots.get(at).unwrap().holds;
        assert_eq!([first, latest, new].map(|at| holds(&slots, at)), [Some((0, 7)), Some((0, 9)), Some((0, 8))]);
        let _newest = fill(&mut slots, 10, 3 * each);
        assert_eq!([first, latest, new].map(|at| holds(&slots, at)), [Some((0, 7)), None, Some((0, 8))]);
        assert_eq!(slots.held_bytes, 3 * each);
    }

    #[test]
    fn a_slot_that_cannot_be_filled_is_free() {
        let mut slots = Slots::default();
        let at = slots.take(BYTES as u64, u64::MAX);
        assert_eq!(slots.fill(at, (0, 0), |_| Err("unreadable")), Err("unreadable"));
        assert_eq!((slots.get(at).unwrap().holds, slots.free.as_slice()), (None, [at].as_slice()));
    }
}
