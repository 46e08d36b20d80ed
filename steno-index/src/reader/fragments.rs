//! The fragments of an index: which of them belong together (`docs/format/index.md`, section 4).
//!
//! A datagram is told by its addresses and its identification, and over IPv4 by its protocol. Only the first fragment has the
//! ports, and over IPv6 the protocol, which is why the later ones have a conversation of their own.

use std::ops::Range;

use steno_core::{PacketNo, TimestampNs};

use super::{ColumnReader, Index, lookup::partition_point};
use crate::{
    ConvNo, ConversationCursor, Direction, IndexError,
    format::{GROUP, SectionId},
    le::low32,
};

/// A first fragment: its conversation has the ports of the whole datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstFragment {
    /// Its conversation.
    pub conversation: ConvNo,
    /// Which way it went.
    pub direction: Direction,
    /// When it arrived.
    pub time: TimestampNs,
}

/// A fragment after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaterFragment {
    /// Its number in the segment.
    pub packet: PacketNo,
    /// What the fragments of a datagram share: 16 bits over IPv4 (RFC 791), 32 over IPv6 (RFC 8200, section 4.5).
    pub identification: u32,
    /// When it arrived.
    pub time: TimestampNs,
    /// Its length on the wire, link-layer header and tags included.
    pub wire_len: u32,
}

impl Index {
    /// Whether fragments can be told apart: `false` of an index of version 3.0 that has some after the first.
    ///
    /// # Errors
    /// Damage.
    pub fn tells_fragments(&self) -> Result<bool, IndexError> {
        Ok(self.has_fragments() || !self.classes()?.iter().any(|class| class.later_fragments))
    }

    /// Whether the sections of fragments are there.
    pub(crate) fn has_fragments(&self) -> bool {
        self.toc.has_fragments()
    }

    /// The first fragments.
    pub fn first_fragments(&self) -> FirstFragments<'_> {
        let column = |id| ColumnReader::new(self.column(id));
        FirstFragments {
            index: self,
            ids: Box::new(column(SectionId::FirstFragmentIds)),
            sides: Box::new(column(SectionId::FirstFragmentSides)),
            times: Box::new(column(SectionId::FirstFragmentTimes)),
            before: None,
        }
    }

    /// The fragments after the first.
    pub fn later_fragments(&self) -> LaterFragments<'_> {
        let column = |id| ColumnReader::new(self.column(id));
        LaterFragments {
            index: self,
            sides: Box::new(column(SectionId::LaterFragmentSides)),
            ids: Box::new(column(SectionId::LaterFragmentIds)),
            times: Box::new(column(SectionId::LaterFragmentTimes)),
            bytes: Box::new(column(SectionId::LaterFragmentBytes)),
            packets: Vec::new(),
            next: 0,
        }
    }

    /// A time that is stored as its distance from the earliest of the file.
    fn time_after(&self, ns: u64) -> Result<TimestampNs, IndexError> {
        let time = self.footer.min_time_ns.checked_add(ns).filter(|&time| time <= self.footer.max_time_ns);
        time.map(TimestampNs::new).ok_or_else(|| self.section(SectionId::LaterFragmentTimes).corrupt(LATE, ns))
    }
}

/// What is wrong with a time past the end.
const LATE: &str = "a time after the latest of the file";

/// Finds first fragments; cheapest in ascending order of identifications.
#[derive(Debug)]
pub struct FirstFragments<'i> {
    index: &'i Index,
    ids: Box<ColumnReader<'i>>,
    sides: Box<ColumnReader<'i>>,
    times: Box<ColumnReader<'i>>,
    /// The identification that was looked up last, and where those of it and above begin.
    before: Option<(u32, u64)>,
}

