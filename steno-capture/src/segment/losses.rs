//! What a capture lost, until the index of the next segment takes it.

use std::time::Duration;

use steno_core::TimestampNs;
use steno_index::{Cause, ClockStep, Drops, Facts, Gap, Loss};

/// Records of a kind that are kept apart, should no segment take them for long.
const KEPT_MAX: usize = 4096;
/// How far back it is looked for a record of the same second and cause: what is counted comes in the order of time, more or less.
const NEAR: usize = 32;
const SECOND_NS: u64 = 1_000_000_000;

/// Where losses come from that others than the packet thread notice.
pub(crate) trait LossSource: Send {
    /// What was lost since the last call.
    fn take(&self) -> Losses;
}

/// What was lost, by second, and when nothing was captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    drops: Vec<Drops>,
    losses: Vec<Loss>,
    gaps: Vec<Gap>,
    clock_steps: Vec<ClockStep>,
}

impl Losses {
    /// So much was lost in a second, in the unit of the cause.
    pub(crate) fn add(&mut self, second: u64, cause: Cause, count: u64) {
        let is_full = self.losses.len() >= KEPT_MAX;
        let far = if is_full { 0 } else { self.losses.len().saturating_sub(NEAR) };
        let mut near = self.losses.iter_mut().skip(far).rev().filter(|loss| loss.cause == cause);
        match near.find(|loss| loss.second == second || is_full) {
            _ if count == 0 => {}
            Some(loss) => loss.count = loss.count.saturating_add(count),
            None => self.losses.push(Loss { second, cause, count }),
        }
    }

    /// Writes stood still for a while that ends now: each second gets its part.
    pub(crate) fn stalled(&mut self, now: TimestampNs, time: Duration) {
        let mut left_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).min(now.as_ns());
        let mut end_ns = now.as_ns();
        let mut parts = Vec::new();
        while left_ns > 0 && parts.len() < KEPT_MAX {
            let second = (end_ns - 1) / SECOND_NS;
            let part_ns = left_ns.min(end_ns - second * SECOND_NS);
            parts.push((second, part_ns));
            (left_ns, end_ns) = (left_ns - part_ns, end_ns - part_ns);
        }
        parts.iter().rev().for_each(|&(second, part_ns)| self.add(second, Cause::WriteStall, part_ns));
    }

    /// Packets that the kernel dropped in a second.
    pub(crate) fn dropped(&mut self, second: u64, packets: u64) {
        let is_full = self.drops.len() >= KEPT_MAX;
        match self.drops.last_mut() {
            _ if packets == 0 => {}
            Some(last) if last.second == second || is_full => last.packets = last.packets.saturating_add(packets),
            _ => self.drops.push(Drops { second, packets }),
        }
    }

    /// A time in which nothing was captured.
    pub(crate) fn gap(&mut self, gap: Gap) {
        self.gaps.push(gap);
    }

    /// The clock was set.
    pub(crate) fn clock_step(&mut self, step: ClockStep) {
        if self.clock_steps.len() < KEPT_MAX {
            self.clock_steps.push(step);
        }
    }

    /// These losses and `others`.
    pub(crate) fn and(mut self, others: Self) -> Self {
        others.drops.iter().for_each(|drops| self.dropped(drops.second, drops.packets));
        others.losses.iter().for_each(|loss| self.add(loss.second, loss.cause, loss.count));
        self.gaps.extend(others.gaps);
        self.clock_steps.extend(others.clock_steps);
        self
    }

    /// The facts of a segment, of which `facts` is all but the losses.
    pub(super) fn into_facts(self, facts: &Facts) -> Facts {
        let Self { drops, mut losses, gaps, clock_steps } = self;
        losses.sort_by_key(|loss| (loss.second, loss.cause));
        Facts { drops, losses, gaps, clock_steps, ..facts.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_one_second_is_one_record() {
        let mut losses = Losses::default();
        for (second, packets) in [(7, 0), (7, 2), (7, 3), (8, 0), (9, 4)] {
            losses.dropped(second, packets);
        }
        let mut more = Losses::default();
        more.dropped(9, 1);
        more.dropped(10, 2);
        let step = ClockStep { from: TimestampNs::new(5), to: TimestampNs::new(6) };
        more.clock_step(step);
        more.gap(Gap { from: TimestampNs::new(1), to: TimestampNs::new(2), reason: "x".to_owned() });
        let facts = losses.and(more).into_facts(&Facts { thread: 3, ..Facts::default() });
        let expected = [(7, 5), (9, 5), (10, 2)].map(|(second, packets)| Drops { second, packets });
        assert_eq!((facts.drops.as_slice(), facts.clock_steps.as_slice()), (&expected[..], &[step][..]));
        assert_eq!((facts.gaps.len(), facts.thread), (1, 3));
    }

    #[test]
    fn losses_are_told_apart_by_second_and_cause() {
        let mut losses = Losses::default();
        for (second, cause, count) in [
            (8, Cause::Cut, 1),
            (7, Cause::RingFull, 2),
            (8, Cause::Cut, 3),
            (8, Cause::RingFull, 4),
            (9, Cause::Cut, 0),
        ] {
            losses.add(second, cause, count);
        }
        let mut more = Losses::default();
        more.add(7, Cause::RingFull, 5);
        let facts = losses.and(more).into_facts(&Facts::default());
        let expected = [(7, Cause::RingFull, 7), (8, Cause::RingFull, 4), (8, Cause::Cut, 4)];
        assert_eq!(facts.losses, expected.map(|(second, cause, count)| Loss { second, cause, count }));
    }

    #[test]
    fn a_stall_belongs_to_the_seconds_that_it_was_in() {
        let of = |now_ms: u64, ms: u64| {
            let mut losses = Losses::default();
            losses.stalled(TimestampNs::new(now_ms * 1_000_000), Duration::from_millis(ms));
            losses.losses.iter().map(|loss| (loss.second, loss.count / 1_000_000)).collect::<Vec<_>>()
        };
        assert_eq!(of(12_300, 150), [(12, 150)]);
        assert_eq!(of(12_300, 1_450), [(10, 150), (11, 1_000), (12, 300)]);
        assert_eq!(of(12_000, 1_000), [(11, 1_000)], "a second ends where the next begins");
        assert_eq!(of(1_500, 9_000), [(0, 1_000), (1, 500)], "nothing was before 1970");
        assert_eq!(of(100_000_000, 100_000_000).len(), KEPT_MAX);
    }

    #[test]
    fn however_long_no_segment_takes_them_the_sums_stay_and_the_memory_is_bounded() {
        let mut losses = Losses::default();
        let most = KEPT_MAX as u64;
        for second in 0..2 * most {
            losses.dropped(second, 1);
            losses.add(second, Cause::Cut, 1);
            losses.add(second, Cause::RingFull, 1);
            losses.clock_step(ClockStep { from: TimestampNs::new(second), to: TimestampNs::MAX });
        }
        let facts = losses.into_facts(&Facts::default());
        assert_eq!((facts.drops.len(), facts.clock_steps.len()), (KEPT_MAX, KEPT_MAX));
        assert_eq!(facts.drops.iter().map(|drops| drops.packets).sum::<u64>(), 2 * most);
        assert!(facts.losses.len() <= KEPT_MAX + Cause::ALL.len());
        assert_eq!(facts.losses.iter().map(|loss| loss.count).sum::<u64>(), 4 * most);
    }
}
