//! What a query would cost and find, told from the indexes alone.

use std::{
    fmt::{self, Display, Formatter},
    sync::Arc,
};

use serde::Serialize;
use steno_index::{Direction, Index};

use super::{Asked, Fragments, Matched, Matcher, Of, Selected, Selection, Stop};
use crate::{
    Query,
    exec::{AtOnce, Candidates, Options, index_scope, index_version2},
    receipt::{Outcome, Receipt, Tally, Truncation, Unreadable, Within, rfc3339},
    store::{Catalogue, Fault, KeptOpen, SegmentIndex, Version2Segment},
};

/// How a query is understood and would be answered.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The query as understood; it parses back to itself.
    pub query: String,
    /// The look-ups that narrow down what is decided in each segment in range. The one that finds least in a segment is made
    /// first there, and others only as long as they pay; what they find is then decided exactly, conversation by
    /// conversation.
    pub lookup: String,
    /// Segments in range that hold matches, by thread and name.
    pub segments: Vec<SegmentPlan>,
    /// Conversations that match, counted in each segment; later fragments that are found by their first ones are of none of
    /// these. Segments with an index of version 2 know none.
    pub conversations: u64,
    /// What would be delivered.
    pub estimate: Estimate,
    /// What a receipt of an answer would say before the first packet: the time asked, the segments in range and skipped, and
    /// what cannot be read.
    pub receipt: Receipt,
}

/// What a segment would contribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentPlan {
    /// Its packet file, as `PKT0/1795395475661823`.
    pub file: String,
    /// Conversations that match.
    pub conversations: u64,
    /// Packets and bytes of theirs.
    pub estimate: Estimate,
}

/// Bounds of what matches. They are equal, and exact, where no conversation reaches over a bound of the time asked. An index of
/// version 2 bounds packets from above by those that it leads to, and bytes by the length of the packet file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// No fewer packets than this.
    pub packets_at_least: u64,
    /// And no more than this.
    pub packets_at_most: u64,
    /// No fewer bytes on the wire than this.
    pub bytes_at_least: u64,
    /// And no more than this.
    pub bytes_at_most: u64,
}

impl Estimate {
    fn add(&mut self, other: &Self) {
        self.packets_at_least += other.packets_at_least;
        self.packets_at_most += other.packets_at_most;
        self.bytes_at_least = self.bytes_at_least.saturating_add(other.bytes_at_least);
        self.bytes_at_most = self.bytes_at_most.saturating_add(other.bytes_at_most);
    }
}

impl Explanation {
    /// Adds what a segment would contribute, or a part of one.
    fn add(&mut self, plan: SegmentPlan) {
        match self.segments.last_mut() {
            Some(last) if last.file == plan.file => {
                last.conversations += plan.conversations;
                last.estimate.add(&plan.estimate);
            }
            _ => self.segments.push(plan),
        }
    }
}

/// Explains `query` on what is in `catalogue`.
pub(crate) fn explain(catalogue: &Catalogue, query: &Query, options: &Options) -> Explanation {
    let asked = Asked::new(query, options);
    let selection = Selection::of(catalogue, &asked, Of::Packets, None, &|| options.is_over());
    let Selection { selected, datagrams, receipt, .. } = selection;
    let matcher = Matcher::new(asked.expr().clone(), Of::Packets, datagrams);
    let looking = Looking { asked: &asked, matcher: &matcher, room: catalogue.room(), options };
    let mut explanation = Explanation {
        query: query.to_string(),
        lookup: matcher.lookup().to_string(),
        segments: Vec::new(),
        conversations: 0,
        estimate: Estimate::default(),
        receipt,
    };
    let mut tally = Tally::default();
    let (skipped, wanted): (Vec<_>, Vec<_>) = selected.iter().partition(|each| each.is_screened_out);
    skipped.into_iter().for_each(|each| tally.note(&each.segment, Outcome::Skipped));
    let (mut left, mut at_once) = (wanted.as_slice(), AtOnce::new());
    'segments: while !left.is_empty() {
        let batch = left.get(..at_once.most()).unwrap_or(left);
        let ahead = at_once.look_up(batch, |each| looking.look_up_ahead(each));
        at_once.learn(ahead.iter().all(Option::is_some));
        for (each, ahead) in batch.iter().zip(ahead) {
            let looked_up = match ahead {
                Some(found) => Ok(found),
                None => looking.look_up(each, &mut explanation.receipt),
            };
            match looked_up {
                Ok((_, estimate)) if estimate.packets_at_most == 0 => tally.note(&each.segment, Outcome::Skipped),
                Ok((conversations, estimate)) => {
                    explanation.conversations += conversations;
                    explanation.estimate.add(&estimate);
                    tally.note(&each.segment, Outcome::Read);
                    explanation.add(SegmentPlan { file: each.segment.packet_name(), conversations, estimate });
                }
                Err(Failure::Fault(fault)) => explanation.receipt.unreadable.push(Unreadable {
                    file: each.segment.index_name(),
                    reason: fault.to_string(),
                    may_hold_matches: true,
                }),
                Err(Failure::Interrupted(by)) => {
                    explanation.receipt.truncated_by = Some(by);
                    left.iter().for_each(|each| tally.note(&each.segment, Outcome::NotReached));
                    break 'segments;
                }
            }
            left = left.get(1..).unwrap_or_default();
        }
    }
    tally.add_to(&mut explanation.receipt.segments);
    // No packet is.
    explanation.receipt.segments.read = 0;
    matcher.report(&mut explanation.receipt);
    explanation.receipt.segments.unreadable = explanation.receipt.unreadable.len() as u64;
    explanation
}

