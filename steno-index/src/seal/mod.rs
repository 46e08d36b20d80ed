//! From a log to an index file (step 5 of the data flow; `docs/format/index.md`).
//!
//! One pass groups the log's packets into conversations, a counting sort makes their packet lists, and the tables
//! follow column by column. The same log and facts give the same bytes, whatever the seed of the hash tables. Memory is
//! bounded by the log's packets and is used again by the next seal.

mod dictionaries;
mod fragments;
mod group;
mod intern;
mod lists;
mod output;
mod sort;
mod table;

use std::io::Write;

use dictionaries::Dictionaries;
use group::Groups;
use lists::Lists;
use output::Output;

pub(crate) use intern::Interner;

use steno_core::TimestampNs;

use crate::{
    Facts, IndexError, Log, Pause,
    column::ColumnWriter,
    format::{Footer, SectionId, version_of},
};

/// How many times the memory that one seal took is kept for the next.
pub(crate) const ROOM: usize = 4;

/// Empties `items` and keeps its memory, but for what is far more than they took: a flood of conversations must not have a
/// capture keep gigabytes for good.
pub(crate) fn forget<T>(items: &mut Vec<T>) {
    let enough = items.len().saturating_mul(ROOM);
    items.clear();
    items.shrink_to(enough);
}

/// What was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Packets.
    pub packets: u32,
    /// Conversations.
    pub conversations: u32,
    /// Blocks.
    pub blocks: u32,
    /// Length of the index file.
    pub file_bytes: u64,
    /// Bytes of all packets on the wire.
    pub wire_bytes: u64,
    /// The earliest and the latest time of a packet.
    pub time_range: Option<(TimestampNs, TimestampNs)>,
}

/// Writes the index of the packets and blocks of `log` to `out`. For more than one segment, [`Sealer`] keeps the
/// memory.
///
/// # Errors
/// [`IndexError::Write`], and [`IndexError::Corrupt`] for a log that contradicts itself: packets without a block, or
/// outside of it.
pub fn seal(log: &Log, facts: &Facts, out: &mut impl Write) -> Result<Summary, IndexError> {
    Sealer::new().seal(log, facts, out)
}

/// Seals one log after the other in the same memory.
#[derive(Debug)]
pub struct Sealer {
    groups: Groups,
    lists: Lists,
    dictionaries: Dictionaries,
    column: ColumnWriter,
}

impl Default for Sealer {
    fn default() -> Self {
        Self::new()
    }
}

impl Sealer {
    /// A sealer without memory yet.
    pub fn new() -> Self {
        Self::pausing(Pause::default())
    }

    /// One that takes a pause between pieces of its work.
    pub fn pausing(pause: Pause) -> Self {
        Self {
            groups: Groups::new(pause.clone()),
            lists: Lists::new(pause.clone()),
            dictionaries: Dictionaries::new(pause.clone()),
            column: ColumnWriter::pausing(pause),
        }
    }

    /// As [`seal()`].
    ///
    /// # Errors
    /// As [`seal()`].
    pub fn seal(&mut self, log: &Log, facts: &Facts, out: &mut impl Write) -> Result<Summary, IndexError> {
        self.groups.read(log)?;
        self.lists.sort(self.groups.totals(), self.groups.sides());
        let fragments = self.groups.fragments();
        let minor = facts.format_minor().max(fragments.format_minor()).max(self.groups.format_minor());
        let mut output = Output::new(out, version_of(self.groups.conversations(), minor))?;
        let (bytes, count) = facts.encode()?;
        output.section(SectionId::Facts, count, &bytes)?;
        self.groups.write_blocks(&mut output, &mut self.column)?;
        self.dictionaries.write(&self.groups, &mut output)?;
        table::write(&self.groups, &self.dictionaries, &self.lists, &mut output, &mut self.column)?;
        self.lists.write(self.groups.totals(), &mut output, &mut self.column)?;
        let begin = self.groups.time_range().map_or(0, |(min, _)| min.as_ns());
        fragments.write(begin, &mut output, &mut self.column)?;
        self.finish(output)
    }

    fn finish<W: Write>(&self, output: Output<'_, W>) -> Result<Summary, IndexError> {
        let groups = &self.groups;
        let time_range = groups.time_range();
        let (min, max) = time_range.unwrap_or((TimestampNs::MIN, TimestampNs::MIN));
        let footer = Footer {
            packets: groups.packets(),
            conversations: groups.conversations(),
            blocks: groups.blocks(),
            min_time_ns: min.as_ns(),
            max_time_ns: max.as_ns(),
            wire_bytes: groups.wire_bytes(),
            ..Footer::default()
        };
        let file_bytes = output.finish(footer)?;
        Ok(Summary {
            packets: groups.packets(),
            conversations: groups.conversations(),
            blocks: groups.blocks(),
            file_bytes,
            wire_bytes: groups.wire_bytes(),
            time_range,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_kept_as_long_as_it_is_needed() {
        let mut items = Vec::new();
        let mut after = |count: usize| {
            items.extend(0..count);
            forget(&mut items);
            assert_eq!(items.len(), 0);
            items.capacity()
        };
        let large = after(100_000);
        assert!(large >= 100_000);
        assert_eq!([after(100_000), after(30_000)], [large; 2], "about as much as before");
        assert!(after(1_000) < 10_000);
        assert!(after(0) == 0);
    }
}
