//! What of a receipt tells of packets that were lost: sums by cause, steps of the clock, and how gaps add up.

use serde::Serialize;
use steno_core::TimestampNs;
use steno_index::Cause;

use super::{Gap, Receipt, moment};
use crate::TimeSet;

/// What was lost, or kept waiting, by cause; of an index, of a time, or since a start.
///
/// What an interface counts, it counts for itself: a packet of another station that it did not want may be among them, and one
/// may be in two of these counts (linux/if_link.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// Times that a ring was found full. The packets that were lost meanwhile are the kernel's drops.
    pub ring_freezes: u64,
    /// Packets of which less was kept than there was (snaplen).
    pub cut_packets: u64,
    /// Packets that were captured and did not reach the disk.
    pub not_written_packets: u64,
    /// Nanoseconds in which writes were under way and none ended.
    pub write_stall_ns: u64,
    /// Packets that the interface counts as dropped on their way in (`rx_dropped`).
    pub interface_dropped_packets: u64,
    /// Packets for which the interface had no room (`rx_missed_errors`).
    pub interface_missed_packets: u64,
    /// Packets that overran a queue of the interface (`rx_fifo_errors`).
    pub interface_overrun_packets: u64,
    /// Packets that passed the interface while nothing captured, or were in the ring of a capture that was killed.
    pub uncaptured_packets: u64,
}

impl Losses {
    /// Adds to the sum of a cause. One that is not known here is passed over.
    pub fn add(&mut self, cause: Cause, count: u64) {
        let sum = match cause {
            Cause::RingFull => &mut self.ring_freezes,
            Cause::Cut => &mut self.cut_packets,
            Cause::NotWritten => &mut self.not_written_packets,
            Cause::WriteStall => &mut self.write_stall_ns,
            Cause::InterfaceDropped => &mut self.interface_dropped_packets,
            Cause::InterfaceMissed => &mut self.interface_missed_packets,
            Cause::InterfaceOverrun => &mut self.interface_overrun_packets,
            Cause::Uncaptured => &mut self.uncaptured_packets,
            _ => return,
        };
        *sum = sum.saturating_add(count);
    }

    /// These and `more`.
    pub(super) fn and(self, more: Self) -> Self {
        Self {
            ring_freezes: self.ring_freezes.saturating_add(more.ring_freezes),
            cut_packets: self.cut_packets.saturating_add(more.cut_packets),
            not_written_packets: self.not_written_packets.saturating_add(more.not_written_packets),
            write_stall_ns: self.write_stall_ns.saturating_add(more.write_stall_ns),
            interface_dropped_packets: self.interface_dropped_packets.saturating_add(more.interface_dropped_packets),
            interface_missed_packets: self.interface_missed_packets.saturating_add(more.interface_missed_packets),
            interface_overrun_packets: self.interface_overrun_packets.saturating_add(more.interface_overrun_packets),
            uncaptured_packets: self.uncaptured_packets.saturating_add(more.uncaptured_packets),
        }
    }
}

/// The clock was set during a capture. The times of packets are those of the clock, before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ClockStep {
    /// What the clock would have said, had it not been set.
    #[serde(serialize_with = "moment::serialize")]
    pub from: TimestampNs,
    /// What it said when this was noticed, within a second or so.
    #[serde(serialize_with = "moment::serialize")]
    pub to: TimestampNs,
    /// The capture thread, or the first of several that noticed it together.
    pub thread: u32,
}

impl ClockStep {
    /// Whether any of the times that the clock passed over, or went through again, belongs to `times`.
    pub fn is_within(&self, times: &TimeSet) -> bool {
        let (first, last) = self.as_fact().span();
        times.overlaps(first, last)
    }

    /// By how much the clock was set, in nanoseconds; forward where that is above 0.
    pub fn by_ns(&self) -> i64 {
        self.as_fact().by_ns()
    }

    fn as_fact(&self) -> steno_index::ClockStep {
        steno_index::ClockStep { from: self.from, to: self.to }
    }
}

impl Receipt {
    /// Brings gaps and steps in order, each once, and sums the gaps up. To be called after any were added.
    pub fn settle(&mut self) {
        self.gaps.sort();
        self.gaps.dedup();
        self.explain_gaps();
        self.clock_steps.sort();
        // All threads of a process notice the same.
        self.clock_steps.dedup_by_key(|step| (step.from, step.to));
        let first = self.asked_from.unwrap_or(TimestampNs::MIN);
        let end = self.asked_until.unwrap_or(TimestampNs::MAX);
        (self.gap_ns, _) = self.gaps.iter().fold((0, first), |(sum, reached), gap| {
            let (from, until) = (gap.from.max(reached), gap.until.min(end));
            (sum + until.as_ns().saturating_sub(from.as_ns()), reached.max(until))
        });
    }
}