/// Why a segment has no plan.
enum Failure {
    Fault(Fault),
    Interrupted(Truncation),
}

/// What segments are looked up with.
struct Looking<'a> {
    asked: &'a Asked,
    matcher: &'a Matcher,
    room: &'a Arc<KeptOpen>,
    options: &'a Options,
}

impl Looking<'_> {
    /// The conversations of a segment that match, and their packets, if its index alone tells; `None` else, and where something is
    /// wrong: it is to be looked up when its turn comes.
    fn look_up_ahead(&self, selected: &Selected) -> Option<(u64, Estimate)> {
        let Self { asked, matcher, room, options } = *self;
        if asked.is_divided(selected.first) {
            return None;
        }
        match selected.segment.index_within(room).ok()? {
            SegmentIndex::Native(index) => look_up(&index, Fragments::Joined, matcher, options).ok(),
            SegmentIndex::Version2(segment) if asked.scope().is_none() => look_up_version2(segment, matcher).ok(),
            SegmentIndex::Version2(_) => None,
        }
    }

    /// The conversations of a segment that match, and their packets. Where the index tells of others with them that are out of
    /// reach, the packets are read.
    fn look_up(&self, selected: &Selected, receipt: &mut Receipt) -> Result<(u64, Estimate), Failure> {
        let index = selected.segment.index_within(self.room).map_err(Failure::Fault)?;
        self.look_up_in(selected, index, receipt).map_err(|stop| match stop {
            Stop::Index(e) => Failure::Fault(Fault::of_index(&e)),
            Stop::Packets(fault) => Failure::Fault(fault),
            Stop::Interrupted(by) => Failure::Interrupted(by),
        })
    }

    fn look_up_in(
        &self,
        selected: &Selected,
        index: SegmentIndex,
        receipt: &mut Receipt,
    ) -> Result<(u64, Estimate), Stop> {
        let Self { asked, matcher, room, options } = *self;
        let (mut conversations, mut sum) = (0, Estimate::default());
        let mut add = |index: &Index, fragments| {
            let (more, estimate) = look_up(index, fragments, matcher, options)?;
            conversations += more;
            sum.add(&estimate);
            Ok(())
        };
        match index {
            SegmentIndex::Native(_) if asked.is_divided(selected.first) => {
                index_scope(selected, asked, room, options, receipt, &mut |index| add(index, Fragments::Joined))?;
            }
            SegmentIndex::Native(index) => add(&index, Fragments::Joined)?,
            SegmentIndex::Version2(segment) if asked.scope().is_none() => return look_up_version2(segment, matcher),
            SegmentIndex::Version2(version2) => {
                matcher.note_untold();
                let (segment, led) = (&selected.segment, (version2, matcher.lookup()));
                let mut add = |index: &Index| add(index, Fragments::AsIndexed);
                index_version2(segment, led, asked.from(), options, receipt, &mut add)?;
            }
        }
        Ok((conversations, sum))
    }
}

