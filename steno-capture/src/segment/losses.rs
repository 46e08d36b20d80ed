//! What a capture lost, until the index of the next segment takes it.

use steno_index::{ClockStep, Drops, Facts, Gap};

/// Records of a kind that are kept apart, should no segment take them for long.
const KEPT_MAX: usize = 4096;

/// Where losses come from that others than the packet thread notice.
pub(crate) trait LossSource: Send {
    /// What was lost since the last call.
    fn take(&self) -> Losses;
}

/// What was lost, by second, and when nothing was captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    drops: Vec<Drops>,
    gaps: Vec<Gap>,
    clock_steps: Vec<ClockStep>,
}

impl Losses {
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
        self.gaps.extend(others.gaps);
        self.clock_steps.extend(others.clock_steps);
        self
    }

    /// The facts of a segment, of which `facts` is all but the losses.
    pub(super) fn into_facts(self, facts: &Facts) -> Facts {
        let Self { drops, gaps, clock_steps } = self;
        Facts { drops, gaps, clock_steps, ..facts.clone() }
    }
}

#[cfg(test)]
mod tests {
    use steno_core::TimestampNs;

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
    fn however_long_no_segment_takes_them_the_sums_stay_and_the_memory_is_bounded() {
        let mut losses = Losses::default();
        let most = KEPT_MAX as u64;
        for second in 0..2 * most {
            losses.dropped(second, 1);
            losses.clock_step(ClockStep { from: TimestampNs::new(second), to: TimestampNs::MAX });
        }
        let facts = losses.into_facts(&Facts::default());
        assert_eq!((facts.drops.len(), facts.clock_steps.len()), (KEPT_MAX, KEPT_MAX));
        assert_eq!(facts.drops.iter().map(|drops| drops.packets).sum::<u64>(), 2 * most);
    }
}
