//! The order of an answer.

use steno_core::TimestampNs;

/// A packet's place in an answer: by time, then ring order within a thread, then thread.
///
/// Also serves as a lower bound for packets that are not known yet: of a segment (its earliest time, packet 0) or of a
/// block (its earliest time, its first packet).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Arrival time.
    pub(super) time: TimestampNs,
    /// The place of its segment among all, ordered by thread and name.
    pub(super) segment: u32,
    /// Its number in the segment, or its position where the index has no numbers.
    pub(super) packet: u32,
}

/// Where the packets behind a key come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// The segment of the key, which was not opened yet.
    Segment,
    /// A block of the segment of the key.
    Block {
        /// Its number.
        block: u32,
        /// Where it is loaded, if it still is.
        slot: u32,
    },
}