impl FirstFragments<'_> {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.ids.column().count()
    }

    /// Gives `each` those with an identification, in ring order.
    ///
    /// # Errors
    /// Damage, and what `each` says.
    pub fn each<E: From<IndexError>>(
        &mut self,
        identification: u32,
        mut each: impl FnMut(FirstFragment) -> Result<(), E>,
    ) -> Result<(), E> {
        let wanted = u64::from(identification);
        let mut from = self.before.filter(|(last, _)| *last <= identification).map_or(0, |(_, start)| start);
        let (mut to, mut step) = (from, GROUP as u64);
        while to < self.count() && self.ids.get(to)? < wanted {
            from = to + 1;
            to = to.saturating_add(step);
            step = step.saturating_mul(2);
        }
        let start = partition_point(from..to.min(self.count()), |at| Ok(self.ids.get(at)? < wanted))?;
        self.before = Some((identification, start));
        let mut at = start;
        while at < self.count() && self.ids.get(at)? == wanted {
            each(self.fragment(at)?)?;
            at += 1;
        }
        Ok(())
    }

    pub(crate) fn identification(&mut self, at: u64) -> Result<u64, IndexError> {
        self.ids.get(at)
    }

    pub(crate) fn fragment(&mut self, at: u64) -> Result<FirstFragment, IndexError> {
        let (conversation, direction) = side(self.index, &mut self.sides, at)?;
        Ok(FirstFragment { conversation, direction, time: self.index.time_after(self.times.get(at)?)? })
    }
}

/// Reads the later fragments of conversations; cheapest in ascending order.
#[derive(Debug)]
pub struct LaterFragments<'i> {
    index: &'i Index,
    sides: Box<ColumnReader<'i>>,
    ids: Box<ColumnReader<'i>>,
    times: Box<ColumnReader<'i>>,
    bytes: Box<ColumnReader<'i>>,
    packets: Vec<PacketNo>,
    /// Behind the last one that was read.
    next: u64,
}

impl LaterFragments<'_> {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.ids.column().count()
    }

    /// Appends those of a conversation in one direction, in ring order; with an error, nothing. All packets of a conversation
    /// whose class says so are later fragments. `cursor` must be one of the same index.
    ///
    /// # Errors
    /// Damage, or a conversation of another class.
    pub fn of(
        &mut self,
        cursor: &mut ConversationCursor<'_>,
        conversation: ConvNo,
        direction: Direction,
        out: &mut Vec<LaterFragment>,
    ) -> Result<(), IndexError> {
        self.packets.clear();
        cursor.packets(conversation, direction, &mut self.packets)?;
        if self.packets.is_empty() {
            return Ok(());
        }
        let wanted = u64::from(conversation.0) << 1 | u64::from(direction == Direction::Reverse);
        let end = self.count();
        let start = match self.next < end && self.sides.get(self.next)? == wanted {
            true => self.next,
            false => partition_point(0..end, |at| Ok(self.sides.get(at)? < wanted))?,
        };
        let range = start..start.saturating_add(self.packets.len() as u64);
        let tail = out.len();
        let read = self.read(range.clone(), wanted, out);
        match read {
            Ok(()) => self.next = range.end,
            Err(_) => out.truncate(tail),
        }
        read
    }

    fn read(&mut self, range: Range<u64>, wanted: u64, out: &mut Vec<LaterFragment>) -> Result<(), IndexError> {
        for (at, &packet) in range.clone().zip(&self.packets) {
            if at >= self.ids.column().count() || self.sides.get(at)? != wanted {
                return Err(self.sides.column().corrupt("fewer fragments than their conversation has packets", at));
            }
            let (id, wire_len) = (self.ids.get(at)?, self.bytes.get(at)?);
            if id > u64::from(u32::MAX) || wire_len > u64::from(u32::MAX) {
                return Err(self.ids.column().corrupt("a number of more than 32 bits", at));
            }
            let time = self.index.time_after(self.times.get(at)?)?;
            out.push(LaterFragment { packet, identification: low32(id), time, wire_len: low32(wire_len) });
        }
        if range.end < self.ids.column().count() && self.sides.get(range.end)? == wanted {
            return Err(self.sides.column().corrupt("more fragments than their conversation has packets", range.end));
        }
        Ok(())
    }
}

/// The conversation and the direction at `at`.
fn side(index: &Index, sides: &mut ColumnReader<'_>, at: u64) -> Result<(ConvNo, Direction), IndexError> {
    let side = sides.get(at)?;
    if side >> 1 >= u64::from(index.conversations()) {
        return Err(sides.column().corrupt("a conversation that is not there", at));
    }
    let direction = if side & 1 == 0 { Direction::Forward } else { Direction::Reverse };
    Ok((ConvNo(low32(side >> 1)), direction))
}
