//! What became of the segments of an answer, where a file that is being written comes in parts and counts once.

use std::collections::BTreeMap;

use steno_core::SegmentId;

use super::SegmentCounts;
use crate::store::Segment;

/// What became of a segment, or of a part of one. What is greater tells for the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Its index shows that nothing matches.
    Skipped,
    /// The answer ended before.
    NotReached,
    /// Packets were read.
    Read,
}

/// The outcomes of all segments that were considered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(BTreeMap<(u32, SegmentId), Outcome>);

impl Tally {
    /// Notes what became of a segment.
    pub(crate) fn note(&mut self, segment: &Segment, outcome: Outcome) {
        let known = self.0.entry((segment.thread(), segment.id())).or_insert(outcome);
        *known = outcome.max(*known);
    }

    /// Adds them to `counts`.
    pub(crate) fn add_to(&self, counts: &mut SegmentCounts) {
        for outcome in self.0.values() {
            match outcome {
                Outcome::Skipped => counts.skipped += 1,
                Outcome::NotReached => counts.not_reached += 1,
                Outcome::Read => counts.read += 1,
            }
        }
    }
}
