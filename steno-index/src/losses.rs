//! What a capture lost, when, and why: parts of its facts (`docs/format/index.md` section 5).

use steno_core::TimestampNs;

/// Packets that the kernel dropped within a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drops {
    /// The second, since the UNIX epoch.
    pub second: u64,
    /// Packets dropped in it.
    pub packets: u64,
}

/// A time in which nothing was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When it began.
    pub from: TimestampNs,
    /// When capture went on.
    pub to: TimestampNs,
    /// Why.
    pub reason: String,
}

impl Gap {
    /// The reason of a gap that the next capture tells of, which only knows that there was none. Whoever ran the one before may
    /// know why it ended.
    pub const BETWEEN_CAPTURES: &str = "nothing captured";
}

/// What else than [`Drops`] was lost, or kept waiting, within a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The second, since the UNIX epoch.
    pub second: u64,
    /// What it was.
    pub cause: Cause,
    /// How much, in the unit of the cause.
    pub count: u64,
}

/// Why something was lost. The numbers are those of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Times that the ring was found full (`tp_freeze_q_cnt`). The packets that were lost meanwhile are [`Drops`].
    RingFull = 1,
    /// Packets of which less was kept than there was.
    Cut = 2,
    /// Packets that were taken off the ring and did not reach the disk.
    NotWritten = 3,
    /// Nanoseconds in which writes were under way and none ended, where that is more than a disk takes.
    WriteStall = 4,
    /// Packets that the interface counts as dropped on their way in (`rx_dropped` of `struct rtnl_link_stats64`).
    InterfaceDropped = 5,
    /// Packets for which the interface had no room (`rx_missed_errors`).
    InterfaceMissed = 6,
    /// Packets that overran a queue of the interface (`rx_fifo_errors`).
    InterfaceOverrun = 7,
    /// Packets that passed the interface and came into no ring that was read: what the ring of a capture held that was killed, and what
    /// passed until the next one.
    Uncaptured = 8,
}

impl Cause {
    /// All of them, by their numbers.
    pub const ALL: [Self; 8] = [
        Self::RingFull,
        Self::Cut,
        Self::NotWritten,
        Self::WriteStall,
        Self::InterfaceDropped,
        Self::InterfaceMissed,
        Self::InterfaceOverrun,
        Self::Uncaptured,
    ];

    /// The number that stands for it in a file.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// What `number` stands for, if that is known.
    pub fn of_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.number() == number)
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::RingFull => "ring full",
            Self::Cut => "packets cut",
            Self::NotWritten => "not written",
            Self::WriteStall => "write stall",
            Self::InterfaceDropped => "rx_dropped",
            Self::InterfaceMissed => "rx_missed",
            Self::InterfaceOverrun => "rx_fifo",
            Self::Uncaptured => "uncaptured",
        })
    }
}

/// The clock was set while a capture ran. The times of packets are those of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClockStep {
    /// What the clock would have said, had it not been set.
    pub from: TimestampNs,
    /// What it said when this was noticed, within a second or so.
    pub to: TimestampNs,
}

/// How much later than it happened a step may be noticed.
const NOTICED_WITHIN_NS: u64 = 1_000_000_000;

impl ClockStep {
    /// By how much the clock was set, in nanoseconds; forward where that is above 0.
    pub fn by_ns(self) -> i64 {
        let (from, to) = (self.from.as_ns(), self.to.as_ns());
        let by = i64::try_from(from.abs_diff(to)).unwrap_or(i64::MAX);
        if to < from { -by } else { by }
    }

    /// The times that are told of it: those that the clock passed over, or went through again, and a little on either side.
    pub fn span(self) -> (TimestampNs, TimestampNs) {
        let (first, last) = (self.from.min(self.to), self.from.max(self.to));
        (first.saturating_sub_ns(NOTICED_WITHIN_NS), last.saturating_add_ns(NOTICED_WITHIN_NS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_found_by_their_numbers() {
        for cause in Cause::ALL {
            assert_eq!(Cause::of_number(cause.number()), Some(cause));
        }
        assert_eq!(Cause::ALL.map(Cause::number), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!([0, 9, u32::MAX].map(Cause::of_number), [None; 3]);
    }

    #[test]
    fn a_step_has_a_direction_and_reaches_over_what_it_passed() {
        let at = |secs| TimestampNs::from_parts(secs, 5);
        let forward = ClockStep { from: at(1_000), to: at(4_600) };
        let back = ClockStep { from: at(4_600), to: at(1_000) };
        assert_eq!((forward.by_ns(), back.by_ns()), (3_600_000_000_000, -3_600_000_000_000));
        assert_eq!((forward.span(), back.span()), ((at(999), at(4_601)), (at(999), at(4_601))));
        let most = ClockStep { from: TimestampNs::MAX, to: TimestampNs::MIN };
        assert_eq!((most.by_ns(), most.span()), (-i64::MAX, (TimestampNs::MIN, TimestampNs::MAX)));
    }
}
