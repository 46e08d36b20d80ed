//! What of a thread's packets is accounted for: by segments that are published, in their order.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use steno_core::SegmentId;
use steno_index::{Cause, Facts};

/// Packets that published segments hold, or tell as lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accounted {
    /// Packets in them, and those of their time that they tell as dropped or as not written.
    pub(crate) packets: u64,
    /// Packets of before the capture that they tell as not captured.
    pub(crate) uncaptured: u64,
}

impl Accounted {
    /// Of a segment with so many packets.
    pub(crate) fn of(packets: u32, facts: &Facts) -> Self {
        let of = |cause: Cause| facts.losses.iter().filter(move |loss| loss.cause == cause).map(|loss| loss.count);
        let told = facts.drops.iter().map(|drops| drops.packets).chain(of(Cause::NotWritten));
        Self {
            packets: told.fold(packets.into(), u64::saturating_add),
            uncaptured: of(Cause::Uncaptured).fold(0, u64::saturating_add),
        }
    }

    /// Both together.
    pub(crate) fn and(self, more: Self) -> Self {
        Self {
            packets: self.packets.saturating_add(more.packets),
            uncaptured: self.uncaptured.saturating_add(more.uncaptured),
        }
    }
}

/// The balance of a thread, as its index thread keeps it.
#[derive(Debug)]
pub(crate) struct Balance(Mutex<State>);

#[derive(Debug)]
struct State {
    through: SegmentId,
    sum: Accounted,
    /// Segments that are being published, and those behind one that is not published yet. A segment that has to wait must not
    /// be taken for accounted for.
    waiting: BTreeMap<SegmentId, Option<Accounted>>,
}

impl Balance {
    /// Of a thread whose first segment is `first`: nothing is accounted for.
    pub(crate) fn before(first: SegmentId) -> Self {
        let through = SegmentId(first.0.saturating_sub(1));
        Self(Mutex::new(State { through, sum: Accounted::default(), waiting: BTreeMap::new() }))
    }

    /// A segment is about to be published.
    pub(crate) fn begins(&self, id: SegmentId) {
        let _ = self.state().waiting.entry(id).or_insert(None);
    }

    /// It is published.
    pub(crate) fn ends(&self, id: SegmentId, accounted: Accounted) {
        let mut state = self.state();
        let _ = state.waiting.insert(id, Some(accounted));
        while let Some(first) = state.waiting.first_entry()
            && let Some(accounted) = *first.get()
        {
            let id = *first.key();
            let _ = first.remove();
            state.sum = state.sum.and(accounted);
            state.through = state.through.max(id);
        }
    }

    /// What all segments up to this one account for.
    pub(crate) fn now(&self) -> (SegmentId, Accounted) {
        let state = self.state();
        (state.through, state.sum)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use steno_index::{Drops, Loss};

    use super::*;

    #[test]
    fn a_segment_accounts_for_what_it_holds_and_what_it_tells() {
        let loss = |cause, count| Loss { second: 1, cause, count };
        let facts = Facts {
            drops: vec![Drops { second: 1, packets: 10 }, Drops { second: 2, packets: 20 }],
            losses: vec![loss(Cause::NotWritten, 100), loss(Cause::Cut, 1_000), loss(Cause::Uncaptured, 7)],
            ..Facts::default()
        };
        assert_eq!(Accounted::of(5, &facts), Accounted { packets: 135, uncaptured: 7 });
    }

    #[test]
    fn segments_count_in_their_order() {
        let balance = Balance::before(SegmentId(10));
        let some = |packets| Accounted { packets, uncaptured: 1 };
        assert_eq!(balance.now(), (SegmentId(9), Accounted::default()));
        for id in [10, 11, 12] {
            balance.begins(SegmentId(id));
        }
        balance.ends(SegmentId(11), some(1));
        assert_eq!(balance.now(), (SegmentId(9), Accounted::default()), "the one before could not be published");
        balance.begins(SegmentId(10));
        balance.ends(SegmentId(10), some(2));
        assert_eq!(balance.now(), (SegmentId(11), Accounted { packets: 3, uncaptured: 2 }));
        balance.ends(SegmentId(12), some(4));
        assert_eq!(balance.now(), (SegmentId(12), Accounted { packets: 7, uncaptured: 3 }));
    }
}
