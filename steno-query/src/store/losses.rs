//! What the facts of a segment say of what was never captured, kept in memory with its times: a gap lies where no packet is,
//! so that the times of packets do not lead to it.

use steno_core::TimestampNs;
use steno_index::{ClockStep, Drops, Facts, Gap, Loss};

use crate::{
    TimeSet,
    receipt::{self, Receipt},
};

const SECOND_NS: u64 = 1_000_000_000;

/// What was never captured, or not as it was, as a segment tells it.
#[derive(Debug)]
pub(crate) struct Lost {
    drops: Vec<Drops>,
    losses: Vec<Loss>,
    gaps: Vec<Gap>,
    clock_steps: Vec<ClockStep>,
}

impl Lost {
    /// Of `facts`; `None` where nothing was lost.
    pub(super) fn of(facts: &Facts) -> Option<Self> {
        let Facts { drops, gaps, losses, clock_steps, .. } = facts;
        let any = !drops.is_empty() || !losses.is_empty() || !gaps.is_empty() || !clock_steps.is_empty();
        any.then(|| Self {
            drops: drops.clone(),
            losses: losses.clone(),
            gaps: gaps.clone(),
            clock_steps: clock_steps.clone(),
        })
    }

    /// Packets that the kernel dropped in seconds that overlap `times`.
    pub(crate) fn kernel_drops(&self, times: &TimeSet) -> u64 {
        let within = self.drops.iter().filter(|drops| in_second(times, drops.second));
        within.fold(0, |sum, drops| sum.saturating_add(drops.packets))
    }

    /// Adds what was lost of `times` to `receipt`.
    pub(crate) fn add_to(&self, receipt: &mut Receipt, thread: u32, times: &TimeSet) {
        receipt.kernel_drops = receipt.kernel_drops.saturating_add(self.kernel_drops(times));
        for loss in self.losses.iter().filter(|loss| in_second(times, loss.second)) {
            receipt.losses.add(loss.cause, loss.count);
        }
        let steps = self.clock_steps.iter().map(|step| receipt::ClockStep { from: step.from, to: step.to, thread });
        receipt.clock_steps.extend(steps.filter(|step| step.is_within(times)));
        let gaps = self.gaps.iter().filter(|gap| times.overlaps(gap.from, gap.to));
        receipt.gaps.extend(gaps.map(|gap| receipt::Gap {
            from: gap.from,
            until: gap.to,
            thread,
            reason: gap.reason.clone(),
        }));
    }
}

/// Whether any moment of a second belongs to `times`.
fn in_second(times: &TimeSet, second: u64) -> bool {
    let start = TimestampNs::new(second.saturating_mul(SECOND_NS));
    times.overlaps(start, start.saturating_add_ns(SECOND_NS - 1))
}