impl Receipt {
    /// A gap of which the next capture only knows that nothing was captured is the one that who watched the captures saw, where
    /// those overlap: it is told once, with the reason, from the first to the last moment of both. It makes one of two, where
    /// nothing of what the capture between them took came to be stored.
    fn explain_gaps(&mut self) {
        let all = std::mem::take(&mut self.gaps).into_iter();
        let (between, mut gaps): (Vec<Gap>, Vec<Gap>) =
            all.partition(|gap| gap.reason == steno_index::Gap::BETWEEN_CAPTURES);
        for mut gap in between {
            let overlaps =
                |other: &mut Gap| other.thread == gap.thread && other.from <= gap.until && gap.from <= other.until;
            let seen: Vec<Gap> = gaps.extract_if(.., overlaps).collect();
            for other in seen {
                (gap.from, gap.until) = (gap.from.min(other.from), gap.until.max(other.until));
                gap.reason = other.reason;
            }
            gaps.push(gap);
            gaps.sort();
        }
        self.gaps = gaps;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(gaps: &[(u64, u64, u32)]) -> Receipt {
        let gap = |&(from, until, thread): &(u64, u64, u32)| Gap {
            from: TimestampNs(from),
            until: TimestampNs(until),
            thread,
            reason: String::new(),
        };
        Receipt { gaps: gaps.iter().map(gap).collect(), ..Receipt::default() }
    }

    #[test]
    fn gaps_that_overlap_are_counted_once_and_only_within_the_time_asked() {
        let mut r = receipt(&[(50, 60, 0), (10, 20, 1), (15, 30, 0), (10, 20, 1), (16, 18, 2)]);
        r.settle();
        assert_eq!((r.gap_ns, r.gaps.len()), (30, 4));
        (r.asked_from, r.asked_until) = (Some(TimestampNs(12)), Some(TimestampNs(55)));
        r.settle();
        assert_eq!(r.gap_ns, 18 + 5);
        (r.asked_from, r.asked_until) = (Some(TimestampNs(30)), Some(TimestampNs(50)));
        r.settle();
        assert_eq!(r.gap_ns, 0);
    }

    #[test]
    fn a_gap_that_both_captures_and_who_watched_them_saw_is_told_once_with_its_reason() {
        let mut r = receipt(&[(50, 60, 0), (48, 62, 0), (48, 61, 1), (70, 80, 0)]);
        for between in [1, 2] {
            steno_index::Gap::BETWEEN_CAPTURES.clone_into(&mut r.gaps[between].reason);
        }
        r.settle();
        let told: Vec<_> = r.gaps.iter().map(|g| (g.from.0, g.until.0, g.thread, g.reason.is_empty())).collect();
        assert_eq!(told, [(48, 61, 1, false), (48, 62, 0, true), (70, 80, 0, true)]);
        let before = r.clone();
        r.settle();
        assert_eq!(r, before, "once more changes nothing");
        let mut r = receipt(&[(10, 20, 0), (19, 50, 0), (30, 52, 0), (60, 70, 0)]);
        steno_index::Gap::BETWEEN_CAPTURES.clone_into(&mut r.gaps[1].reason);
        r.settle();
        let told: Vec<_> = r.gaps.iter().map(|g| (g.from.0, g.until.0, g.reason.is_empty())).collect();
        assert_eq!(told, [(10, 52, true), (60, 70, true)], "of a capture from 20 to 30 nothing was stored");
    }

    #[test]
    fn a_step_that_all_threads_tell_of_is_one() {
        let step = |from, to, thread| ClockStep { from: TimestampNs(from), to: TimestampNs(to), thread };
        let clock_steps = vec![step(9, 5, 3), step(1, 8, 1), step(9, 5, 2), step(9, 6, 2)];
        let mut r = Receipt { clock_steps, ..Receipt::default() };
        r.settle();
        assert_eq!(r.clock_steps, [step(1, 8, 1), step(9, 5, 2), step(9, 6, 2)]);
    }

    #[test]
    fn every_cause_has_its_sum() {
        let mut losses = Losses::default();
        for (count, cause) in (1..).zip(Cause::ALL) {
            losses.add(cause, count);
            losses.add(cause, u64::MAX - count);
        }
        let expected = serde_json::to_value(losses).unwrap();
        let sums: Vec<u64> = expected.as_object().unwrap().values().filter_map(serde_json::Value::as_u64).collect();
        assert_eq!(sums, [u64::MAX; Cause::ALL.len()]);
        let mut one = Losses::default();
        Cause::ALL.into_iter().for_each(|cause| one.add(cause, 1));
        let two = serde_json::to_value(one.and(one)).unwrap();
        assert!(two.as_object().unwrap().values().all(|sum| sum.as_u64() == Some(2)), "{two}");
        assert_eq!(one.and(losses), losses);
    }
}