/// The conversations of an index that match, and their packets.
fn look_up(index: &Index, fragments: Fragments, matcher: &Matcher, options: &Options) -> Result<(u64, Estimate), Stop> {
    let (mut conversations, mut sum) = (0, Estimate::default());
    matcher.each(index, fragments, &|| options.interrupted(), |cursor, matched| {
        let (number, times) = match matched {
            Matched::Conversation { number, times } => (*number, *times),
            Matched::Fragment { matches: false, .. } => return Ok(()),
            Matched::Fragment { fragment, .. } => {
                let bytes = u64::from(fragment.later.wire_len);
                sum.add(&Estimate {
                    packets_at_least: 1,
                    packets_at_most: 1,
                    bytes_at_least: bytes,
                    bytes_at_most: bytes,
                });
                return Ok(());
            }
        };
        let conversation = cursor.conversation(number)?;
        let mut found = false;
        for (direction, times) in Direction::BOTH.into_iter().zip(times) {
            let side = conversation.side(direction);
            if side.packets == 0 || !times.overlaps(side.first, side.last) {
                continue;
            }
            found = true;
            sum.packets_at_most += u64::from(side.packets);
            sum.bytes_at_most = sum.bytes_at_most.saturating_add(side.bytes);
            if times.covers(side.first, side.last) {
                sum.packets_at_least += u64::from(side.packets);
                sum.bytes_at_least = sum.bytes_at_least.saturating_add(side.bytes);
            }
        }
        conversations += u64::from(found);
        Ok(())
    })?;
    Ok((conversations, sum))
}

/// An index of version 2 knows no conversations, and neither times nor lengths of packets. A packet takes 64 bytes of the
/// packet file at least.
fn look_up_version2(segment: Arc<Version2Segment>, matcher: &Matcher) -> Result<(u64, Estimate), Stop> {
    const LEAST_BYTES: u64 = 64;
    let file_bytes = segment.packet_bytes();
    let all = segment.packets().map_or(file_bytes / LEAST_BYTES, u64::from);
    matcher.note_untold();
    let packets_at_most = Candidates::look_up(segment, matcher.lookup())?.count().unwrap_or(all);
    let bytes_at_most = if packets_at_most > 0 { file_bytes } else { 0 };
    Ok((0, Estimate { packets_at_most, bytes_at_most, ..Estimate::default() }))
}

/// Segments that are written out.
const WRITTEN: usize = 16;

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Receipt { asked_from, asked_until, segments, scope, .. } = &self.receipt;
        writeln!(f, "query:         {}", self.query)?;
        if let Some(Within { name, query }) = scope {
            writeln!(f, "scope:         {name}: {query}")?;
        }
        match (asked_from, asked_until) {
            (None, None) => writeln!(f, "time:          any")?,
            (Some(from), None) => writeln!(f, "time:          from {}", rfc3339(*from))?,
            (None, Some(until)) => writeln!(f, "time:          before {}", rfc3339(*until))?,
            (Some(from), Some(until)) => writeln!(f, "time:          {} to {}", rfc3339(*from), rfc3339(*until))?,
        }
        writeln!(f, "look-ups:      {}", self.lookup)?;
        let (with, skipped) = (self.segments.len(), segments.skipped);
        write!(f, "segments:      {} of {} in range: ", segments.considered, segments.total)?;
        writeln!(f, "{with} with matches, {skipped} without by their index, {} unreadable", segments.unreadable)?;
        writeln!(f, "conversations: {}", self.conversations)?;
        let e = &self.estimate;
        writeln!(f, "packets:       {}", Between(e.packets_at_least, e.packets_at_most))?;
        write!(f, "bytes on wire: {}", Between(e.bytes_at_least, e.bytes_at_most))?;
        for segment in self.segments.iter().take(WRITTEN) {
            let e = &segment.estimate;
            let packets = Between(e.packets_at_least, e.packets_at_most);
            write!(f, "\n  {}: {} conversations, {packets} packets", segment.file, segment.conversations)?;
        }
        match self.segments.len().checked_sub(WRITTEN) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\n  and {more} more segments"),
        }
    }
}

/// A number that lies between two, which may be one.
struct Between(u64, u64);

impl Display for Between {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 { self.0.fmt(f) } else { write!(f, "{} to {}", self.0, self.1) }
    }
}
