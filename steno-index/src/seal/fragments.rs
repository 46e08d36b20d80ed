//! The fragments of a segment: what tells which of them belong together.

use std::io::Write;

use steno_core::packet::Fragment;

use super::{forget, output::Output, sort::sort_by_item};
use crate::{
    IndexError, Pause,
    column::{ColumnWriter, common_scale},
    format::{MINOR_WITH_LOSSES, SectionId},
    log::PacketNote,
};

/// A fragment, as far as it is not told by its conversation.
#[derive(Clone, Copy, Debug)]
struct Note {
    identification: u32,
    /// Its conversation and, in the lowest bit, 1 for reverse.
    side: u32,
    wire_len: u32,
    ns: u64,
}

/// First and later fragments, each in ring order.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    firsts: Vec<Note>,
    laters: Vec<Note>,
}

impl Fragments {
    pub(super) fn clear(&mut self) {
        forget(&mut self.firsts);
        forget(&mut self.laters);
    }

    /// The lowest minor version, of the oldest major one, that has the sections that these make.
    pub(super) fn format_minor(&self) -> u16 {
        if self.is_empty() { 0 } else { MINOR_WITH_LOSSES }
    }

    fn is_empty(&self) -> bool {
        self.firsts.is_empty() && self.laters.is_empty()
    }

    /// Adds a packet that is one.
    pub(super) fn add(&mut self, packet: &PacketNote, side: u32) {
        let identification = packet.decoded.identification;
        let note = Note { identification, side, wire_len: packet.wire_len, ns: packet.time.as_ns() };
        match packet.decoded.fragment {
            Fragment::Whole => {}
            Fragment::First => self.firsts.push(note),
            Fragment::Later => self.laters.push(note),
        }
    }

    /// Writes the sections; none where there are no fragments. Times count from `begin`.
    pub(super) fn write<W: Write>(
        &self,
        begin: u64,
        output: &mut Output<'_, W>,
        column: &mut ColumnWriter,
    ) -> Result<(), IndexError> {
        if self.is_empty() {
            return Ok(());
        }
        let pause = column.pause().clone();
        let mut write = |id, values: &dyn Fn(&Note) -> u64, order: &Order<'_>| {
            let timed = matches!(id, SectionId::FirstFragmentTimes | SectionId::LaterFragmentTimes);
            column.begin(if timed { common_scale(order.iter().map(values)) } else { 1 });
            order.iter().for_each(|note| column.push(values(note)));
            output.column(id, column)
        };
        let (side, identification) = (|note: &Note| note.side.into(), |note: &Note| note.identification.into());
        let after = |note: &Note| note.ns.saturating_sub(begin);
        let firsts = Order::of(&self.firsts, &pause, |note| note.identification);
        write(SectionId::FirstFragmentIds, &identification, &firsts)?;
        write(SectionId::FirstFragmentSides, &side, &firsts)?;
        write(SectionId::FirstFragmentTimes, &after, &firsts)?;
        let laters = Order::of(&self.laters, &pause, |note| note.side);
        write(SectionId::LaterFragmentSides, &side, &laters)?;
        write(SectionId::LaterFragmentIds, &identification, &laters)?;
        write(SectionId::LaterFragmentTimes, &after, &laters)?;
        write(SectionId::LaterFragmentBytes, &|note| note.wire_len.into(), &laters)
    }
}

/// Notes by some item, those alike in ring order.
struct Order<'a> {
    notes: &'a [Note],
    /// The place of each in the lower half.
    sorted: Vec<u64>,
}

impl<'a> Order<'a> {
    fn of(notes: &'a [Note], pause: &Pause, item: impl Fn(&Note) -> u32) -> Self {
        let mut sorted: Vec<u64> = (0..).zip(notes).map(|(no, note)| u64::from(item(note)) << 32 | no).collect();
        sort_by_item(&mut sorted, &mut Vec::new(), pause);
        Self { notes, sorted }
    }

    fn iter(&self) -> impl Iterator<Item = &'a Note> {
        let place = |pair: &u64| usize::try_from(pair & u64::from(u32::MAX)).unwrap_or(usize::MAX);
        self.sorted.iter().filter_map(move |pair| self.notes.get(place(pair)))
    }
}
